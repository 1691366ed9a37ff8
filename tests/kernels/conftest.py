import pytest


@pytest.fixture(scope="package", autouse=True)
def _interpreter(quick_interpreter):
    """For every kernel."""
