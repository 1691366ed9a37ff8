"""An evaluation that is killed and resumed, or shared by processes, ends with the bytes of an unbroken one."""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_method
from processes import run_forked
from toy_method import toy_cfg, toy_overrides

from openvocab.engine.trainer import Trainer
from openvocab.evaluation import run
from openvocab.evaluation.progress import read_progress
from openvocab.vocab.vocabulary import Vocabulary

HERE = Path(__file__).parent
TWO = {"DATASETS.TEST": "('toy_test', 'toy_train')", "TEST.PREDICTIONS": "True"}


@pytest.fixture
def weights(toys, tmp_path):
    """Random weights, and more pictures than one save covers."""
    toy_method.write_pictures(toys, 20)
    path = tmp_path / "toy.pth"
    torch.manual_seed(0)
    torch.save({"model": Trainer.build_model(toy_cfg(tmp_path)).state_dict()}, path)
    return {"MODEL.WEIGHTS": str(path)}


def content(folder):
    names = ["results.md", *(f"{name}_{end}" for name in ("toy_test", "toy_train")
                             for end in ("counts.npz", "results.json", "classes.csv"))]  # fmt: skip
    written = {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    places = (folder / "predictions").rglob("*")
    return written | {str(path.relative_to(folder)): path.read_bytes() for path in places if path.is_file()}


def evaluate(cfg, resume=False):
    model = Trainer.build_model(cfg)
    model.load_state_dict(torch.load(cfg.MODEL.WEIGHTS)["model"])
    return Trainer.test(cfg, model, resume=resume)


def test_ten_kills_and_an_unbroken_run_give_the_same_bytes(toys, weights, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    evaluate(toy_cfg(whole, **TWO, **weights))
    assert len(content(whole)) == 7 + 2 * (20 + 1)  # with a label map for each of 20 pictures, and the JSON
    config = tmp_path / "toy.yaml"
    config.write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    draw = random.Random(0)
    moments = [draw.randint(8, 40) for _ in range(10)]
    moments += ["toy_test_counts.npz", "toy_test/sem_seg_predictions.json", "toy_test_results.json", "toy_train/03.png",
                "toy_train_classes.csv", "results.md"]  # fmt: skip
    arguments = [json.dumps(moments), "--config-file", str(config), "--num-gpus", "0", "--eval-only", "--resume",
                 *toy_overrides(broken, **TWO, **weights)]  # fmt: skip
    done = run_forked(HERE / "killed_evaluation.py", arguments, os.environ | {"TOY_ROOT": str(toys)})
    assert done.returncode == 0, done.stderr
    assert content(broken) == content(whole)
    resumed = [int(number) for number in re.findall(r"resuming after (\d+) samples", (broken / "log.txt").read_text())]
    assert len(set(resumed)) > 4 and resumed[-1] == 20  # the kills came at different places, the last after all images


def test_two_processes_count_the_same_and_go_on_with_what_one_left(weights, tmp_path, run_train_net, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    evaluate(toy_cfg(one, **TWO, **weights))

    left = [9]
    forward = toy_method.ToySegmenter.forward

    def interrupted(self, batch):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(toy_method.ToySegmenter, "forward", interrupted)
    monkeypatch.setattr(run, "SAVE_PERIOD", 3)
    with pytest.raises(KeyboardInterrupt):
        evaluate(toy_cfg(two, **TWO, **weights))
    with np.load(two / "toy_test_counts.npz") as file:
        assert file["done"] == file["samples"] == 6 and file["confusion"].dtype == np.int64
    arguments = ["--num-gpus", "0", "--num-processes", "2", "--eval-only", "--resume"]
    done = run_train_net(*arguments, *toy_overrides(two, **TWO, **weights))
    assert done.returncode == 0, done.stderr
    assert "resuming after 6 samples" in done.stdout
    assert content(two) == content(one)  # counts.npz among them: the same integers


@pytest.mark.parametrize("change", ["weights", "image", "setting", "words", "predictions", "nothing"])
def test_what_changed_is_not_continued(toys, weights, tmp_path, change, caplog):
    caplog.set_level("INFO", "openvocab")
    cfg = toy_cfg(tmp_path / "out", **weights)
    evaluate(cfg)
    if change == "weights":
        state = torch.load(cfg.MODEL.WEIGHTS)
        state["model"]["head.bias"][0] += 1
        torch.save(state, cfg.MODEL.WEIGHTS)
    elif change == "image":
        os.utime(toys / "03.png", ns=(1, 1))
    elif change == "setting":
        cfg.INPUT.MIN_SIZE_TEST = 16
    elif change == "predictions":
        cfg.TEST.PREDICTIONS = True  # samples that were counted before have no label maps
    elif change == "words":
        toy_method.MetadataCatalog.get("toy_test").set(vocabulary=Vocabulary.from_words(["a", "b", "c"]))
    evaluate(cfg, resume=True)
    assert ("starting with the first sample" in caplog.text) == (change != "nothing")
    assert ("resuming after 20 samples" in caplog.text) == (change == "nothing")
    assert len(list((tmp_path / "out").glob("predictions/*/*.png"))) == 20 * (change == "predictions")


def test_label_maps_that_somebody_deleted_are_made_again(weights, tmp_path, caplog):
    cfg = toy_cfg(tmp_path, **weights, **{"TEST.PREDICTIONS": "True"})
    evaluate(cfg)
    before = content(tmp_path)
    (tmp_path / "predictions" / "toy_test" / "07.png").unlink()
    evaluate(cfg, resume=True)
    assert "toy_test_counts.npz: without 1 prediction: " in caplog.text and "07.png, starting with" in caplog.text
    assert content(tmp_path) == before and "predictions/toy_test/07.png" in before


def test_without_resume_it_starts_anew(weights, tmp_path, caplog):
    caplog.set_level("INFO", "openvocab")
    cfg = toy_cfg(tmp_path / "out", **weights)
    evaluate(cfg)
    evaluate(cfg)
    assert "resuming" not in caplog.text


def test_a_broken_file_of_counts_is_named(tmp_path):
    path = tmp_path / "toy_counts.npz"
    for broken in (b"", b"PK\3\4 and nothing else", b"text"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="toy_counts.npz: got no counts of an evaluation"):
            read_progress(path, "key")
