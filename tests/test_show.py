"""Sheets to look at: the worst comes first, what is red is wrong, and only sheets are replaced."""

import os

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from openvocab.data.folders import register_folders
from openvocab.data.inspection import TrainingFeed
from openvocab.data.loader import build_train_loader, dataset_dicts
from openvocab.engine.setup import build_cfg
from openvocab.evaluation.inspection import Inspection, _percent
from openvocab.evaluation.predictions import PredictionFiles
from openvocab.inference import marks, sheets
from openvocab.inference.legend import Entry, colours

WORDS = ["cat", "sofa|couch", "wall", *(f"word {number}" for number in range(3, 400))]
IGNORED = 65535
TRUTH = np.array([[0, 0, 1, 1], [2, 2, 399, IGNORED]]).repeat(20, 0).repeat(20, 1)


@pytest.fixture
def show(script):
    return script("tools/show.py")


@pytest.fixture
def job(tmp_path):
    """The OUTPUT_DIR of an evaluation of six images: image i is wrong in 10 i columns, the last has no truth."""
    out = tmp_path / "out"
    for folder in ("images", "masks", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    places = {key: str(tmp_path / name) for key, name in
              (("IMAGES", "images"), ("LABELS", "masks"), ("WORDS", "words.txt"))}  # fmt: skip
    entry = {"NAME": "own", "IGNORE_LABEL": IGNORED, **places}
    content = {
        "MODEL": {"META_ARCHITECTURE": "CATSeg", "SEM_SEG_HEAD": {"IGNORE_VALUE": 999}},
        "OUTPUT_DIR": "moved",
        "TEST": {"PREDICTIONS": True},
        "DATASETS": {"FOLDERS": [entry], "TRAIN": ["own"]},
        "SEED": 3,
        "SOLVER": {"IMS_PER_BATCH": 4},
        "INPUT": {"CROP": {"ENABLED": True, "TYPE": "absolute", "SIZE": [48, 48]}, "MIN_SIZE_TRAIN": [40]},
    }
    (out / "config_evaluation.yaml").write_text(yaml.safe_dump(content))
    for stem in "abcdef":
        truth = np.full_like(TRUTH, IGNORED) if stem == "f" else TRUTH
        Image.fromarray(np.full((*TRUTH.shape, 3), 200, np.uint8)).save(tmp_path / "images" / f"{stem}.png")
        Image.fromarray(truth.astype(np.uint16)).save(tmp_path / "masks" / f"{stem}.png")
    register_folders([entry])
    names = [sample["file_name"] for sample in dataset_dicts("own")]
    files = PredictionFiles(out / "predictions" / "own", names, len(WORDS), str(tmp_path / "images"))
    files.prepare(0)
    for number, name in enumerate(names):
        labels = np.where(TRUTH == IGNORED, 0, TRUTH)
        labels[:, : 10 * number] = 17
        files.write(name, labels)
    yield out
    DatasetCatalog.remove("own")
    MetadataCatalog.remove("own")


def inspection_of(job):
    cfg = build_cfg(job / "config_evaluation.yaml")
    cfg.OUTPUT_DIR = str(job)
    return Inspection(cfg, "own", dataset_dicts("own"), PredictionFiles.from_config(cfg, "own", dataset_dicts("own")))


def test_the_worst_image_comes_first(job):
    inspection = inspection_of(job)
    inspection.samples.reverse()  # NaN stays where it is if nobody cares, so it must not be the last already
    found = inspection.worst_first()
    assert [os.path.basename(image.sample["file_name"])[0] for image in found] == list("edcbaf")
    assert found[0].miou == pytest.approx(50) and found[0].accuracy == pytest.approx(100 * 3 / 7)
    assert found[4].miou == found[4].accuracy == 100
    assert np.isnan(found[5].miou)  # nothing counts: last, and not as the best


def test_the_legend_tells_a_few_pixels_from_none(job, monkeypatch):
    inspection, legends, drawn = inspection_of(job), [], np.zeros((9, 1300, 3), np.uint8)
    monkeypatch.setattr(sheets, "row", lambda panels, caption, entries: legends.append(entries) or drawn)
    MetadataCatalog.get("own").stuff_classes[1] = "sofa, " * 20
    found = inspection.worst_first()
    inspection.sheet(found[3:5], 4)  # in image b, 400 of 2800 pixels are called 17, 200 of them are 0 and 200 are 2
    assert [entry.text for entry in legends[0]] == [
        "0 cat 28.6 → 21.4", "1 sofa, sofa, sofa, sofa,… 28.6 → 28.6", "2 wall 28.6 → 21.4",
        "17 word 17 0 → 14.3", "399 word 399 14.3 → 14.3"]  # fmt: skip
    colours_of = [{entry.text.split()[0]: entry.colour for entry in entries} for entries in legends]
    assert colours_of[1].items() <= colours_of[0].items() and len(set(colours_of[0].values())) == 5
    assert [_percent(share) for share in (0, 0.001, 0.05, 100)] == ["0", "<0.1", "0.1", "100.0"]


def test_red_is_wrong_and_black_does_not_count():
    picture = np.full((2, 3, 3), 90, np.uint8)
    truth, predicted = np.array([[0, 1, 1], [255, 255, 2]]), np.array([[0, 0, 1], [0, 255, 1]])
    shown = sheets.errors(picture, truth, predicted, 255)
    red = (shown[..., 0] > 200) & (shown[..., 1] < 100)
    assert red.tolist() == [[False, True, False], [False, False, True]]
    assert (shown.max(axis=-1) == 0).tolist() == [[False, False, False], [True, True, False]]
    assert (shown[0, 0] == shown[0, 0, 0]).all() and picture.min() == 90


def test_numbers_are_written_where_there_is_room():
    labels = np.zeros((100, 200), np.int64)
    labels[:, :60], labels[10:12] = 399, 7  # the stripe is two pixels high
    panel = sheets.numbered(np.full((100, 200, 3), 128, np.uint8), labels, {0: 0, 399: 1, 7: 2})
    assert panel.shape == (150, sheets.PANEL, 3)
    white = (panel >= 250).all(axis=-1)  # the outline of the letters
    assert white[:, :90].any() and white[30:, 90:].any() and not white[13:20].any()
    tint = panel[140, 290].astype(float) / colours(1)[0].clip(1)
    assert tint[0] < 1 and panel[140, 290, 0] > panel[140, 290, 1], "label 0 has the first colour, red"
    untouched = sheets.numbered(np.full((100, 200, 3), 128, np.uint8), labels, {399: 0})
    assert (untouched[140, 290] == 128).all()


def test_bars_in_columns():
    lines = [sheets.Bar(f"{number} {word}", (200, 0, 0), 1 / (number + 1), "1 %") for number, word in enumerate(WORDS)]
    whole, few = sheets.bars(lines), sheets.bars(lines, most=13)
    assert whole.shape[1] == 10 * few.shape[1]  # 400 lines, forty in a column
    red = ((few[..., 0] > 150) & (few[..., 1] < 50)).sum(axis=1).reshape(13, -1).max(axis=1)
    assert red[0] > 1.9 * red[1] > 3 * red[4] > 0 and red[12] == 0  # the last line says "+388 more"
    assert sheets.bars([]).size, "a sample whose labels are all ignored has an empty list"


def test_a_tall_picture_and_a_wide_one_make_a_row():
    pictures = [np.zeros((900, 20, 3), np.uint8), np.zeros((20, 900, 3), np.uint8)]
    one = sheets.row(pictures, "caption", [Entry(f"word {n}", (0, 0, 255)) for n in range(30)])
    assert one.shape[1] == 2 * sheets.PANEL + 3 * 8 and 450 < one.shape[0] < 700
    assert sheets.page(["heading"], ["left", "right"], [one, one]).shape[1] == one.shape[1]


def test_sheets_of_predictions(show, job, tmp_path, capsys):
    arguments = ["predictions", str(job), "--output", str(tmp_path / "new" / "show")]
    assert show.main([*arguments, "--dataset", "own"]) == 0
    paths = [tmp_path / "new" / "show" / f"own_{number:02d}.png" for number in (1, 2)]
    assert capsys.readouterr().out.splitlines() == list(map(str, paths))
    assert all(marks.kind_of(path) == marks.SHEET for path in paths)
    assert np.asarray(Image.open(paths[0])).shape[1] == 4 * sheets.PANEL + 5 * 8
    (paths[0].parent / "own_99.png").write_text("mine")
    assert show.main([*arguments, "--count", "2"]) == 0
    assert sorted(os.listdir(paths[0].parent)) == ["own_01.png", "own_99.png"]  # no sheet from before


def test_an_evaluation_that_has_not_ended(show, job, tmp_path, capsys, caplog):
    for stem in "abc":
        (job / "predictions" / "own" / f"{stem}.png").unlink()
    assert show.main(["predictions", str(job), "--output", str(tmp_path / "show")]) == 0
    assert "own: got 3 of 6 label maps" in caplog.text and capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("spoil", "line"), [
    (lambda job: (job / "config_evaluation.yaml").unlink(), "expected the OUTPUT_DIR of an evaluation"),
    (lambda job: (job / "config_evaluation.yaml").write_text("MODEL: {META_ARCHITECTURE: CATSeg}"),
     "config_evaluation.yaml: got TEST.PREDICTIONS False"),
    (lambda job: os.rename(job / "predictions", job / "other"), "expected those of an evaluation with TEST"),
    (lambda job: os.rename(job / "predictions/own", job / "predictions/owm"), "got 'owm', expected a registered"),
    (lambda job: [path.unlink() for path in (job / "predictions" / "own").iterdir()], "own: got no label map"),
    (lambda job: Image.new("I;16", (3, 3)).save(job / "predictions/own/c.png"), r"own/c.png: predictions: got shape"),
    (lambda job: (job.parent / "show").mkdir() or (job.parent / "show" / "own_01.png").write_text("mine"),
     "output: expected nothing or an earlier sheet"),
])  # fmt: skip
def test_what_cannot_be_shown_is_one_line(show, job, tmp_path, capsys, spoil, line):
    spoil(job)
    assert show.main(["predictions", str(job), "--output", str(tmp_path / "show")]) == 2
    (error,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
    assert line in error


def test_sheets_of_a_training(show, job, tmp_path, capsys):
    command = ["training", "--config-file", str(job / "config_evaluation.yaml"), "--output", str(tmp_path / "show")]
    assert show.main([*command, "--count", "5", "INPUT.COLOR_JITTER", "False"]) == 0
    names = [os.path.basename(line) for line in capsys.readouterr().out.splitlines()]
    assert names == ["training_01.png", "training_02.png", "training_labels.png"]
    assert show.main([*command, "DATASETS.TRAIN", "('owm',)"]) == 2
    assert "got 'owm'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        show.main([*command, "--count", "0"])
    assert "got '0', expected a number of 1 or more" in capsys.readouterr().err


def test_a_training_is_fed_what_is_shown(job, monkeypatch):
    cfg = build_cfg(job / "config_evaluation.yaml")
    feed = TrainingFeed(cfg, 6)
    cfg.DATALOADER.NUM_WORKERS = 0
    loader = iter(build_train_loader(cfg, seed=3))
    fed = [sample for _ in range(2) for sample in next(loader)]
    assert len(feed.samples) == 6
    for mine, theirs in zip(feed.samples, fed):
        assert mine["file_name"] == theirs["file_name"] and (mine["image"] == theirs["image"]).all()
    drawn = {}
    monkeypatch.setattr(sheets, "bars", lambda lines: drawn.update(lines=lines) or np.zeros((9, 9, 3), np.uint8))
    feed.histogram()
    shares = {bar.text: (bar.share, bar.value) for bar in drawn["lines"]}
    counted = [sample["sem_seg"][sample["sem_seg"] != 999] for sample in feed.samples]
    total = sum(map(len, counted))
    for label, text in ((1, "1 sofa"), (399, "399 word 399")):
        share, value = shares[text]
        assert share == pytest.approx(sum(int((labels == label).sum()) for labels in counted) / total)
        assert value.endswith(f"in {sum(bool((labels == label).any()) for labels in counted)}")
