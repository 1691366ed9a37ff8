"""Masks and words that do not belong together are called by the name of the pattern, before the run, in its log."""

import logging

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from openvocab.data.checking.folders import check_folder
from openvocab.data.checking.patterns import suspicions
from openvocab.data.checking.ready import require_ready
from openvocab.data.folders import FolderDataset, register_folders

NAMES = ("sky", "grass", "house")


def found(values, names=NAMES, ignore_label=255) -> str:
    counts = np.zeros(1 << 16, np.int64)
    counts[list(values)] = 7
    return "; ".join(suspicions(counts, names, ignore_label))


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 1, 2, 255)])
def test_masks_that_show_every_word_raise_no_suspicion(values):
    assert found(values) == ""


@pytest.mark.parametrize(("values", "names", "ignore_label", "told", "untold"), [
    ((0, 2), NAMES, 255, "no mask shows 'grass' (1 of 3 words)", "begin with 1"),
    ((0,), [f"word {n}" for n in range(9)], 255, "'word 1', 'word 2', 'word 3', 'word 4', 'word 5' and 3 more (8", ""),
    ((0, 255), ("background", "house"), 255, "0 and 255 alone, as editors write black and white; 255 is ignored", ""),
    ((0, 255), ("background", "house"), 65535, "255 is no class", "begin"),
    ((1, 2, 3), NAMES, 255, "labels seem to begin with 1, but the first word, 'sky', is class 0", "IGNORE"),
    ((1, 2), NAMES, 255, "labels seem to begin with 1", "IGNORE"),
    ((0, 1, 3), NAMES, 255, "labels seem to begin with 1", "IGNORE"),
    ((1, 255), ("cat",), 255, "labels seem to begin with 1", "IGNORE"),
    ((0, 1, 2), NAMES, 0, "IGNORE_LABEL 0 is the number of the word 'sky' (line 1)", "begin"),
    ((0, 1, 2), NAMES, 2, "IGNORE_LABEL 2 is the number of the word 'house' (line 3)", "no mask shows"),
])  # fmt: skip
def test_patterns(values, names, ignore_label, told, untold):
    text = found(values, names, ignore_label)
    assert told in text
    assert not untold or untold not in text


@pytest.mark.parametrize("ignore_label", [255, 2])
def test_the_run_prints_them(tmp_path, caplog, ignore_label):
    for place in ("images", "masks"):
        (tmp_path / place).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.array([[0, 0, 255, 255]] * 4, np.uint8)).save(tmp_path / "masks" / "a.png")
    (tmp_path / "words.txt").write_text("ground\nhouse\ntree\n")
    entry = {"NAME": "own_patterns", "IMAGES": str(tmp_path / "images"), "LABELS": str(tmp_path / "masks"),
             "WORDS": str(tmp_path / "words.txt"), "IGNORE_LABEL": ignore_label}  # fmt: skip
    report = check_folder(FolderDataset.from_config(entry))
    assert report.ok == (ignore_label == 255)
    register_folders([entry])
    try:
        with caplog.at_level(logging.WARNING):
            if report.ok:
                require_ready(["own_patterns"])
                assert "own_patterns: no mask shows 'house', 'tree'" in caplog.text
                assert "0 and 255 alone" in caplog.text
            else:
                with pytest.raises(ValueError, match="255 is no class"):
                    require_ready(["own_patterns"])
    finally:
        DatasetCatalog.remove("own_patterns")
        MetadataCatalog.remove("own_patterns")
