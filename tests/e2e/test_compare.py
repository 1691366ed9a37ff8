"""One command evaluates both methods on the same scenes and prints a row for each."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator, inference_on_dataset

from openvocab.assets import weights_path
from openvocab.checkpoint.load import load_weights
from openvocab.data.emojiscapes.register import register_emojiscapes
from openvocab.data.emojiscapes.samples import scene_dicts
from openvocab.data.loader import build_test_loader
from openvocab.data.reading import load_sem_seg
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.run import build_evaluator

NAME = "two_scenes_for_a_test"


@pytest.fixture
def two_scenes():
    register_emojiscapes()
    like = MetadataCatalog.get("emojiscapes_mini_test_openmoji")
    DatasetCatalog.register(NAME, lambda: scene_dicts("test", ("openmoji",), 2))
    MetadataCatalog.get(NAME).set(
        stuff_classes=like.stuff_classes,
        vocabulary=like.vocabulary,
        ignore_label=like.ignore_label,
        evaluator_type=like.evaluator_type,
        class_groups=like.class_groups,
    )
    yield NAME
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.fixture
def compare(script):
    return script("tools/compare.py")


def test_a_row_for_each_method(compare, two_scenes, tmp_path, capsys):
    # Without loader processes: each would draw the drawings of its own.
    arguments = ["--datasets", two_scenes, "--output", str(tmp_path), "TEST.SLIDING_WINDOW.ENABLED", "False",
                 "DATALOADER.NUM_WORKERS", "0"]  # fmt: skip
    assert compare.main(arguments) == 0
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert rows[:2] == ["<!-- openvocab-seg: table -->", ""] and capsys.readouterr().out.splitlines()[-4:] == rows[2:]
    assert [row.split()[1:4:2] for row in rows[4:]] == [
        ["emojiscapes_catseg", two_scenes],
        ["emojiscapes_lseg", two_scenes],
    ]
    for model in ("emojiscapes_catseg", "emojiscapes_lseg"):
        written = json.loads((tmp_path / model / f"{two_scenes}_results.json").read_text())
        assert written["samples"] == 2 and 0 < written["scores"]["mIoU"] <= 100


def test_detectron2s_evaluator_scores_the_model_alike(two_scenes):
    """Scores per class instead of label maps, and no word set by hand: the loader brings them."""
    cfg = build_cfg(
        "emojiscapes/catseg",
        [
            "MODEL.DEVICE",
            "cpu",
            "DATALOADER.NUM_WORKERS",
            "0",
            "TEST.ORACLE_GRID",
            "0",
            "TEST.SLIDING_WINDOW.ENABLED",
            "False",
        ],
    )
    model = build_model(cfg)
    load_weights(model, weights_path("emojiscapes_catseg.pth"))

    ours = build_evaluator(cfg, two_scenes)

    class Both(SemSegEvaluator):
        def process(self, inputs, outputs):
            super().process(inputs, outputs)
            ours.process(inputs, outputs)

    loader = build_test_loader(cfg, two_scenes)
    theirs = inference_on_dataset(model, loader, Both(two_scenes, sem_seg_loading_fn=load_sem_seg))["sem_seg"]
    mine = ours.result(ours.counts).scores
    assert mine["mIoU"] > 20 and theirs["pACC"] == pytest.approx(mine["pACC"], rel=1e-9)
    rules = ("mIoU", "mIoU-predicted-too")  # since 2022, and before: the version number does not say which is installed
    assert any(theirs["mIoU"] == pytest.approx(mine[rule], rel=1e-9) for rule in rules)


def test_a_table_of_somebody_else_stays(compare, tmp_path, capsys):
    (tmp_path / "table.md").write_text("| my | table |\n")
    assert compare.main(["--output", str(tmp_path)]) == 2
    assert "table.md" in capsys.readouterr().err and (tmp_path / "table.md").read_text() == "| my | table |\n"


def test_an_unknown_model_is_named(compare, capsys):
    assert compare.main(["--models", "catseg_x"]) == 2
    assert "expected one of emojiscapes_catseg, emojiscapes_lseg" in capsys.readouterr().err
