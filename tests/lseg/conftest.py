"""An LSeg small enough to run many times: the small CLIP's towers, 8 decoder channels, random weights."""

import pytest

from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_LSEG


def tiny_model(config, *overrides):
    return build_model(build_cfg(config, ["MODEL.DEVICE", "cpu", *overrides])).eval()


@pytest.fixture
def tiny(copies, config_of):
    """Builds the tiny model in evaluation mode; keyword keys are config keys with "__" for "."."""

    def build(**overrides):
        pairs = ((key.replace("__", "."), str(value)) for key, value in overrides.items())
        return copies(tiny_model, config_of(TINY_LSEG), *(part for pair in pairs for part in pair))

    return build
