"""Words mean the same in training, evaluation and demo: the checkpoint says by which rule, and what it has seen."""

import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import train_net
from openvocab.checkpoint.load import load_weights
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.words import warn_of_other_rules
from openvocab.inference.segmenter import Segmenter
from openvocab.testing import TINY_LSEG, TINY_TRAINING
from openvocab.vocab.trained import KEY

SHORT = TINY_TRAINING + "DATASETS: {TRAIN: [own_words], TEST: []}\n"


@pytest.fixture
def train(tmp_path):
    """Trains the tiny LSeg for two steps on given words, in a folder of a given name."""
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")

    def run(folder: str, words: str, *overrides: str):
        (tmp_path / "words.txt").write_text(words)
        (tmp_path / "tiny.yaml").write_text(TINY_LSEG + SHORT)
        entry = {"NAME": "own_words", "IMAGES": str(tmp_path / "images"), "LABELS": str(tmp_path / "masks"),
                 "WORDS": str(tmp_path / "words.txt")}  # fmt: skip
        keys = ["OUTPUT_DIR", str(tmp_path / folder), "DATASETS.FOLDERS", str([entry]), *overrides]
        assert train_net.main(["--config-file", str(tmp_path / "tiny.yaml"), "--num-gpus", "0", *keys]) == 0
        return tmp_path / folder / "model_final.pth"

    yield run
    if "own_words" in DatasetCatalog:
        DatasetCatalog.remove("own_words")
        MetadataCatalog.remove("own_words")


def stored(path) -> dict:
    return torch.load(path, weights_only=True)[KEY]


def test_the_demo_follows_the_rule_of_the_training(train, tmp_path, caplog, monkeypatch):
    path = train("out", "pedestrian|person\ncar\n", "MODEL.VOCABULARY.TEMPLATES", "imagenet")
    assert stored(path) == {"seen": ["car", "pedestrian"], "synonyms": "first", "templates": "imagenet"}
    config = str(tmp_path / "tiny.yaml")
    image, words = np.zeros((32, 32, 3), np.uint8), ["pedestrian|person", "car"]

    segmenter = Segmenter.load(config, path, device="cpu")
    result = segmenter(image, words)
    assert (result.synonyms, result.templates, segmenter.synonyms) == ("first", "imagenet", "first")
    alone = segmenter.text_embeddings(["pedestrian", "car"])
    np.testing.assert_array_equal(segmenter.text_embeddings(words), alone)
    single = ["MODEL.VOCABULARY.TEMPLATES", "single"]
    mean = Segmenter.load(config, path, device="cpu", synonyms="mean", overrides=single)
    assert (mean(image, words).synonyms, mean(image, words).templates) == ("mean", "single")
    assert np.abs(mean.text_embeddings(words) - alone).max() > 1e-3

    model = build_model(build_cfg(config, ["MODEL.DEVICE", "cpu"]))
    monkeypatch.setattr(logging.getLogger("openvocab"), "propagate", True)  # which a job switches off
    with caplog.at_level(logging.WARNING):
        cfg = build_cfg(config, ["MODEL.VOCABULARY.SYNONYMS", "mean"])
        warn_of_other_rules(cfg, load_weights(model, path))
    assert "MODEL.VOCABULARY.SYNONYMS is 'mean', but the weights were trained under 'first'" in caplog.text
    assert "MODEL.VOCABULARY.TEMPLATES is 'single', but the weights were trained under 'imagenet'" in caplog.text


def test_words_without_synonyms_leave_the_mean(train, tmp_path):
    first = train("out", "zyx\ncar\n")
    assert stored(first) == {"seen": ["car", "zyx"], "synonyms": None, "templates": None}
    segmenter = Segmenter.load(str(tmp_path / "tiny.yaml"), first, device="cpu")
    assert segmenter.synonyms == "mean" and segmenter.trained.seen == {"car", "zyx"}
    later = train("later", "dog\ncat\n", "MODEL.WEIGHTS", str(first))
    assert stored(later)["seen"] == ["car", "cat", "dog", "zyx"]
