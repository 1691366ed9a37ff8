import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy_method

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toys(tmp_path):
    """A registered toy dataset of 7 pictures: the epochs do not divide into batches of 4."""
    root = tmp_path / "pictures"
    toy_method.write_pictures(root, 7)
    toy_method.register_toys(root)
    return root


@pytest.fixture
def run_train_net(toys, tmp_path):
    """Runs train_net.py with the toys in a process of its own."""

    def run(*arguments, **environment):
        config = tmp_path / "toy.yaml"
        config.write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
        paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [sys.executable, str(Path(__file__).parent / "toy_train_net.py"), "--config-file", str(config), *arguments],
            env=os.environ | {"TOY_ROOT": str(toys), "PYTHONPATH": os.pathsep.join(paths)} | environment,
            capture_output=True,
            text=True,
            timeout=900,  # seconds; three imports of torch on a machine that is busy with something else
            check=False,
        )

    return run
