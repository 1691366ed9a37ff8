"""Formats: what each holds is what was segmented, all are known as ours, and all appear or none."""

import base64
import builtins
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from openvocab.inference import marks, outputs
from openvocab.inference.coco_folder import write_whole
from openvocab.inference.outputs import FORMATS, checked_formats, endings_of
from openvocab.inference.result import Result

NAMES = ["ring", "island", "nothing", "狗"]


@pytest.fixture
def result() -> Result:
    """A ring with a hole in which there is an island, another island far away, and pixels that are none of these."""
    labels = np.full((30, 40), -1, np.int32)
    labels[2:20, 3:25] = 0
    labels[6:15, 8:20] = 3
    labels[9:11, 10:12] = 1
    labels[25:28, 35:40] = 1
    labels[0, 0] = 0
    scores = np.random.default_rng(0).random(labels.shape, np.float32)
    return Result(np.zeros((30, 40, 3), np.uint8), labels, scores, NAMES, model="m", weights="w.pth", notice="stand-in")


def painted(shapes: list[dict], names: list[str]) -> np.ndarray:
    """Paints labelme's shapes as labelme does: masks begin at the first point."""
    labels = np.full((30, 40), -1, np.int32)
    for shape in shapes:
        (left, top), (right, bottom) = shape["points"]
        mask = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
        assert mask.shape == (bottom - top + 1, right - left + 1) and shape["shape_type"] == "mask"
        labels[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = names.index(shape["label"])
    return labels


def test_labelme_gives_back_every_pixel(result, tmp_path):
    content = json.loads(json.dumps(result.to_labelme("../in/a.png")))
    np.testing.assert_array_equal(painted(content["shapes"], NAMES), result.labels)
    assert [shape["label"] for shape in content["shapes"]] == [area.name for area in result.occurring()]
    assert {"version", "imageData", "imagePath", "shapes", "flags", "imageHeight", "imageWidth"} < set(content)
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("../in/a.png", 30, 40)
    for shape in content["shapes"]:
        assert all(isinstance(value, int) for point in shape["points"] for value in point)
    (path,) = result.save_all(tmp_path / "out", "below/a", ["labelme"], picture=tmp_path / "in" / "a.png")
    assert (path.parent / json.loads(path.read_text())["imagePath"]).resolve() == tmp_path / "in" / "a.png"


def test_npz_gives_back_every_digit(result, tmp_path):
    (path,) = result.save_all(tmp_path, "a", ["npz"])
    with np.load(path) as found:
        assert found.files == ["written_by", "labels", "scores", "names"]
        np.testing.assert_array_equal(found["labels"], result.labels)
        np.testing.assert_array_equal(found["scores"], result.scores)
        assert found["names"].tolist() == NAMES and found["labels"].dtype == np.int32
    first = path.read_bytes()
    result.save_all(tmp_path, "a", ["npz"])
    assert path.read_bytes() == first, "no time of day is in it"


def test_supervision_gives_back_every_pixel(result):
    supervision = pytest.importorskip("supervision")
    found = result.to_supervision()
    assert isinstance(found, supervision.Detections) and len(found) == 3
    assert found.data["class_name"].tolist() == [area.name for area in result.occurring()]
    np.testing.assert_allclose(found.confidence, [area.mean_score for area in result.occurring()], rtol=1e-6)
    labels = np.full(result.labels.shape, -1)
    for mask, label, (left, top, right, bottom) in zip(found.mask, found.class_id, found.xyxy, strict=True):
        labels[mask] = label
        rows, columns = np.nonzero(mask)
        assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max(), rows.max())
    np.testing.assert_array_equal(labels, result.labels)
    nothing = Result(result.image, np.full_like(result.labels, -1), result.scores, NAMES).to_supervision()
    assert len(nothing) == 0 and nothing.mask.shape == (0, 30, 40)


def test_without_supervision_the_command_is_named(result, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "supervision":
            raise ModuleNotFoundError("No module named 'supervision'", name="supervision")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'expected it: python -m pip install "openvocab-seg\[formats\]"'):
        result.to_supervision()


def test_all_formats_at_once_are_ours_and_in_order(result, tmp_path):
    paths = result.save_all(tmp_path, "a", ["labelme", "npz", "json", "coco", "png"], "in/a.jpg")
    assert [path.name for path in paths] == [f"a{ending}" for ending in endings_of(tuple(FORMATS))]
    assert {path.name for path in paths} == set(os.listdir(tmp_path)) and len(paths) == 6
    assert all(marks.kind_of(path) == marks.SEGMENTATION for path in paths)
    assert json.loads((tmp_path / "a_coco.json").read_text())["images"][0]["file_name"] == "in/a.jpg"
    result.save_all(tmp_path, "a", tuple(FORMATS))  # which may replace them


@pytest.mark.parametrize("name", ["a.npz", "a_coco.json", "a_labelme.json"])
def test_foreign_files_stay(result, tmp_path, name):
    if name.endswith("npz"):
        np.savez(tmp_path / name, written_by=marks.TEXTS[marks.RUN], labels=result.labels)
    else:
        (tmp_path / name).write_text('{"info": {}, "written_by": "openvocab-seg: segmentation"}')
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match=name):
        result.save_all(tmp_path, "a", tuple(FORMATS))
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == before


def test_a_failure_in_the_last_format_leaves_none(result, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "labelme_of", fail)
    with pytest.raises(OSError, match="No space left"):
        result.save_all(tmp_path, "a", tuple(FORMATS))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["pgn"], "format: got 'pgn', did you mean png?, expected some of png, json, coco, npz, labelme"),
        ([], "format: got none"),
        (["png", ""], "format: got ''"),
        ("png", "format: got 'p'"),
    ],
)
def test_formats_that_do_not_exist(formats, message):
    with pytest.raises(ValueError) as error:
        checked_formats(formats)
    assert message in str(error.value)


def test_one_coco_file_of_many(result, tmp_path):
    other = Result(result.image[:20], np.ascontiguousarray(result.labels[:20]), result.scores[:20].copy(), NAMES)
    parts = [
        part
        for number, each in enumerate([result, other, result])
        for part in each.save_all(tmp_path, f"{number}", ["coco"], f"{number}.jpg")
    ]
    write_whole(tmp_path / "coco.json", lambda: iter(parts))
    whole = json.loads((tmp_path / "coco.json").read_text())
    assert [(image["id"], image["file_name"]) for image in whole["images"]] == [
        (1, "0.jpg"),
        (2, "1.jpg"),
        (3, "2.jpg"),
    ]
    assert [annotation["id"] for annotation in whole["annotations"]] == list(range(1, 10))
    assert whole["categories"] == result.to_coco()["categories"] and whole["info"]["notice"] == "stand-in"
    for number, each in enumerate([result, other, result], 1):
        labels = np.full(each.labels.shape, -1)
        for annotation in whole["annotations"]:
            if annotation["image_id"] == number:
                labels[rle.decode(annotation["segmentation"]).astype(bool)] = annotation["category_id"] - 1
        np.testing.assert_array_equal(labels, each.labels)
    assert marks.kind_of(tmp_path / "coco.json") == marks.SEGMENTATION
    (tmp_path / "coco.json").write_text("{}")
    with pytest.raises(ValueError, match=r"coco\.json"):
        write_whole(tmp_path / "coco.json", lambda: iter(parts))
