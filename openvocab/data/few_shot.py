"""Episodes of the few-shot datasets: PASCAL-5i, COCO-20i and FSS-1000 (layout and splits of HSNet).

An episode is one image and one class; 0-shot, so the class is given by its name alone. Its dict holds

    file_name, sem_seg_file_name   the image and its label file, which may be shared with episodes of other classes
    foreground_value               the value of the label file that is this episode's class (all others are "others")
    class_id                       index of the class in the benchmark's vocabulary
    vocabulary                     ("others", word of the class): the two words that the model is asked for
    episode                        its number in the list

`openvocab.data.reading.read_labels` turns the label file into 0 (others), 1 (the class) and 255 (ignored).
A list may hold an image several times, with several classes, and (in the tests) the same image and class several times.
"""

import json
import logging
import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from openvocab.data.catalog import DatasetEntry
from openvocab.data.preparation.stamp import read_stamp
from openvocab.data.reading import EpisodeLabels
from openvocab.vocab.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

OTHERS = "others"
"""The word for everything that is not the episode's class, as LSeg writes it."""

FOLDS = 4
TEST_EPISODES = 1000
FSS_PARTS = {"train": range(520), "val": range(520, 760), "test": range(760, 1000)}
FSS_IMAGES = range(1, 11)
LABEL_VALUES: Mapping[str, int] = MappingProxyType({"pascal_5i": 21, "coco_20i": 81, "fss_1000": 2})
"""How many values the label files hold: 0 and the classes; FSS-1000 has one folder per class and 1 for "this one"."""
COCO_LISTS = "lists.json"
"""Name of the file that the preparation of COCO-20i leaves in the label folder: which images show which class."""


class Episode(NamedTuple):
    """One image and one class.

    Attributes:
        stem: of image and label file, below their folders.
        class_id: index in the vocabulary.
        foreground: value of the class in the label file.
    """

    stem: str
    class_id: int
    foreground: int


def classes_of(split: str, part: str, fold: int) -> tuple[int, ...]:
    """Returns the classes of one part of a few-shot dataset.

    Args:
        split: "pascal_5i" (blocks of five classes), "coco_20i" (every fourth class) or "fss_1000".
        part: "train" or "test", for FSS-1000 also "val". The test classes of a fold are held out of its training.
        fold: 0..3.

    Returns:
        Class indices in ascending order.

    Raises:
        ValueError: unknown split, part or fold.
    """
    if split == "fss_1000" and part in FSS_PARTS and fold == 0:
        return tuple(FSS_PARTS[part])
    if split not in ("pascal_5i", "coco_20i") or part not in ("train", "test") or fold not in range(FOLDS):
        raise ValueError(
            f"split: got {(split, part, fold)}, expected pascal_5i or coco_20i with train or test and a "
            "fold 0 to 3, or fss_1000 with train, val or test and fold 0"
        )
    if split == "pascal_5i":
        held_out, size = range(5 * fold, 5 * fold + 5), 20
    else:
        held_out, size = range(fold, 80, FOLDS), 80
    return tuple(c for c in range(size) if (c in held_out) == (part == "test"))


def list_episodes(entry: DatasetEntry, root: Path) -> list[dict[str, Any]]:
    """Lists the episodes of a few-shot dataset, in the order of the published lists.

    Args:
        entry: a row of the table with `few_shot`.
        root: folder that the row's folders are relative to.

    Returns:
        Dicts as at the top of this file. Of a dataset of which only a part was prepared, as its stamp then says, those
        episodes that the part has.

    Raises:
        FileNotFoundError: a folder, an image or a label file is missing; names the first one and counts the others.
    """
    vocabulary = Vocabulary.builtin(entry.vocabulary)
    image_dir, label_dir = root / entry.image_dir, root / entry.label_dir
    episodes = episodes_of(entry, label_dir)
    stamp = read_stamp(label_dir)
    if stamp and not stamp.complete:
        episodes = _prepared_part(entry, label_dir, episodes)
    stems = list(dict.fromkeys(episode.stem for episode in episodes))
    for folder, suffix in ((image_dir, entry.image_suffix), (label_dir, entry.label_suffix)):
        missing = missing_files(folder, (stem + suffix for stem in stems))
        if missing:
            raise FileNotFoundError(
                f"dataset {entry.name}: no file {folder / missing[0]} ({len(missing)} of {len(stems)} are missing; "
                f"datasets lie below DETECTRON2_DATASETS, now {root})"
            )
    return [
        {
            "file_name": str(image_dir / (episode.stem + entry.image_suffix)),
            "sem_seg_file_name": EpisodeLabels(label_dir / (episode.stem + entry.label_suffix), entry.name),
            "foreground_value": episode.foreground,
            "class_id": episode.class_id,
            "vocabulary": (OTHERS, vocabulary.entries[episode.class_id][0]),
            "episode": number,
        }
        for number, episode in enumerate(episodes)
    ]


def episodes_of(entry: DatasetEntry, label_dir: Path) -> list[Episode]:
    """Returns the episodes of a few-shot dataset without looking for their files.

    Args:
        entry: a row of the table with `few_shot`.
        label_dir: where the preparation of COCO-20i left its lists; read for its training only.

    Returns:
        The episodes in order.

    Raises:
        FileNotFoundError: COCO-20i has not been prepared.
    """
    split, part, fold = entry.few_shot
    if split == "pascal_5i":
        return _pascal_episodes(part, fold)
    if split == "coco_20i":
        return _coco_test_episodes(fold) if part == "test" else _coco_training(fold, label_dir, entry.command)
    folders = [words[0] for words in Vocabulary.builtin(entry.vocabulary).entries]
    return [Episode(f"{folders[c]}/{number}", c, 1) for c in classes_of(split, part, fold) for number in FSS_IMAGES]


def missing_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Finds which files are not there; lists each folder once, which is much faster than asking for each file.

    Args:
        folder: they lie below it.
        names: relative to `folder`.

    Returns:
        Those that are missing, in order.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names:
        parent, _, last = name.rpartition("/")
        if parent not in listings:
            place = folder / parent
            listings[parent] = set(os.listdir(place)) if place.is_dir() else set()
        if last not in listings[parent]:
            missing.append(name)
    return missing


def coco_stem(part: str, image_id: int) -> str:
    """Returns the place of an image of COCO 2014, such as "val2014/COCO_val2014_000000000042"."""
    return f"{part}2014/COCO_{part}2014_{image_id:012d}"


@cache
def read_split(name: str) -> dict[str, Any]:
    """Reads a shipped list.

    Args:
        name: of a file in `openvocab/data/splits`, without suffix.

    Returns:
        Its content; not to be changed.
    """
    text = resources.files("openvocab.data").joinpath("splits", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)


def _prepared_part(entry: DatasetEntry, label_dir: Path, episodes: list[Episode]) -> list[Episode]:
    missing = set(missing_files(label_dir, {episode.stem + entry.label_suffix for episode in episodes}))
    have = [episode for episode in episodes if episode.stem + entry.label_suffix not in missing]
    logger.warning("dataset %s: only a part was prepared, %d of %d episodes", entry.name, len(have), len(episodes))
    return have


def _pascal_episodes(part: str, fold: int) -> list[Episode]:
    lists = read_split("pascal_5i")["train" if part == "train" else "val"]
    pairs = [(stem, c) for c in classes_of("pascal_5i", part, fold) for stem in lists[str(c)]]
    if part == "test":
        # The published list is sorted by image; episode k is line k modulo its length, so lines repeat unevenly.
        pairs.sort()
        pairs = [pairs[k % len(pairs)] for k in range(TEST_EPISODES)]
    return [Episode(stem, c, c + 1) for stem, c in pairs]


def _coco_test_episodes(fold: int) -> list[Episode]:
    content = read_split("coco_20i")
    pairs = zip(content["episode_images"][str(fold)], content["episode_classes"][str(fold)], strict=True)
    return [Episode(coco_stem("val", image), c, c + 1) for image, c in islice(pairs, TEST_EPISODES)]


def _coco_training(fold: int, label_dir: Path, command: str) -> list[Episode]:
    path = label_dir / COCO_LISTS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected the lists of COCO-20i (run {command})")
    lists = json.loads(path.read_text(encoding="utf-8"))["train"]
    return [
        Episode(coco_stem("train", image), c, c + 1)
        for c in classes_of("coco_20i", "train", fold)
        for image in lists[str(c)]
    ]
