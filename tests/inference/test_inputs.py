"""What files, folders and patterns stand for, and what is said of the rest."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openvocab.inference import marks
from openvocab.inference.formats import picture_suffixes
from openvocab.inference.inputs import NOT_READ, find_inputs
from openvocab.inference.result import Result


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()
    return [folder / name for name in names]


def segmentation(size: tuple[int, int] = (4, 6)) -> Result:
    return Result(np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32), np.ones(size, np.float32), ["cat"])


def test_files_folders_and_patterns(tmp_path):
    a, b, _, c = touch(tmp_path, "a.JPG", "b.png", "notes.txt", "sub/c.png")

    def pictures(*inputs) -> list[Path]:
        return find_inputs(inputs).pictures

    assert pictures(tmp_path) == [a, b]
    assert pictures(str(tmp_path / "*.png"), a) == [b, a]
    assert pictures(str(tmp_path / "**" / "*.png")) == [b, c]
    assert pictures(b, tmp_path, b) == [b, a]
    assert pictures(a, b, tmp_path) == [a, b], "a folder of which all is named already is not an empty one"


def test_a_file_whose_name_looks_like_a_pattern(tmp_path):
    (path,) = touch(tmp_path, "a[1].png")
    assert find_inputs([os.fspath(path)]).pictures == [path]


def test_an_input_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        find_inputs([])
    with pytest.raises(ValueError, match="matches no file"):
        find_inputs([str(tmp_path / "*.png")])
    touch(tmp_path, "notes.txt", ".hidden.png")
    with pytest.raises(ValueError, match=r"no pictures in the folder .* \(2 other files or folders\)"):
        find_inputs([tmp_path])


def test_a_folder_gives_every_suffix_that_can_be_read(tmp_path):
    touch(tmp_path, *(f"x{suffix}" for suffix in picture_suffixes()))
    found = find_inputs([tmp_path])
    assert {path.suffix for path in found.pictures} == picture_suffixes() and not found.others and not found.refused


def test_pictures_that_nothing_here_reads_are_named_one_by_one(tmp_path):
    paths = touch(tmp_path, "IMG_1.HEIC", "photo.Cr2", "logo.svg", "a.jxl")
    for inputs in ([tmp_path], paths, [str(tmp_path / "*")]):
        found = find_inputs(inputs)
        assert not found.pictures and not found.others and len(found.refused) == 4
        for path in paths:
            (line,) = [line for line in found.refused if str(path) in line]
            assert NOT_READ[path.suffix.lower()] in line and "convert it to PNG or JPEG" in line


def test_the_table_names_no_format_that_can_be_read():
    assert not picture_suffixes() & NOT_READ.keys()


def test_a_plugin_makes_ordinary_pictures_of_them(tmp_path, monkeypatch):
    from openvocab.inference import inputs

    (path,) = touch(tmp_path, "a.heic")
    monkeypatch.setattr(inputs, "picture_suffixes", lambda: picture_suffixes() | {".heic"})
    assert find_inputs([tmp_path]).pictures == [path]


def test_a_jpeg_under_such_a_name_is_a_picture(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.heic", "JPEG")
    assert find_inputs([tmp_path]).pictures == [tmp_path / "a.heic"]


def test_the_rest_of_a_folder_is_counted(tmp_path):
    touch(tmp_path, "a.png", ".DS_Store", "._a.png", "film.mp4", "notes.json", "sub.png/c.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    found = find_inputs([tmp_path])
    assert found.pictures == [tmp_path / "a.png"] and found.others == 6 and not found.refused
    assert found.left_out() == "6 other files or folders"


def test_what_is_missing_or_no_file_is_named_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    long = tmp_path / ("x" * 300 + ".png")
    found = find_inputs([tmp_path / "pipe.png", tmp_path / "absent.png", long, "/dev/zero", tmp_path])
    assert not found.pictures
    for name, line in zip(("pipe.png", "absent.png", "xxx.png", "/dev/zero", "gone.jpg"), found.refused, strict=True):
        assert name in line and line.startswith("image: ")
    assert "expected a file, got a pipe" in found.refused[0] and "no such file" in found.refused[1]
    assert "nowhere.jpg" in found.refused[4], "where a link leads"


@pytest.mark.parametrize("how", ["folder", "pattern", "names"])
def test_own_outputs_are_no_pictures(tmp_path, how):
    (picture,) = touch(tmp_path, "a.png")
    outputs = segmentation().save_all(tmp_path, "a")
    outputs += [segmentation().save(tmp_path / f"b.{suffix}") for suffix in ("jpg", "webp")]
    inputs = {"folder": [tmp_path], "pattern": [str(tmp_path / "*")], "names": [picture, *outputs]}[how]
    found = find_inputs(inputs)
    assert found.pictures == [picture] and sorted(found.outputs) == sorted(outputs) and not found.others
    first = sorted(path.name for path in outputs)
    if how == "folder":
        assert found.left_out() == f"5 outputs of this program: {first[0]}, {first[1]} and 3 more"


def test_drawn_scenes_are_pictures(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "scene.png", pnginfo=marks.png(marks.SCENE))
    assert find_inputs([tmp_path]).pictures == [tmp_path / "scene.png"]
