import logging
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager

from openvocab.inference import fonts, legend

FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
RARE = "\u1d81"  # STIX has it, DejaVu Sans has not


@pytest.fixture(autouse=True)
def _forget():
    fonts._file_for.cache_clear()
    yield
    fonts._file_for.cache_clear()


def system_fonts(monkeypatch, *files):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(file) for file in files])


@pytest.mark.parametrize("text", ["cat 12.5 %", "Straße", "кошка", "γάτα", "+2 more…"])
def test_european_words_need_no_search(monkeypatch, text):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: pytest.fail("searched"))
    got, font = fonts.font_for(text, 12)
    assert got == text and Path(font.path).name == "DejaVuSans.ttf"


def test_a_font_of_the_system_that_has_the_letters_is_taken(monkeypatch, tmp_path):
    (tmp_path / "broken-Regular.ttf").write_bytes(b"no font")
    system_fonts(monkeypatch, FOLDER / "cmr10.ttf", FOLDER / "STIXGeneral.ttf", tmp_path / "broken-Regular.ttf")
    got, font = fonts.font_for(f"cat {RARE}", 12)
    assert got == f"cat {RARE}" and Path(font.path).name == "STIXGeneral.ttf"


def test_without_such_a_font_the_word_is_escaped_and_warned_of_once(monkeypatch, caplog):
    system_fonts(monkeypatch, FOLDER / "STIXGeneral.ttf")
    with caplog.at_level(logging.WARNING):
        texts = [fonts.font_for(f"猫 {share} %", 12)[0] for share in (3, 4)]
    assert texts == ["\\u732b 3 %", "\\u732b 4 %"]
    assert len(caplog.records) == 1 and "猫" in caplog.text


def test_a_legend_draws_words_of_several_scripts(monkeypatch):
    system_fonts(monkeypatch, FOLDER / "STIXGeneral.ttf")
    blank = np.zeros((200, 400, 3), np.uint8)
    drawn = [legend.draw_below(blank, [legend.Entry(text, (255, 0, 0)), legend.Entry("dog", (0, 255, 0))])
             for text in ("猫", "\\u732b", RARE, "?")]  # fmt: skip
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert all((a != b).any() for a, b in ((drawn[0], drawn[2]), (drawn[2], drawn[3])))
