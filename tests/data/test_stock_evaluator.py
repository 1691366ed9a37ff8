"""Detectron2's own evaluator on drawn scenes and on folders: the numbers of ours; on benchmarks: test_benchmarks.py."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from guessing import Guesser, assert_the_same_scores, plain_cfg, scored_by_both
from PIL import Image

from openvocab.data.emojiscapes.register import register_emojiscapes
from openvocab.data.emojiscapes.samples import dict_of_labels, scene_dicts
from openvocab.data.folders import register_folders
from openvocab.data.loader import build_test_loader
from openvocab.data.reading import EpisodeLabels, load_sem_seg, read_labels
from openvocab.evaluation.run import evaluate
from openvocab.evaluation.words import words_for_test


@pytest.fixture
def registered():
    """Registers a dataset for the duration of a test: `registered(name, dicts, like)`."""
    names = []

    def register(name, dicts, like):
        register_emojiscapes()
        DatasetCatalog.register(name, lambda: dicts)
        metadata = MetadataCatalog.get(like).as_dict()
        MetadataCatalog.get(name).set(**{key: value for key, value in metadata.items() if key != "name"})
        names.append(name)

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("split", ["train", "test"])
def test_drawn_scenes(registered, split, tmp_path):
    like = f"emojiscapes_mini_{split}_openmoji"
    register_emojiscapes()
    dicts = scene_dicts(split, ("openmoji",), 8)[5:]
    registered("three_scenes", dicts, like)
    metadata = MetadataCatalog.get("three_scenes")
    assert len(metadata.stuff_colors) == len(metadata.stuff_classes) and metadata.stuff_colors[1] != [0, 0, 0]
    shown = set().union(*(np.unique(read_labels(item)).tolist() for item in dicts))
    nowhere = next(label for label in range(len(metadata.stuff_classes)) if label not in shown)
    assert_the_same_scores(*scored_by_both("three_scenes", tmp_path, nowhere))


def test_the_labels_of_a_scene_are_drawn_from_their_name():
    register_emojiscapes()
    for name in ("emojiscapes_mini_train", "emojiscapes_mini_test_openmoji"):
        item = DatasetCatalog.get(name)[7]
        assert dict_of_labels(item["sem_seg_file_name"]) == item
    labels = load_sem_seg(item["sem_seg_file_name"], dtype=int)
    assert labels.dtype == int and labels.flags.writeable
    np.testing.assert_array_equal(labels, read_labels(item))
    with pytest.raises(ValueError, match="emojiscapes/masks/a.png"):
        load_sem_seg("emojiscapes/masks/a.png")  # a folder of that name is possible


@pytest.mark.parametrize("deep", [False, True])
def test_a_folder_of_ones_own(tmp_path, deep):
    """8 and 16 bits; and Detectron2's file of segments, byte by byte."""
    rng, ignored = np.random.default_rng(0), 65535 if deep else 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for stem in "ab":
        labels = rng.integers(0, 3, (6, 8)).repeat(4, 0).repeat(4, 1)
        labels[5:9, 5:9] = ignored
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / "images" / f"{stem}.jpg")
        Image.fromarray(labels.astype(np.uint16 if deep else np.uint8)).save(tmp_path / "masks" / f"{stem}.png")
    many = [f"word {number}" for number in range(300)] if deep else []
    (tmp_path / "words.txt").write_text("\n".join(["cat", "sofa|couch", "wall", "nowhere", *many]))
    places = {"IMAGES": tmp_path / "images", "LABELS": tmp_path / "masks", "WORDS": tmp_path / "words.txt"}
    register_folders([{"NAME": "own", "IGNORE_LABEL": ignored, **places}])
    try:
        assert_the_same_scores(*scored_by_both("own", tmp_path / "theirs", 3))
        keys = {"TEST.PREDICTIONS": "True", "DATASETS.TEST": "('own',)", "OUTPUT_DIR": str(tmp_path / "ours")}
        evaluate(plain_cfg(**keys), Guesser(4 + len(many), 3))
    finally:
        DatasetCatalog.remove("own")
        MetadataCatalog.remove("own")
    name, ours = "sem_seg_predictions.json", tmp_path / "ours" / "predictions" / "own"
    assert (ours / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert sorted(path.name for path in ours.iterdir()) == ["a.png", "b.png", name]


def test_words_come_with_the_samples(registered):
    like = "emojiscapes_mini_test_openmoji"
    register_emojiscapes()
    registered("two_scenes", DatasetCatalog.get(like)[:2], like)
    for workers in ("0", "1"):
        cfg, model = plain_cfg(**{"DATALOADER.NUM_WORKERS": workers}), Guesser(135, 0)
        for batch in build_test_loader(cfg, "two_scenes"):
            model(batch)
        first, second = model.words
        assert first is second, "one object, not a copy out of a worker's queue"
        assert first == words_for_test(cfg, "two_scenes") and first.synonyms == "first"
    del MetadataCatalog.get("two_scenes").vocabulary
    (batch, _) = build_test_loader(plain_cfg(), "two_scenes")
    assert "vocabulary" not in batch[0]
    (batch, _) = build_test_loader(plain_cfg(**{"MODEL.VOCABULARY.TEST": "cat, dog"}), "two_scenes")
    assert batch[0]["vocabulary"].names == ("cat", "dog")


def test_episodes_keep_their_words(registered, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "a_labels.png")
    item = {"file_name": str(tmp_path / "a.png"), "vocabulary": ("others", "cat"), "class_id": 0, "foreground_value": 1,
            "sem_seg_file_name": EpisodeLabels(tmp_path / "a_labels.png", "toy_episodes")}  # fmt: skip
    registered("toy_episodes", [item], "emojiscapes_mini_test_openmoji")
    for workers in ("0", "1"):
        (batch,) = build_test_loader(plain_cfg(**{"DATALOADER.NUM_WORKERS": workers}), "toy_episodes")
        assert batch[0]["vocabulary"] == ("others", "cat")
