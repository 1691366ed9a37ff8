import json
import os
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from openvocab.inference import legend, outputs
from openvocab.inference import result as result_module
from openvocab.inference.result import Result, prepare_folder


def make(labels, names, scores=None, image=None, **more) -> Result:
    labels = np.asarray(labels, np.int32)
    scores = np.full(labels.shape, 0.5, np.float32) if scores is None else np.asarray(scores, np.float32)
    image = np.full((*labels.shape, 3), 100, np.uint8) if image is None else image
    return Result(image, labels, scores, list(names), **more)


def test_areas_by_hand():
    result = make([[0, 0, 2], [-1, 2, 2]], ["cat", "dog", "sofa"], [[0.2, 0.4, 0.9], [0.1, 0.8, 1.0]])
    cat, dog, sofa = result.areas
    assert (cat.name, cat.label, cat.pixels, cat.share) == ("cat", 0, 2, 2 / 6)
    assert cat.mean_score == pytest.approx(0.3) and sofa.mean_score == pytest.approx(0.9)
    assert (dog.pixels, dog.share, dog.mean_score) == (0, 0.0, None)
    assert (result.none_area.name, result.none_area.label, result.none_area.pixels) == (None, -1, 1)
    assert [area.name for area in result.occurring()] == ["sofa", "cat"]


def test_areas_do_not_depend_on_the_strips(monkeypatch):
    labels = np.random.default_rng(0).integers(-1, 5, (37, 11))
    whole = make(labels, "abcde").areas
    monkeypatch.setattr(result_module, "_STRIP_PIXELS", 24)
    assert make(labels, "abcde").areas == whole
    assert sum(area.pixels for area in whole) == (labels >= 0).sum()


def test_overlay_tints_labels_and_leaves_none_alone():
    result = make([[0, 1], [-1, 0]], ["cat", "dog"])
    pure = result.overlay(alpha=1.0, legend_box=False)
    table = legend.colours(2)
    np.testing.assert_array_equal(pure[0], table)
    np.testing.assert_array_equal(pure[1, 0], [100, 100, 100])
    np.testing.assert_array_equal(result.overlay(alpha=0.0, legend_box=False), result.image)
    half = result.overlay(alpha=0.5, legend_box=False)
    np.testing.assert_array_equal(half[0, 0], (100 + table[0].astype(int)) // 2)


def test_colour_follows_the_word_wherever_it_is():
    left = make([[0, 1]], ["cat", "dog"]).overlay(1.0, legend_box=False)
    right = make([[1, 0, 2]], ["cat", "dog", "tree"]).overlay(1.0, legend_box=False)
    np.testing.assert_array_equal(left[0, ::-1], right[0, :2])


def test_colours_are_distinct_and_stable():
    table = legend.colours(24).astype(int)
    distance = np.abs(table[:, None] - table[None]).sum(-1) + 999 * np.eye(24, dtype=int)
    assert distance.min() >= 48
    np.testing.assert_array_equal(legend.colours(300)[:24], table)
    assert len(np.unique(legend.colours(3000), axis=0)) == 3000


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (20, 20), (64, 64), (48, 640), (640, 48), (480, 640)])
def test_overlay_and_sheet_of_any_size(size):
    labels = np.arange(size[0] * size[1]).reshape(size) % 31 - 1
    result = make(labels, [f"word {i} " * (1 + i) for i in range(40)])
    assert result.overlay().shape == (*size, 3) and result.overlay().dtype == np.uint8
    sheet = result.sheet()
    assert sheet.dtype == np.uint8 and sheet.shape[0] > size[0]
    assert sheet.shape[1] >= min(320, size[1] * max(1, 4096 // size[0]))


def test_overlay_writes_a_legend_only_where_asked():
    result = make(np.zeros((200, 300)), ["cat"])
    changed = (result.overlay() != result.overlay(legend_box=False)).any(-1)
    assert changed[:20, :40].mean() > 0.9 and not changed[100:].any() and not changed[:, 200:].any()


def test_overlay_refuses_a_wrong_alpha():
    with pytest.raises(ValueError, match=r"alpha: expected 0\.\.1, got 1\.5"):
        make([[0]], ["cat"]).overlay(1.5)


def test_legend_lists_own_words_by_area_then_none():
    result = make([[1, 1, 1, 0], [-1, -1, 1, 1]], ["cat", "dog", "absent"])
    assert [(entry.text, entry.share) for entry in result._legend()] == [
        ("dog", "62.5 %"), ("cat", "12.5 %"), ("(none of these)", "25.0 %")]  # fmt: skip
    assert result._legend()[0].colour == tuple(legend.colours(2)[1])


def test_legend_is_shortened_with_a_count():
    entries = [legend.Entry(str(i), (0, 0, 0)) for i in range(30)]
    short = legend.shorten(entries, 24)
    assert len(short) == 24 and short[-1] == legend.Entry("+7 more", None) and short[:23] == entries[:23]
    assert legend.shorten(entries[:24], 24) == entries[:24]
    assert legend.shorten(entries, 0) == []


@pytest.mark.parametrize(("share", "end"), [("", "…"), ("75.3 %", "… 75.3 %"), ("100.0 %", "… 100.0 %")])
def test_long_words_end_in_an_ellipsis_and_keep_their_share(share, end):
    def written(word, room):
        text, font = legend._written(legend.Entry(word, None, share), 12)
        return legend.cut(text, font, room, len(share))

    cut, font = written("a very long word " * 100, 110)
    assert re.fullmatch(f"a ver.*{re.escape(end)}", cut) and 80 < font.getlength(cut) <= 110
    assert written("cat", 110)[0] == written("cat\n", 110)[0] == f"cat {share}".strip()
    assert written("two\nlines", 200)[0] == f"two lines {share}".strip()
    assert written("cat", 1)[0] == f"c{end}", "at least the first letter"


@pytest.mark.parametrize("count,dtype,none", [(3, np.uint8, 255), (254, np.uint8, 255), (255, np.uint16, 65535)])
def test_label_map_width(tmp_path, count, dtype, none):
    result = make([[-1, 0, count - 1]], [f"w{i}" for i in range(count)])
    path = result.save_all(tmp_path, "a")[1]
    got = np.asarray(Image.open(path))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, [[none, 0, count - 1]])
    assert json.loads((tmp_path / "a.json").read_text())["none_label_in_png"] == none


def test_more_names_than_16_bits_hold():
    with pytest.raises(ValueError, match="at most 65535"):
        make([[0]], [""] * 65536).label_map()


def test_save_all_files_and_summary(tmp_path):
    result = make(
        [[0, 1], [1, -1]],
        ["cat", "sofa"],
        vocabulary=(("cat",), ("sofa", "couch")),
        synonyms="mean",
        background=(("wall",),),
        threshold=0.25,
        model="tiny",
        weights="w.pth",
    )
    paths = result.save_all(tmp_path / "new" / "folder", "img")
    assert [path.name for path in paths] == ["img_overlay.png", "img_labels.png", "img.json"]
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["img.json", "img_labels.png", "img_overlay.png"]
    summary = json.loads(paths[2].read_text())
    assert summary["vocabulary"] == [["cat"], ["sofa", "couch"]] and summary["synonyms"] == "mean"
    assert summary["background"] == [["wall"]] and summary["threshold"] == 0.25
    assert (summary["model"], summary["weights"], summary["height"], summary["width"]) == ("tiny", "w.pth", 2, 2)
    assert summary["words"][1] == {"name": "sofa", "label": 1, "area_pixels": 2, "area_share": 0.5, "mean_score": 0.5}
    assert summary["none"] == {"area_pixels": 1, "area_share": 0.25}


def test_coco_masks_are_the_labels():
    labels = [[0, 0, 1, -1], [0, 2, 1, -1], [2, 2, 2, 2]]
    result = make(labels, ["a", "b", "c", "absent"], model="m", notice="a stand-in")
    told = json.loads(json.dumps(result.to_coco("a.jpg")))  # plain values
    assert told["info"]["model"] == "m" and told["info"]["notice"] == "a stand-in"
    assert told["images"] == [{"id": 1, "file_name": "a.jpg", "height": 3, "width": 4}]
    assert [(one["id"], one["name"]) for one in told["categories"]] == [(1, "a"), (2, "b"), (3, "c"), (4, "absent")]
    assert [one["category_id"] for one in told["annotations"]] == [3, 1, 2], "the largest first, only what occurs"
    for one in told["annotations"]:
        mask = np.array(labels) == one["category_id"] - 1
        assert np.array_equal(rle.decode(one["segmentation"]).astype(bool), mask) and one["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert one["score"] == pytest.approx(result.scores[mask].mean(), abs=1e-6)


@pytest.mark.parametrize("suffix,form", [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")])
def test_save_writes_the_sheet(tmp_path, suffix, form):
    result = make(np.zeros((40, 330)), ["cat"])
    path = result.save(tmp_path / f"a.{suffix}")
    with Image.open(path) as image:
        assert image.format == form
        assert np.asarray(image).shape == result.sheet().shape
    assert os.listdir(tmp_path) == [path.name]


def test_save_refuses_other_suffixes(tmp_path):
    with pytest.raises(ValueError, match="path: expected one of .png .jpg .jpeg .webp, got 'a.xyz'"):
        make([[0]], ["cat"]).save(tmp_path / "a.xyz")


def test_a_failed_write_leaves_the_old_files_and_no_half(tmp_path, monkeypatch):
    old = make([[0]], ["old"])
    paths = old.save_all(tmp_path, "a")
    before = [path.read_bytes() for path in paths]

    def fail(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Result, "label_map", lambda self: np.zeros((1, 1), np.uint8))
    monkeypatch.setattr(outputs, "encode", lambda pixels, form, file: file.write(b"half") and fail(None))
    with pytest.raises(OSError, match="No space left"):
        make([[0]], ["new"]).save_all(tmp_path, "a")
    assert [path.read_bytes() for path in paths] == before
    assert sorted(os.listdir(tmp_path)) == sorted(path.name for path in paths)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="output: cannot write to the folder .*file/sub"):
        prepare_folder(tmp_path / "file" / "sub")
    with pytest.raises(ValueError, match="output: cannot write to the folder /proc"):
        prepare_folder("/proc/openvocab")


def test_written_files_are_as_readable_as_others(tmp_path):
    path = make([[0]], ["cat"]).save(tmp_path / "a.png")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "field,value",
    [
        ("labels", np.zeros((2, 3), np.int64)),
        ("scores", np.zeros((2, 2), np.float32)),
        ("image", np.zeros((2, 3), np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(field, value):
    arrays = {
        "image": np.zeros((2, 3, 3), np.uint8),
        "labels": np.zeros((2, 3), np.int32),
        "scores": np.zeros((2, 3), np.float32),
    }
    with pytest.raises(ValueError, match=f"{field}: expected"):
        Result(**{**arrays, field: value}, names=["cat"])
