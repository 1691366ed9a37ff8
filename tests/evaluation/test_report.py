"""Tables: what is in them, and that the same counts give the same bytes."""

import json
import math

import pytest

from openvocab.evaluation.report import score_table, write_result, write_summary
from openvocab.evaluation.result import ClassResult, Result

RESULT = Result(
    "toy", 3,
    {"protocol": "mean", "denominator": {"classes": 2, "of": 3, "rule": "shown"}},
    {"mIoU": 12.345678, "mIoU-unseen": math.nan, "pACC": 100.0, "fwIoU": 1.0},
    (ClassResult("cat", 12.345678, 7, True), ClassResult("dog, puppy", math.nan, 0, False),
     ClassResult("Übel", 0.0, 1, None)),
)  # fmt: skip


def test_a_table_has_the_scores_that_occur():
    rows = [({"model": "a", "dataset": "long name"}, {"mIoU": 12.34, "pACC": 5.0}), ({"model": "bb", "dataset": "d"},
             {"FB-IoU": 100.0, "mIoU": math.nan})]  # fmt: skip
    assert score_table(rows).splitlines() == [
        "| model | dataset   | mIoU | FB-IoU | pACC |",
        "| ----- | --------- | ---: | -----: | ---: |",
        "| a     | long name | 12.3 |        |  5.0 |",
        "| bb    | d         |      |  100.0 |      |",
    ]


def test_files(tmp_path):
    write_result(RESULT, tmp_path)
    write_summary([RESULT], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.md", "toy_classes.csv", "toy_results.json"]
    content = json.loads((tmp_path / "toy_results.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert content["samples"] == 3 and content["protocol"] == "mean" and content["denominator"]["classes"] == 2
    assert content["scores"] == {"mIoU": 12.3457, "mIoU-unseen": None, "pACC": 100.0, "fwIoU": 1.0}
    assert content["classes"][0] == {"name": "cat", "iou": 12.3457, "pixels": 7, "seen": True}
    assert (tmp_path / "toy_classes.csv").read_text(encoding="utf-8").splitlines() == [
        "class,iou,pixels,seen", "cat,12.3457,7,true", '"dog, puppy",,0,false', "Übel,0.0000,1,"]  # fmt: skip
    text = (tmp_path / "results.md").read_text()
    assert "| toy     | 3       | 2 of 3  | 12.3 |" in text
    assert text.endswith("- protocol: mean\n- denominator\n  - classes: 2\n  - of: 3\n  - rule: shown\n")


def test_the_same_bytes_again(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_result(RESULT, folder)
        write_summary([RESULT], folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, no_space_for):
    path = tmp_path / "results.md"
    path.write_text("old")
    no_space_for("results.md")
    with pytest.raises(OSError, match="No space left on device: '.*/results.md'"):
        write_summary([RESULT], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"] and path.read_text() == "old"
