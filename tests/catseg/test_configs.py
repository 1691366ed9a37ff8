"""The four published sizes: built without memory on the meta device, and the recipe they carry."""

import json
from pathlib import Path

import pytest
import torch

from catseg.checkpoint import from_released
from openvocab.engine.setup import build_cfg, build_model

GOLDEN = Path(__file__).parent.parent / "golden"
SIZES = {
    "catseg_b": (768, 12, 512), "catseg_l": (1024, 24, 768), "catseg_h": (1280, 32, 1024), "catseg_g": (1664, 48, 1280),
}  # fmt: skip
TAPS = {"catseg_b": (3, 7), "catseg_l": (7, 15), "catseg_h": (10, 21), "catseg_g": (15, 31)}


def build_on_meta(name):
    cfg = build_cfg(name, ["MODEL.DEVICE", "meta", "MODEL.CLIP.PRETRAINED", ""])
    with torch.device("meta"):
        return build_model(cfg)


@pytest.mark.parametrize("name", SIZES)
def test_builds_on_the_meta_device(name):
    model = build_on_meta(name)
    spec = model.clip.spec
    assert (spec.width, spec.layers, spec.embed_dim) == SIZES[name]
    assert model.sem_seg_head.grid == (24, 24)
    assert model.taps == TAPS[name]
    views = torch.empty(1, 3, 384, 384, device="meta")
    with torch.no_grad():
        features = model.encode_images(views)
    assert features.dense.shape == (1, spec.embed_dim, 24, 24)
    assert [tap.shape for tap in features.taps] == [(1, spec.width, 24, 24)] * 2


@pytest.mark.parametrize(("golden", "name"), [("vitb", "catseg_b"), ("vitl", "catseg_l")])
def test_a_released_checkpoint_names_every_parameter(golden, name):
    listed = json.loads((GOLDEN / f"catseg_{golden}_state_dict.json").read_text())
    released = {key: torch.empty(shape, device="meta") for key, (_, shape) in listed.items()}
    renamed = from_released(released)
    own = build_on_meta(name).state_dict()
    assert renamed.keys() == own.keys()
    assert [key for key in own if own[key].shape != renamed[key].shape] == []


def test_recipe():
    cfg = build_cfg("catseg_b", [])
    solver = cfg.SOLVER
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM) == ("AdamW", 2e-4, 1e-4, 0)
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.REFERENCE_WORLD_SIZE, solver.WARMUP_ITERS) == (80000, 4, 4, 0)
    assert (solver.PRETRAINED_MULTIPLIER, solver.LR_SCHEDULER_NAME) == (0.01, "WarmupCosineLR")
    clip = solver.CLIP_GRADIENTS
    assert (clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE) == (True, "full_model", 0.01, 2)
    assert (cfg.MODEL.CATSEG.POOLING_SIZES, cfg.MODEL.CATSEG.TEST_POOLING_SIZES) == ([2, 2], [1, 1])
    window = cfg.TEST.SLIDING_WINDOW
    assert (window.ENABLED, window.SIZE, window.KERNEL, window.STRIDE) == (True, 640, 384, 256)
    crop = cfg.INPUT.CROP
    assert (crop.ENABLED, crop.TYPE, list(crop.SIZE)) == (True, "absolute", [384, 384])


@pytest.mark.parametrize("name", SIZES)
def test_a_checkpoint_needs_no_clip_download(name):
    """CLIP's weights are only fetched where no checkpoint will replace them; the network is closed in tests."""
    cfg = build_cfg(name, ["MODEL.DEVICE", "meta", "MODEL.WEIGHTS", "somewhere.pth"])
    assert cfg.MODEL.CLIP.PRETRAINED
    with torch.device("meta"):
        build_model(cfg)
