"""An LSeg small enough to run many times: the small CLIP's towers, 8 decoder channels, random weights."""

import pytest

from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_LSEG


def tiny_model(config, *overrides):
    return build_model(build_cfg(config, ["MODEL.DEVICE", "cpu", *overrides])).eval()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(TINY_LSEG)
    return path


@pytest.fixture
def tiny(copies, config):
    """Builds the tiny model in evaluation mode; keyword keys are config keys with "__" for "."."""

    def build(**overrides):
        pairs = ((key.replace("__", "."), str(value)) for key, value in overrides.items())
        return copies(tiny_model, config, *(part for pair in pairs for part in pair))

    return build
