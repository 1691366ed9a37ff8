"""A model that needs no weights, and Detectron2's evaluator beside ours on what it answers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.evaluation import SemSegEvaluator, inference_on_dataset
from torch import nn

from openvocab.config import add_openvocab_config
from openvocab.data.loader import build_test_loader
from openvocab.data.reading import load_sem_seg
from openvocab.evaluation.result import Result
from openvocab.evaluation.run import build_evaluator


class Guesser(nn.Module):
    """Answers with the true labels, moved by three pixels, and in a corner with a class that the truth lacks."""

    def __init__(self, classes: int, nowhere: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.classes, self.nowhere = classes, nowhere
        self.words = []

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, torch.Tensor]]:
        self.words += [item["vocabulary"] for item in batch]
        return [{"sem_seg": self._scores(item["sem_seg"])} for item in batch]

    def _scores(self, labels: torch.Tensor) -> torch.Tensor:
        guess = labels.roll((3, 3), (0, 1)).clone()
        guess[guess >= self.classes] = 0  # ignored pixels must get a class, too
        guess[:2, :2] = self.nowhere
        return F.one_hot(guess, self.classes).permute(2, 0, 1).float()


def plain_cfg(**more: str) -> CfgNode:
    cfg = get_cfg()
    add_openvocab_config(cfg)
    keys = {"DATALOADER.NUM_WORKERS": "0", "INPUT.MIN_SIZE_TEST": "0"} | more
    cfg.merge_from_list([text for pair in keys.items() for text in pair])
    return cfg


def scored_by_both(name: str, folder: Path, nowhere: int) -> tuple[Result, dict[str, float]]:
    """Evaluates a `Guesser` with our evaluator and with Detectron2's.

    Returns:
        Our result and the scores of the other, which wrote its files into `folder`.
    """
    cfg, classes = plain_cfg(), MetadataCatalog.get(name).stuff_classes
    model = Guesser(len(classes), nowhere)
    stock = SemSegEvaluator(name, output_dir=str(folder), sem_seg_loading_fn=load_sem_seg)
    theirs = inference_on_dataset(model, build_test_loader(cfg, name), stock)["sem_seg"]
    judge = build_evaluator(cfg, name)
    inference_on_dataset(model, build_test_loader(cfg, name), judge)
    return judge.result(judge.counts), theirs


def assert_the_same_scores(ours: Result, theirs: dict[str, float]) -> None:
    """Detectron2 has changed its mean in 2022 under one version number: today's leaves out what the truth lacks."""
    lacking = [row for row in ours.classes if not row.pixels and not math.isnan(row.iou)]
    assert lacking, "the guesses must name a class that the truth lacks, or both rules are one"
    older = not math.isnan(theirs[f"IoU-{lacking[0].name}"])
    assert theirs["mIoU"] == pytest.approx(ours.scores["mIoU-predicted-too" if older else "mIoU"], rel=1e-12)
    assert abs(ours.scores["mIoU"] - ours.scores["mIoU-predicted-too"]) > 0.1
    for key in ("fwIoU", "mACC", "pACC"):
        assert theirs[key] == pytest.approx(ours.scores[key], rel=1e-12)
    for row in ours.classes:
        expected = row.iou if row.pixels or older else math.nan
        assert theirs[f"IoU-{row.name}"] == pytest.approx(expected, rel=1e-12, nan_ok=True), row.name
