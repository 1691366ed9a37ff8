"""An LSeg small enough to run many times: the small CLIP's towers, 8 decoder channels, random weights."""

import pytest
import torch

from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_LSEG


@pytest.fixture
def tiny(tmp_path):
    """Builds the tiny model in evaluation mode; keyword keys are config keys with "__" for "."."""

    def build(**overrides):
        torch.manual_seed(0)
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY_LSEG)
        pairs = {"MODEL.DEVICE": "cpu"} | {key.replace("__", "."): value for key, value in overrides.items()}
        return build_model(build_cfg(path, [str(part) for pair in pairs.items() for part in pair])).eval()

    return build
