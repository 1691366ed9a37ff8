"""Parameter groups, clipping and the cosine schedule, against the formulas of the recipe."""

import math

import pytest
import torch
from torch import nn
from toy_method import toy_cfg

from openvocab.engine.optimizer import build_lr_scheduler, build_optimizer, group_table, parameter_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
        self.head = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
        self.clipper = nn.Linear(2, 2)  # starts with "clip" but is no part of CLIP
        self.padding_tokens = nn.Parameter(torch.ones(5))
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.shared = self.head[0]


def cfg(tmp_path, **more):
    return toy_cfg(tmp_path, **({"SOLVER.BASE_LR": "2e-4", "SOLVER.WEIGHT_DECAY": "1e-4"} | more))


def test_groups(tmp_path):
    model = Model()
    groups = {group["name"]: group for group in parameter_groups(model, cfg(tmp_path))}
    rates = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert rates == {
        "model": (2e-4, 1e-4),
        "model, normalisation": (2e-4, 0.0),
        "pretrained": (2e-4 * 0.01, 1e-4),
        "pretrained, normalisation": (2e-4 * 0.01, 0.0),
    }
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    members = {name: {names[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert members["pretrained"] == {"clip.0.weight", "clip.0.bias"}
    assert members["pretrained, normalisation"] == {"clip.1.weight", "clip.1.bias"}
    assert members["model, normalisation"] == {f"head.{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    assert {"padding_tokens", "head.0.bias", "clipper.weight"} <= members["model"]
    assert sum(len(group["params"]) for group in groups.values()) == len(names) - 1  # all but the frozen one, once


def test_table_names_every_group(tmp_path):
    table = group_table(parameter_groups(Model(), cfg(tmp_path)), frozen=7)
    assert [line.split("  ")[0].strip() for line in table.splitlines()] == [
        "group",
        "model",
        "model, normalisation",
        "pretrained",
        "pretrained, normalisation",
        "frozen",
    ]


def test_nothing_to_train(tmp_path):
    with pytest.raises(ValueError, match="without trainable parameters"):
        parameter_groups(nn.Linear(1, 1).requires_grad_(False), cfg(tmp_path))


def test_full_model_clipping(tmp_path):
    model = nn.ModuleList([nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)])
    more = {"SOLVER.OPTIMIZER": "SGD", "SOLVER.MOMENTUM": "0.0", "SOLVER.WEIGHT_DECAY": "0.0", "SOLVER.BASE_LR": "1.0"}
    optimizer = build_optimizer(cfg(tmp_path, **more, **{"SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "0.5"}), model)
    before = [layer.weight.item() for layer in model]
    for layer, gradient in zip(model, (3.0, 4.0), strict=True):
        layer.weight.grad = torch.full((1, 1), gradient)
    optimizer.step()
    steps = [old - layer.weight.item() for old, layer in zip(before, model, strict=True)]
    assert steps == pytest.approx([0.3, 0.4], abs=1e-5)  # norm 5 becomes 0.5 over both together


def test_adamw_is_the_default(tmp_path):
    assert isinstance(build_optimizer(cfg(tmp_path), Model()), torch.optim.AdamW)


def test_schedule_is_a_cosine_to_zero_without_warm_up(tmp_path):
    steps = 8
    config = cfg(tmp_path, **{"SOLVER.MAX_ITER": str(steps)})
    optimizer = build_optimizer(config, Model())
    scheduler = build_lr_scheduler(config, optimizer)
    base = [group["initial_lr"] for group in optimizer.param_groups]
    for step in range(steps + 1):
        factor = 0.5 * (1 + math.cos(math.pi * step / steps))
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([factor * rate for rate in base], rel=1e-9, abs=1e-12), step
        optimizer.step()
        scheduler.step()
