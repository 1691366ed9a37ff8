"""Which samples a dataset has: pairs of an image and a label file."""

import os
from pathlib import Path
from typing import Any

from openvocab.data.catalog import DatasetEntry
from openvocab.data.few_shot import LABEL_VALUES, list_episodes
from openvocab.vocab.vocabulary import Vocabulary


def list_samples(entry: DatasetEntry, root: Path) -> list[dict[str, Any]]:
    """Lists the samples of a dataset, in the order of their names, or its episodes.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.

    Returns:
        Dicts with "file_name" and "sem_seg_file_name"; those of a few-shot dataset hold more
        (`openvocab.data.few_shot`).

    Raises:
        FileNotFoundError: a folder is missing, or an image that a label file belongs to; names it.
    """
    image_dir, label_dir = root / entry.image_dir, root / entry.label_dir
    for folder in (image_dir, label_dir):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"dataset {entry.name}: no folder {folder} (datasets lie below DETECTRON2_DATASETS, now {root})"
            )
    if entry.few_shot:
        return list_episodes(entry, root)
    images = set(os.listdir(image_dir))
    samples = []
    for stem in label_stems(entry, label_dir):
        image, label = stem + entry.image_suffix, stem + entry.label_suffix
        if image not in images:
            raise FileNotFoundError(f"dataset {entry.name}: {label_dir / label} has no image {image_dir / image}")
        samples.append({"file_name": str(image_dir / image), "sem_seg_file_name": str(label_dir / label)})
    return samples


def label_values(entry: DatasetEntry) -> int:
    """Returns how many values the label files of a dataset may hold, without the ignore label.

    Args:
        entry: a row of the table.

    Returns:
        Labels are 0 to this minus one.
    """
    return LABEL_VALUES[entry.few_shot.split] if entry.few_shot else len(Vocabulary.builtin(entry.vocabulary).names)


def label_stems(entry: DatasetEntry, label_dir: Path) -> list[str]:
    """Lists the label files of a folder in the order of their names.

    Args:
        entry: for the suffix.
        label_dir: an existing folder, without subfolders.

    Returns:
        Names without suffix.
    """
    suffix = entry.label_suffix
    return [name.removesuffix(suffix) for name in sorted(os.listdir(label_dir)) if name.endswith(suffix)]
