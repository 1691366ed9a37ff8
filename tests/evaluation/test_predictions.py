"""Label maps on disk: their names, their values, and what happens to what lies there already."""

import json

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from pycocotools import mask as coco_mask
from torch import nn

from openvocab.config import add_openvocab_config
from openvocab.evaluation.few_shot import FewShotEvaluator
from openvocab.evaluation.predictions import PredictionFiles
from openvocab.evaluation.run import evaluate
from openvocab.inference import marks
from openvocab.inference.inputs import find_inputs

LABELS = np.array([[0, 2, 2], [-1, 0, 253]])


def names_of(folder, file_names, root=""):
    files = PredictionFiles(folder, file_names, 3, root)
    return [str(files.path_of(name).relative_to(folder)) for name in file_names]


@pytest.mark.parametrize(("file_names", "root", "expected"), [
    (["/data/a/1.jpg", "/data/b/1.jpg"], "/data", ["a/1.png", "b/1.png"]),
    (["/data/a/1.jpg", "/data/b/1.jpg"], "/data/a", ["a/1.png", "b/1.png"]),  # one lies elsewhere
    (["/data/a/1.jpg"], "/data/", ["a/1.png"]),
    (["data/a/1.jpg", "data/a/../2.jpg"], "", ["a/1.png", "2.png"]),
    (["x/one.jpg"], "", ["one.png"]),
    (["emojiscapes/mini/test/openmoji/0", "emojiscapes/mini/test/openmoji/1"], "", ["0.png", "1.png"]),
    (["/d/a.jpg", "/d/A.png", "/d/sub/b.jpg"], "/d", ["0_a.png", "1_A.png", "sub/2_b.png"]),
    (["/d/a.jpg", "/d/a.jpg", "/d/b.c.jpg"], "/d", ["a.png", "a.png", "b.c.png"]),  # one image, one answer
])  # fmt: skip
def test_names(tmp_path, file_names, root, expected):
    assert names_of(tmp_path, file_names, root) == expected


def test_names_that_leave_no_room_for_the_suffix(tmp_path):
    first, second = names_of(tmp_path, ["/d/" + 240 * "a" + "1.jpg", "/d/" + 240 * "a" + "2.jpg"])
    assert first != second
    files = PredictionFiles(tmp_path, ["/d/" + 240 * "a" + "1.jpg"], 3)
    files.prepare(0)
    files.write("/d/" + 240 * "a" + "1.jpg", LABELS.clip(max=2))


@pytest.mark.parametrize(("classes", "mode", "none"), [(254, "L", 255), (255, "I;16", 65535)])
def test_values_and_json(tmp_path, classes, mode, none):
    files = PredictionFiles(tmp_path / "toy", ["a.jpg"], classes, dataset_ids={n: n + 1000 for n in range(classes)})
    files.prepare(0)
    files.write("a.jpg", LABELS)
    path = files.path_of("a.jpg")
    with Image.open(path) as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), np.where(LABELS < 0, none, LABELS))
    np.testing.assert_array_equal(files.read("a.jpg"), LABELS)
    files.write_json()
    segments = json.loads((tmp_path / "toy" / "sem_seg_predictions.json").read_text())
    assert [segment["category_id"] for segment in segments] == [1000, 1002, 1253]  # -1 is no segment
    for segment in segments:
        assert segment["file_name"] == "a.jpg"
        mask = coco_mask.decode(segment["segmentation"])
        np.testing.assert_array_equal(mask, LABELS == segment["category_id"] - 1000)
    assert marks.kind_of(path) == marks.PREDICTION and find_inputs([path]).outputs == [path]


def test_ids_that_lack_a_class(tmp_path):
    with pytest.raises(ValueError, match=r"toy: got stuff_dataset_id_to_contiguous_id .*\[0, 1\], expected 0 to 2"):
        PredictionFiles(tmp_path / "toy", ["a.jpg"], 3, dataset_ids={0: 1, 1: 2})


def test_what_an_earlier_evaluation_has_left(tmp_path):
    names, labels = ["d/a.jpg", "d/b.jpg"], LABELS.clip(0, 2)
    before = PredictionFiles(tmp_path, [*names, "d/c.jpg"], 3)
    before.prepare(0)
    for name in [*names, "d/c.jpg"]:
        before.write(name, labels)
    before.write_json()
    (tmp_path / "b.png.0123abcd.partial").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    files = PredictionFiles(tmp_path, names, 3)
    files.prepare(2)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png", "c.png", "notes.txt",
                                                          "sem_seg_predictions.json"}  # fmt: skip
    assert files.missing(2) == []
    files.prepare(0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert files.missing(1) == [tmp_path / "a.png"] and files.missing(0) == []


def test_a_picture_of_somebody_else_stays(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="output: expected nothing or an earlier prediction .*b.png"):
        PredictionFiles(tmp_path, ["d/a.jpg", "d/b.jpg"], 3).prepare(0)
    assert (tmp_path / "b.png").exists()


def test_episodes_are_refused_by_name(tmp_path):
    cfg = get_cfg()
    add_openvocab_config(cfg)
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR, cfg.TEST.PREDICTIONS = ("toy_episodes",), str(tmp_path), True
    DatasetCatalog.register("toy_episodes", lambda: [{"file_name": "a.jpg"}])
    try:
        judge = FewShotEvaluator("toy_episodes", class_names=["a"], class_ids=[0], ignore_label=255)
        with pytest.raises(ValueError, match="^toy_episodes: got TEST.PREDICTIONS True for FewShotEvaluator"):
            evaluate(cfg, nn.Linear(1, 1), evaluators=[judge])
    finally:
        DatasetCatalog.remove("toy_episodes")
        MetadataCatalog.pop("toy_episodes", None)
    assert not list(tmp_path.iterdir())
