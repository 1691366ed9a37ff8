"""One command evaluates both methods on the same scenes and prints a row for each."""

import importlib.util
import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.data.emojiscapes.register import register_emojiscapes, scene_dicts

NAME = "two_scenes_for_a_test"


@pytest.fixture
def two_scenes():
    register_emojiscapes()
    like = MetadataCatalog.get("emojiscapes_mini_test_openmoji")
    DatasetCatalog.register(NAME, lambda: scene_dicts("test", ("openmoji",), 2))
    MetadataCatalog.get(NAME).set(
        stuff_classes=like.stuff_classes, vocabulary=like.vocabulary, ignore_label=like.ignore_label,
        evaluator_type=like.evaluator_type, class_groups=like.class_groups)
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def compare(repository):
    spec = importlib.util.spec_from_file_location("compare_script", repository / "tools" / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_row_for_each_method(compare, two_scenes, tmp_path, capsys):
    arguments = ["--datasets", two_scenes, "--output", str(tmp_path), "TEST.SLIDING_WINDOW.ENABLED", "False"]
    assert compare.main(arguments) == 0
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[:2] == ["<!-- openvocab-seg: table -->", ""] and capsys.readouterr().out.splitlines()[-4:] == rows[2:]
    assert [row.split()[1:4:2] for row in rows[4:]] == [
        ["emojiscapes_catseg", two_scenes], ["emojiscapes_lseg", two_scenes]]
    for model in ("emojiscapes_catseg", "emojiscapes_lseg"):
        written = json.loads((tmp_path / model / f"{two_scenes}_results.json").read_text())
        assert written["samples"] == 2 and 0 < written["scores"]["mIoU"] <= 100


def test_a_table_of_somebody_else_stays(compare, tmp_path, capsys):
    (tmp_path / "table.md").write_text("| my | table |\n")
    assert compare.main(["--output", str(tmp_path)]) == 2
    assert "table.md" in capsys.readouterr().err and (tmp_path / "table.md").read_text() == "| my | table |\n"


def test_an_unknown_model_is_named(compare, capsys):
    assert compare.main(["--models", "catseg_x"]) == 2
    assert "expected one of emojiscapes_catseg, emojiscapes_lseg" in capsys.readouterr().err
