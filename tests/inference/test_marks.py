"""Which files are ours: what we write is known again, and nothing else is."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab.assets import weights_names, weights_root
from openvocab.files import replace_together
from openvocab.inference import marks
from openvocab.inference.result import Result

NOISE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


def segmentation() -> Result:
    labels = np.arange(40 * 50, dtype=np.int32).reshape(40, 50) % 3
    return Result(NOISE, labels, np.ones((40, 50), np.float32), ["cat", "dog", "sofa"])


def test_what_a_segmentation_writes_is_known_again(tmp_path):
    paths = segmentation().save_all(tmp_path, "a")
    paths += [segmentation().save(tmp_path / name) for name in ("b.png", "b.jpg", "b.jpeg", "b.webp")]
    assert len(paths) == 7 and all(marks.kind_of(path) == marks.SEGMENTATION for path in paths)


@pytest.mark.parametrize("width", range(317, 325))  # of a WebP, odd lengths get a byte of padding
@pytest.mark.parametrize("kind", [marks.SEGMENTATION, marks.SCENE])
def test_webp_of_any_length(tmp_path, width, kind):
    Image.fromarray(np.tile(NOISE, (1, 7, 1))[:, :width]).save(tmp_path / "a.webp", exif=marks.exif(kind))
    assert marks.kind_of(tmp_path / "a.webp") == kind


def test_the_mark_is_where_every_program_shows_it(tmp_path):
    overlay, labels, summary = segmentation().save_all(tmp_path, "a")
    for path in (overlay, labels):
        assert Image.open(path).text["Software"] == "openvocab-seg: segmentation"
    jpeg = segmentation().save(tmp_path / "b.jpg")
    assert Image.open(jpeg).getexif()[0x0131] == "openvocab-seg: segmentation"
    assert next(iter(json.loads(summary.read_text()).items())) == ("written_by", "openvocab-seg: segmentation")


def test_the_label_map_is_what_it_was_without_the_mark(tmp_path):
    labels = Image.open(segmentation().save_all(tmp_path, "a")[1])
    assert labels.mode == "L"
    np.testing.assert_array_equal(np.asarray(labels), segmentation().labels)


@pytest.mark.parametrize(
    "name,save",
    [
        ("a.png", lambda path: Image.fromarray(NOISE).save(path)),
        ("a.jpg", lambda path: Image.fromarray(NOISE).save(path)),
        ("a.webp", lambda path: Image.fromarray(NOISE).save(path)),
        ("a.json", lambda path: path.write_text('{"version": "5.4.1", "written_by": "openvocab-seg: segmentation"}')),
        ("b.json", lambda path: path.write_text('{"text": "written_by openvocab-seg: segmentation"}')),
        ("notes.txt", lambda path: path.write_text("openvocab-seg: segmentation")),
        ("empty.png", lambda path: path.touch()),
        ("cut.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0")),
        ("cut.webp", lambda path: path.write_bytes(b"RIFF")),
        ("cut.pth", lambda path: path.write_bytes(b"PK\x03\x04")),
        ("other.pth", lambda path: torch.save({"model": {"a": torch.zeros(3)}}, path)),
        ("folder.png", lambda path: path.mkdir()),
        ("pipe.png", lambda path: os.mkfifo(path)),
        ("link.png", lambda path: path.symlink_to(segmentation().save(path.with_name("target.png")))),
        ("gone.png", lambda path: path.symlink_to("nowhere")),
    ],
)
def test_everything_else_is_foreign(tmp_path, name, save):
    path = tmp_path / name
    save(path)
    assert marks.kind_of(path) is None
    for kind in marks.TEXTS:
        with pytest.raises(ValueError, match=f"output: expected .* got 1 other: .*{name}"):
            marks.refuse_foreign([tmp_path / "free", path], kind)


def test_another_kind_of_ours_is_refused_and_nothing_at_all_is_not(tmp_path):
    path = segmentation().save(tmp_path / "a.png")
    marks.refuse_foreign(
        [path, tmp_path / "absent", tmp_path / "absent" / "a", tmp_path / ("x" * 300)], marks.SEGMENTATION
    )
    with pytest.raises(ValueError, match="expected nothing or an earlier drawn scene"):
        marks.refuse_foreign([path], marks.SCENE)


def test_a_picture_that_was_edited_elsewhere_is_not_ours(tmp_path):
    path = segmentation().save(tmp_path / "a.png")
    Image.open(path).rotate(90).save(path)
    assert marks.kind_of(path) is None


def test_shipped_weights_are_known(tmp_path):
    names = [name for name in weights_names() if name.startswith("emojiscapes")]
    assert len(names) == 3 and all(marks.kind_of(weights_root() / name) == marks.WEIGHTS for name in names)


@pytest.mark.parametrize("name", ["a_overlay.png", "a_labels.png", "a.json"])
def test_a_result_replaces_nothing_foreign(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=name):
        segmentation().save_all(tmp_path, "a")
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == "mine"


def test_nor_does_a_single_picture(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match=r"a\.png"):
        segmentation().save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before and os.listdir(tmp_path) == ["a.png"]


def test_a_result_replaces_its_own(tmp_path):
    for _ in range(2):
        segmentation().save_all(tmp_path, "a")
        segmentation().save(tmp_path / "b.jpg")
    assert len(os.listdir(tmp_path)) == 4


def test_a_foreign_file_that_appears_while_writing_stays(tmp_path, monkeypatch):
    summary = Result.summary

    def slow(self):
        (tmp_path / "a.json").write_text("mine")
        return summary(self)

    paths = [tmp_path / "a", tmp_path / "b"]
    writers = dict.fromkeys(paths, lambda file: paths[1].write_text("mine"))
    with pytest.raises(ValueError, match="got 1 other: .*/b"):
        replace_together(writers, lambda targets: marks.refuse_foreign(targets, marks.SEGMENTATION))
    assert os.listdir(tmp_path) == ["b"] and paths[1].read_text() == "mine"
    monkeypatch.setattr(Result, "summary", slow)
    with pytest.raises(ValueError, match=r"a\.json"):
        segmentation().save_all(tmp_path, "a")
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b"]


def test_many_foreign_files_are_counted(tmp_path):
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"got 4 others: .*/a, .*/b and 2 more"):
        marks.refuse_foreign([tmp_path / name for name in "abcd"], marks.SEGMENTATION)


def test_a_copy_is_as_much_ours_as_the_file(tmp_path):
    """Known by what it holds, whatever it is called."""
    path = segmentation().save(tmp_path / "a.png")
    shutil.copy(path, tmp_path / "holiday.png")
    assert marks.kind_of(tmp_path / "holiday.png") == marks.SEGMENTATION
