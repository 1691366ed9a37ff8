"""A CAT-Seg small enough to run many times: 8 x 8 tokens, 32 hidden channels, random weights."""

import pytest

from openvocab.engine.setup import build_cfg, build_model

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.CLIP.PRETRAINED": "",
    "MODEL.CLIP.NAME": "tiny-vit",
    "MODEL.CLIP.INPUT_SIZE": 64,
    "MODEL.CATSEG.TAPS": [1, 3],
    "MODEL.CATSEG.HIDDEN_DIM": 32,
    "MODEL.CATSEG.GUIDANCE_DIM": 16,
    "MODEL.CATSEG.WINDOW_SIZE": 4,
    "MODEL.CATSEG.DECODER_DIMS": [16, 16],
    "MODEL.CATSEG.DECODER_GUIDANCE_DIMS": [16, 8],
    "MODEL.CATSEG.DECODER_GUIDANCE_PROJ_DIMS": [8, 4],
    "TEST.SLIDING_WINDOW.ENABLED": False,
    "TEST.SLIDING_WINDOW.SIZE": 80,
    "TEST.SLIDING_WINDOW.KERNEL": 48,
    "TEST.SLIDING_WINDOW.STRIDE": 32,
}


def tiny_cfg(overrides):
    cfg = build_cfg("catseg_b", [])
    pairs = {**TINY, **overrides}
    cfg.merge_from_list([part for pair in pairs.items() for part in pair])
    return cfg


def tiny_model(*pairs):
    return build_model(tiny_cfg(dict(pairs))).eval()


@pytest.fixture
def tiny(copies):
    """Builds the tiny model in evaluation mode; keyword keys are config keys with "__" for "."."""

    def build(**overrides):
        return copies(tiny_model, *((key.replace("__", "."), str(value)) for key, value in overrides.items()))

    return build
