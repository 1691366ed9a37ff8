"""The program `openvocab`: commands, typos, help, versions, an installation that lacks something."""

import os
import subprocess
import sys

import pytest

import openvocab
from openvocab import exit_codes, preflight
from openvocab.cli import program

COMMANDS = ("segment", "train", "evaluate", "models", "doctor")


@pytest.fixture
def call(capsys):
    """Runs the program; its exit code, standard output and standard error."""

    def run(*arguments):
        code = program.main(arguments)
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("arguments", "expected"), [
    ((), "command: got none, expected one of segment, train, evaluate, models, doctor"),
    (("segmnet", "--input", "a.jpg"), "command: got 'segmnet', did you mean segment?"),
    (("--inptu", "a.jpg"), "command: got '--inptu', expected one of"),
    (("segment", "--input", "a.jpg", "--vocabluary", "cat"), "--vocabluary cat, did you mean --vocabulary?"),
    (("segment", "--vocabulary", "cat"), "--input: none given"),
    (("segment", "--input", "a.jpg"), "--vocabulary: none given"),
    (("train",), "config: expected a file or one of"),
    (("train", "--confg-file", "catseg_b"), "--confg-file, did you mean --config-file? (see openvocab train --help)"),
    (("train", "--config-file", "catsegb"), "got 'catsegb', did you mean catseg_b"),
    (("evaluate", "--config-file", "configs/lseg_l61.yaml"), "did you mean lseg_l16"),
    (("models", "catseg-b"), "got 'catseg-b', did you mean catseg_b"),
    (("models", "--fetch"), "argument --fetch: expected at least one argument"),
    (("models", "--verify", "--fetch", "catseg_b"), "not allowed with argument"),
    (("doctor", "--fix"), "unrecognized arguments: --fix"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_what_cannot_be_is_one_line(call, arguments, expected):
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (exit_codes.NOTHING_DONE, "", 1)
    assert err.startswith("error: ") and expected in err


def test_a_model_that_does_not_exist_is_answered_with_the_nearest(call, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    arguments = ("--input", str(tmp_path / "a.png"), "--vocabulary", "cat", "--output", str(tmp_path / "out"))
    code, _, err = call("segment", *arguments, "--model", "catseg_xl")
    assert code == 2 and "got 'catseg_xl', did you mean catseg_l or catseg_b" in err


def test_help_names_every_command_and_exit_code(call):
    code, out, _ = call("--help")
    assert code == 0 and exit_codes.TABLE in out
    assert all(f"\n  {name} " in out for name in COMMANDS) and tuple(program.COMMANDS) == COMMANDS
    for value in (exit_codes.DONE, exit_codes.IN_PART, exit_codes.NOTHING_DONE, exit_codes.INTERRUPTED):
        assert f"\n  {value} " in exit_codes.TABLE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_itself_with_the_same_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main([command, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and exit_codes.TABLE in out and f"usage: openvocab {command} " in out


def test_version_says_which_installation_answers(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith(f"openvocab {openvocab.__version__} (") and "openvocab)" in out


@pytest.mark.parametrize("command", ["segment", "train", "evaluate", "models"])
def test_without_detectron2_every_command_says_what_installs_it(call, command, monkeypatch):
    there = preflight._module_exists
    monkeypatch.setattr(preflight, "_module_exists", lambda module: module != "detectron2" and there(module))
    code, out, err = call(command, "--whatever")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "openvocab needs detectron2, which is not installed: python -m pip install" in err and "doctor" in err


def test_as_a_process_it_loads_nothing_heavy_before_it_knows_what_to_do(repository, tmp_path):
    code = ("import sys; from openvocab.cli.program import main; codes = [main(['models']), main(['segmnet'])]; "
            "assert not {'torch', 'detectron2', 'numpy'} & set(sys.modules); sys.exit(codes != [0, 2])")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "catseg_b" in done.stdout


def test_as_a_module_and_by_the_files_of_old(repository, tmp_path):
    for command in (["-m", "openvocab", "segment"], [str(repository / "demo" / "demo.py")],
                    [str(repository / "train_net.py")]):  # fmt: skip
        done = subprocess.run([sys.executable, *command, "--no-such-option"], cwd=tmp_path, capture_output=True,
                              text=True, check=False, env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
        name = "openvocab segment" if command[0] == "-m" else command[0].rpartition("/")[2]
        assert done.returncode == 2 and f"--no-such-option (see {name} --help)" in done.stderr
