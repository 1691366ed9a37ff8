"""Folds and episodes are the published ones, whether or not their images are here."""

import numpy as np
import pytest
from PIL import Image

from openvocab.data.catalog import find_entries
from openvocab.data.few_shot import Episode, classes_of, coco_stem, episodes_of, list_episodes, read_split
from openvocab.data.mapper import SemSegTestMapper
from openvocab.data.reading import read_labels

ENTRIES = {entry.name: entry for name in ("pascal_5i", "coco_20i", "fss_1000") for entry in find_entries(name)}
IN_SPLIT = [name for name in ENTRIES if "coco" not in name or "test" in name]


@pytest.mark.parametrize("name", IN_SPLIT)
def test_counts_and_classes(name, tmp_path):
    entry = ENTRIES[name]
    episodes = episodes_of(entry, tmp_path)
    assert len(episodes) == entry.count
    assert {episode.class_id for episode in episodes} == set(classes_of(*entry.few_shot))


def test_folds():
    assert classes_of("pascal_5i", "test", 1) == (5, 6, 7, 8, 9)
    assert classes_of("coco_20i", "test", 1)[:3] == (1, 5, 9)
    for split, size in (("pascal_5i", 20), ("coco_20i", 80)):
        for fold in range(4):
            held_out, trained = set(classes_of(split, "test", fold)), set(classes_of(split, "train", fold))
            assert len(held_out) == size // 4 and held_out | trained == set(range(size)) and not held_out & trained
    for wrong in (("pascal_5i", "val", 0), ("coco_20i", "test", 4), ("fss_1000", "test", 1), ("voc", "test", 0)):
        with pytest.raises(ValueError, match="split: got"):
            classes_of(*wrong)


def test_pascal_episodes():
    """Lines of the published list, which repeat after its 346 lines."""
    episodes = episodes_of(ENTRIES["pascal_5i_fold0_test"], None)
    assert episodes[:4] == [Episode("2007_000033", 0, 1), Episode("2007_000061", 3, 4),
                            Episode("2007_000129", 1, 2), Episode("2007_000346", 4, 5)]  # fmt: skip
    assert episodes[346] == episodes[0] and len(set(episodes)) == 346
    assert len({episode.stem for episode in episodes}) == 345
    lists = read_split("pascal_5i")
    train, val = ({stem for stems in lists[part].values() for stem in stems} for part in ("train", "val"))
    assert (len(train), len(val), len(train & val)) == (10092, 1381, 0)


def test_coco_episodes():
    episodes = episodes_of(ENTRIES["coco_20i_fold0_test"], None)
    assert episodes[0] == Episode("val2014/COCO_val2014_000000507081", 72, 73)
    assert episodes[1].class_id == 32 and len(set(episodes)) < 1000
    assert coco_stem("train", 9) == "train2014/COCO_train2014_000000000009"


def test_coco_training_needs_the_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match="lists.json: no such file, .*run python datasets/prepare_coco_20i.py"):
        episodes_of(ENTRIES["coco_20i_fold0_train"], tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*/1.jpg \(2400 of 2400 are missing"):
        list_episodes(ENTRIES["fss_1000_test"], tmp_path)


def test_an_episode_on_its_way_to_the_model(tmp_path):
    Image.new("RGB", (4, 2)).save(tmp_path / "a.jpg")
    values = np.array([[0, 5, 5, 255], [3, 5, 0, 255]], dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    sample = {"file_name": str(tmp_path / "a.jpg"), "sem_seg_file_name": str(tmp_path / "a.png"),
              "foreground_value": 5, "class_id": 4, "vocabulary": ("others", "bottle"), "episode": 7}  # fmt: skip
    assert read_labels(sample).tolist() == [[0, 1, 1, 255], [0, 1, 0, 255]]
    mapped = SemSegTestMapper(short_side=0, max_side=100)(sample)
    assert mapped["vocabulary"] == ("others", "bottle") and (mapped["class_id"], mapped["episode"]) == (4, 7)
    assert mapped["sem_seg"].tolist() == [[0, 1, 1, 255], [0, 1, 0, 255]]
