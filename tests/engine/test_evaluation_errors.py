"""One table of what goes wrong with an evaluation: exit code 2, one line, and no image computed for nothing."""

import shutil
from typing import NamedTuple

import pytest
import torch
import toy_method
from detectron2.data import DatasetCatalog, MetadataCatalog
from toy_method import toy_cfg, toy_overrides

import train_net
from openvocab.data.catalog import CATALOG
from openvocab.engine.trainer import Trainer

OWN = "DATASETS.FOLDERS"
FOLDERS = {"NAME": "own_toys", "IMAGES": "{tmp}/images", "LABELS": "{tmp}/masks", "WORDS": "{tmp}/words.txt"}
USE_OWN = {OWN: str([FOLDERS]), "DATASETS.TEST": "('own_toys',)"}


class Case(NamedTuple):
    """One row.

    Attributes:
        name: of the row.
        keys: config keys; "{tmp}" stands for a folder.
        line: expected in the line on stderr that begins with "error: ".
        full: name of a file of OUTPUT_DIR for which the disk has no space.
        images: how many are computed before the error.
    """

    name: str
    keys: dict[str, str]
    line: str
    full: str = ""
    images: int = 0


CASES = (
    Case("no dataset", {"DATASETS.TEST": "()"}, "DATASETS.TEST: got no dataset"),
    Case("unknown dataset", {"DATASETS.TEST": "('toy_tset',)"}, "got 'toy_tset', expected a registered dataset, did"),
    Case(
        "a benchmark that is not here",
        {"DATASETS.TEST": "('toy_test', 'ade20k_150_test_sem_seg')"},
        "ade20k_150_test_sem_seg: NOT READY error: not prepared",
    ),
    Case(
        "own folder is missing",
        USE_OWN | {OWN: str([FOLDERS | {"IMAGES": "{tmp}/absent"}])},
        "dataset own_toys: no folder {tmp}/absent",
    ),
    Case("an image without mask", USE_OWN, "1 files (02.png) have no mask in {tmp}/masks"),
    Case(
        "own words are missing",
        USE_OWN | {OWN: str([FOLDERS | {"WORDS": "{tmp}/absent.txt"}])},
        "there is no vocabulary file {tmp}/absent.txt",
    ),
    Case(
        "not a list of folders", USE_OWN | {OWN: "['images']"}, "DATASETS.FOLDERS: got 'images', expected NAME, IMAGES"
    ),
    Case("words of another number", {"MODEL.VOCABULARY.TEST": "pascal_voc_20"}, "got words for 20 classes, expected 3"),
    Case(
        "training words that do not exist",
        {"MODEL.VOCABULARY.TRAIN": "{tmp}/absent.txt"},
        "there is no vocabulary file {tmp}/absent.txt",
    ),
    Case("no weights", {"MODEL.WEIGHTS": ""}, "weights: got nothing, expected a checkpoint (MODEL.WEIGHTS)"),
    Case("missing weights", {"MODEL.WEIGHTS": "{tmp}/absent.pth"}, "{tmp}/absent.pth"),
    Case("weights of another model", {"MODEL.WEIGHTS": "{tmp}/other.pth"}, "checkpoint: belongs to another model"),
    Case("weights that are none", {"MODEL.WEIGHTS": "{tmp}/words.txt"}, "{tmp}/words.txt"),
    Case("output below a file", {"OUTPUT_DIR": "{tmp}/words.txt/out"}, "OUTPUT_DIR: cannot create {tmp}/words.txt/out"),
    Case("broken counts", {}, "toy_train_counts.npz: got no counts of an evaluation", images=3),
    Case(
        "full disk at the start", {}, "No space left on device: '{tmp}/out/toy_test_counts.npz'", "toy_test_counts.npz"
    ),
    Case(
        "full disk for a label map",
        {"TEST.PREDICTIONS": "True"},
        "No space left on device: '{tmp}/out/predictions/toy_test/01.png'",
        "01.png",
        2,
    ),
    Case(
        "full disk for segments",
        {"TEST.PREDICTIONS": "True"},
        "No space left on device: '{tmp}/out/predictions/toy_test/sem_seg_predictions.json'",
        "sem_seg",
        3,
    ),
    Case(
        "full disk for results",
        {},
        "No space left on device: '{tmp}/out/toy_test_results.json'",
        "toy_test_results.json",
        3,
    ),
)


@pytest.fixture
def prepared(toys, tmp_path):
    """Toys, three images and two masks, weights, and an OUTPUT_DIR with something that is no file of counts."""
    for path in toys.iterdir():
        path.unlink()
    toy_method.write_pictures(toys, 3)  # instead of seven
    images, masks, out = (tmp_path / name for name in ("images", "masks", "out"))
    for folder in (images, masks, out):
        folder.mkdir()
    for stem in ("00", "01", "02"):
        shutil.copy(toys / f"{stem}.png", images)
    for stem in ("00", "01"):
        shutil.copy(toys / f"{stem}_labels.png", masks / f"{stem}.png")
    (tmp_path / "words.txt").write_text("dark\nmiddle\nbright\n")
    torch.save({"model": Trainer.build_model(toy_cfg(tmp_path)).state_dict()}, tmp_path / "toy.pth")
    torch.save({"model": {"other.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    (out / "toy_train_counts.npz").write_bytes(b"PK broken")
    yield tmp_path
    for name in [entry.name for entry in CATALOG] + ["own_toys"]:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_table(case, prepared, tmp_path, monkeypatch, capfd, no_space_for):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    computed, forward = [], toy_method.ToySegmenter.forward

    def counting(self, batch):
        computed.extend(batch)
        return forward(self, batch)

    monkeypatch.setattr(toy_method.ToySegmenter, "forward", counting)
    if case.full:
        no_space_for(case.full)
    keys = {"DATASETS.TEST": "('toy_test', 'toy_train')", "MODEL.WEIGHTS": "{tmp}/toy.pth"} | case.keys
    keys = {key: value.replace("{tmp}", str(tmp_path)) for key, value in keys.items()}
    (tmp_path / "toy.yaml").write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    command = ["--config-file", str(tmp_path / "toy.yaml"), "--num-gpus", "0", "--eval-only", "--resume"]
    assert train_net.main([*command, *toy_overrides(tmp_path / "out", **keys)]) == 2
    error = capfd.readouterr().err
    (line,) = (text for text in error.splitlines() if text.startswith("error: "))
    assert case.line.replace("{tmp}", str(tmp_path)) in line and "Traceback" not in error
    assert len(computed) == case.images
    assert not (tmp_path / "out" / "results.md").exists()
