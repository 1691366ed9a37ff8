"""Where golden weights lie for a moment."""

import shutil
import tempfile
from pathlib import Path

import pytest

NEEDED = 4e9  # bytes; ViT-L/14's weights are 1.7 GB


@pytest.fixture(scope="module")
def scratch():
    """A folder in memory where there is room: every test that flushes a file would wait for gigabytes on a disk."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > NEEDED
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        yield Path(folder)
