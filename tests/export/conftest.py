"""The small LSeg, exported once for all tests of this folder, which share a worker."""

import pytest

from openvocab.cli import export

LSEG = "emojiscapes_lseg"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Holds what `openvocab export emojiscapes_lseg --to torch` writes."""
    folder = tmp_path_factory.mktemp("exported")
    assert export.main([LSEG, "--to", "torch", "--output", str(folder)]) == 0
    return folder
