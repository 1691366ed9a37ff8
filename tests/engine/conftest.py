import os
from pathlib import Path

import pytest
import toy_method
from processes import run_forked


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
        script = Path(__file__).parent / "toy_train_net.py"
        variables = os.environ | {"TOY_ROOT": str(toys)} | environment
        return run_forked(script, ["--config-file", str(config), *arguments], variables)

    return run
