"""A tiny CAT-Seg through the whole engine: it trains, evaluates, and its checkpoint is evaluated again."""

import json

import pytest
import torch
from toy_method import CLASSES, MetadataCatalog, toy_overrides

import train_net
from openvocab.testing import TINY_CATSEG
from openvocab.vocab.vocabulary import Vocabulary


@pytest.fixture
def arguments(toys, tmp_path):
    for name in ("toy_train", "toy_test"):
        MetadataCatalog.get(name).vocabulary = Vocabulary.from_words(CLASSES)
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY_CATSEG)
    more = {"MODEL.META_ARCHITECTURE": "CATSeg", "SOLVER.MAX_ITER": "2", "INPUT.CROP.SIZE": "[32, 32]"}
    return ["--config-file", str(config), "--num-gpus", "0", *toy_overrides(tmp_path / "out", **more)]


def test_catseg_trains_and_evaluates(arguments, tmp_path):
    assert train_net.main(arguments) == 0
    out = tmp_path / "out"
    trained = json.loads((out / "toy_test_results.json").read_text())
    assert trained["samples"] == 7 and 0 <= trained["scores"]["mIoU"] <= 100
    log = (out / "log.txt").read_text()
    assert "pretrained" in log and "weight decay" in log  # the table of groups
    state = torch.load(out / "model_final.pth", weights_only=True)
    assert state["trainer"]["draws"] == 8

    weights = ["--eval-only", *arguments, "MODEL.WEIGHTS", str(out / "model_final.pth")]
    assert train_net.main(weights) == 0
    assert json.loads((out / "toy_test_results.json").read_text())["scores"] == trained["scores"]
