"""The configs of LSeg: sizes, recipes, and that released checkpoints name every parameter."""

import json
from pathlib import Path

import pytest
import torch

from lseg.checkpoint import from_released
from openvocab.engine.optimizer import build_lr_scheduler
from openvocab.engine.setup import build_cfg, build_model

GOLDEN = Path(__file__).parent.parent / "golden"
RELEASED = {
    "vitl16": "lseg_l16", "vitb32": "lseg_b32", "vitl16_rn50x16": "lseg_l16_rn50x16", "zs_resnet101": "lseg_rn101",
}  # fmt: skip


def build_on_meta(name, *overrides):
    cfg = build_cfg(name, ["MODEL.DEVICE", "meta", "MODEL.WEIGHTS", "a checkpoint", *overrides])
    with torch.device("meta"):
        return build_model(cfg)


@pytest.mark.parametrize("golden", RELEASED)
def test_a_released_checkpoint_names_every_parameter(golden):
    listed = json.loads((GOLDEN / f"lseg_{golden}_state_dict.json").read_text())
    released = {f"net.{key}": torch.empty(shape, device="meta") for key, (_, shape) in listed.items()}
    renamed, own = from_released(released), build_on_meta(RELEASED[golden]).state_dict()
    assert renamed.keys() == own.keys()
    assert [key for key in own if own[key].shape != renamed[key].shape] == []


def test_a_foreign_key_is_refused():
    with pytest.raises(ValueError, match=r"a released LSeg checkpoint does not have, such as \['scratch.x'\]"):
        from_released({"net.scratch.x": torch.zeros(1)})


@pytest.mark.parametrize(
    "name",
    ["lseg_rn101_pascal5i", "lseg_rn101_coco20i", "lseg_rn101_fss1000", "lseg_l16_fss1000", "lseg_l16_coco_stuff"],
)
def test_the_other_configs_build(name):
    cfg = build_cfg(name, [])
    build_on_meta(name)
    assert cfg.INPUT.SQUARE_SIZE == (0 if "coco_stuff" in name else 480)
    assert cfg.DATASETS.TRAIN[0] != "ade20k_150_train_sem_seg" and cfg.SOLVER.MAX_ITER > 0


def test_recipe():
    cfg = build_cfg("lseg_l16", [])
    solver = cfg.SOLVER
    assert (solver.OPTIMIZER, solver.MOMENTUM) == ("SGD", 0.9)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_NORM == 1e-4
    assert solver.BASE_LR * solver.PRETRAINED_MULTIPLIER == pytest.approx(0.004)
    assert list(cfg.INPUT.LONG_SIDE_TRAIN) == [260, 1040] and list(cfg.INPUT.CROP.SIZE) == [480, 480]
    assert (cfg.INPUT.PADDING, cfg.INPUT.COLOR_JITTER) == (0, False)


def test_polynomial_decay():
    cfg = build_cfg("lseg_l16", ["SOLVER.MAX_ITER", "10"])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(10):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.5 * (1 - step / 10) ** 0.9 for step in range(10)])
