"""Which samples a split of EmojiScapes has, and how the labels of a scene are called where a file name is expected."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from .scenes import IGNORE, Scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World, world

SIZE = 192  # pixels
OWN = "own"
_LABELS = re.compile(r"emojiscapes/mini/([^/]+)/([^/]+)/(\d+)/labels")

# name -> (split, styles, number of scenes). The OpenMoji twins need no drawings but PyPI's.
SPLITS = {
    "emojiscapes_mini_train": ("train", TRAIN_STYLES, 20000),
    "emojiscapes_mini_test": ("test", TRAIN_STYLES, 100),
    "emojiscapes_mini_test_heldout": ("test", (HELD_OUT_STYLE,), 100),
    "emojiscapes_mini_train_openmoji": ("train", ("openmoji",), 20000),
    "emojiscapes_mini_test_openmoji": ("test", ("openmoji",), 100),
    "emojiscapes_mini_own": ("own0", TRAIN_STYLES, 64),
}


def classes_of(split: str, world_: World) -> list[int]:
    """Class ids of the world that are classes of a split: all of them, or those that training may name.

    Training must not even hear of a novel class: a word that never fits is learned as one that fits nothing. The splits
    "own0", "own1" and so on are what somebody labels to adapt a model: of the novel classes alone.
    """
    if split.startswith(OWN):
        return sorted(world_.novel)
    if split != "train":
        return list(range(len(world_.classes)))
    return [i for i in range(len(world_.classes)) if i not in world_.novel]


def words_of(split: str) -> list[str]:
    """Gives the words of a split's classes, in the order of their labels."""
    return [world("mini").classes[i] for i in classes_of(split, world("mini"))]


def scene_dict(split: str, styles: Sequence[str], index: int) -> dict[str, Any]:
    """Detectron2 dataset dict of one scene; the pixels are drawn when it is read.

    Args:
        split: as in `Scene`; "train" and "own..." number the classes that they have ("label_table").
        styles: drawing styles.
        index: number within the split.

    Returns:
        The dict. "file_name" and "sem_seg_file_name" are names, not files; `dict_of_labels` undoes the latter.
    """
    name = f"emojiscapes/mini/{split}/{'+'.join(styles)}/{index}"
    return {
        "file_name": name,
        "sem_seg_file_name": f"{name}/labels",
        "image_id": index,
        "height": SIZE,
        "width": SIZE,
        "scene": Scene("mini", split, tuple(styles), index, SIZE),
        **({"label_table": _label_table(split)} if split.startswith(("train", OWN)) else {}),
    }


def scene_dicts(split: str, styles: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Detectron2 dataset dicts of the first `count` scenes of a split."""
    return [scene_dict(split, styles, index) for index in range(count)]


def dict_of_labels(name: str) -> dict[str, Any] | None:
    """Finds the scene whose labels are called so.

    Args:
        name: a "sem_seg_file_name".

    Returns:
        Its dataset dict, or None for every other name.
    """
    match = _LABELS.fullmatch(name)
    return scene_dict(match[1], match[2].split("+"), int(match[3])) if match else None


@cache
def _label_table(split: str) -> tuple[int, ...]:
    table = [IGNORE] * 256
    for label, class_id in enumerate(classes_of(split, world("mini"))):
        table[class_id] = label
    return tuple(table)
