"""The check of a dataset of one's own: every mask is read, for nothing else vouches for it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openvocab.data.checking.report import Report
from openvocab.data.folders import FolderDataset, list_pairs
from openvocab.data.preparation.labels import check_image
from openvocab.data.reading import check_labels, read_indices
from openvocab.vocab.vocabulary import Vocabulary

MAX_ERRORS = 20


def check_folder(folder: FolderDataset) -> Report:
    """Checks pairs, and of each mask that it is whole, holds indices of words, and has its image's size.

    Args:
        folder: the dataset.

    Returns:
        The report; a note says which words never occur.
    """
    report = Report(folder.name)
    try:
        names = Vocabulary.from_file(folder.words, numbered=True).names
        pairs = list_pairs(folder)
    except (ValueError, OSError) as error:
        report.errors.append(str(error))
        return report
    counts = np.zeros(len(names), dtype=np.int64)
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        for found in pool.map(partial(check_pair, len(names), folder.ignore_label), pairs):
            if isinstance(found, str):
                report.errors.append(found)
            else:
                counts += found
    hidden = len(report.errors) - MAX_ERRORS
    if hidden > 0:
        report.errors[MAX_ERRORS:] = [f"and {hidden} more"]
    report.notes.append(f"{len(pairs)} images, {np.count_nonzero(counts)} of {len(names)} words occur")
    if report.ok and not counts.any():
        report.errors.append(f"{folder.labels}: every pixel has the label {folder.ignore_label} (ignored)")
    return report


def check_pair(num_classes: int, ignore_label: int, pair: Mapping[str, Any]) -> np.ndarray | str:
    """Checks one image and its mask.

    Args:
        num_classes: labels are 0 to this minus one.
        ignore_label: or this.
        pair: dataset dict.

    Returns:
        (num_classes,) int64 pixels of each label, or what is wrong.
    """
    path = pair["sem_seg_file_name"]
    try:
        labels = read_indices(path)
        check_labels(labels, num_classes, ignore_label, path)
        check_image(labels, path, Path(pair["file_name"]))
    except (ValueError, OSError) as error:
        return str(error)
    return np.bincount(labels[labels != ignore_label], minlength=num_classes)
