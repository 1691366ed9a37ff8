import pytest

from openvocab.cli import program


@pytest.fixture
def call(capsys):
    """Runs the program; its exit code, standard output and standard error."""

    def run(*arguments):
        code = program.main(arguments)
        return code, *capsys.readouterr()

    return run
