"""Output names: each its own, none longer than the file system allows, the usual ones as they are."""

import os
from pathlib import Path

import pytest

from openvocab.files import PARTIAL_ROOM, write_atomically
from openvocab.inference import naming
from openvocab.inference.naming import outputs_of, shortened, stems_for

PLACE = Path("/tmp")


def stems(*names: str | bytes, folder: Path = PLACE) -> list[str]:
    return stems_for([Path(os.fsdecode(name)) for name in names], folder)


def test_the_usual_names_stay():
    assert stems("a/cat.jpg", "b/猫.png", "b/two words.tar.png", "x" * 226 + ".jpg") == [
        "cat",
        "猫",
        "two words.tar",
        "x" * 226,
    ]


def test_same_names_are_numbered_whatever_their_case():
    assert stems("a/cat.jpg", "b/cat.png", "c/CAT.png", "cat-2.gif") == ["cat", "cat-2", "CAT-3", "cat-2-2"]
    assert stems("stra\u00dfe.jpg", "STRASSE.jpg")[1] == "STRASSE-2"
    assert stems("Cafe\u0301.jpg", "Caf\u00e9.jpg")[1] == "Caf\u00e9-2", "one name on a Mac"


def test_no_picture_ends_as_the_output_of_another():
    pictures = ["a.jpg", "a_overlay.png", "a_labels.png", "a_overlay_overlay.png", "a.json.png"]
    targets = outputs_of(stems(*pictures), PLACE)
    assert len(set(targets)) == 3 * len(pictures)


@pytest.mark.parametrize("letter", ["b", "é", "猫", "🐈", b"\xe9"])
def test_long_names_fit_with_all_that_is_put_behind_them(tmp_path, letter):
    raw = os.fsencode(letter)
    names = [raw * (250 // len(raw)) + end for end in (b".jpg", b"x.jpg", b".png")]
    cut = stems(*names, folder=tmp_path)
    assert len(set(cut)) == 3, "also those that begin alike"
    for path in outputs_of(cut, tmp_path):
        write_atomically(path, b"")  # with its partial file
        assert "\ufffd" not in path.name and os.fsencode(path.name).startswith(raw * 40)
    assert len(os.listdir(tmp_path)) == 9


def test_the_limit_is_that_of_the_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pathconf", lambda place, name: 100)
    (stem,) = stems("x" * 90 + ".jpg", folder=tmp_path / "still" / "to be made")
    assert len(stem) == 100 - PARTIAL_ROOM - len("_overlay.png")

    def fail(place, name):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "pathconf", fail)
    assert stems("x" * 90 + ".jpg", folder=tmp_path) == ["x" * 90]
    assert naming._room_in(tmp_path) == 255


def test_shortened_keeps_what_fits_to_the_byte():
    assert shortened("猫" * 10, 30) == "猫" * 10
    cut = shortened("猫" * 10, 29)
    assert len(cut.encode()) <= 29 and cut.startswith("猫" * 6 + "~")
