"""The check of a dataset of one's own: every image and every mask is read, for nothing else vouches for them."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from tqdm import tqdm

from openvocab.data.checking.patterns import suspicions
from openvocab.data.checking.report import Report
from openvocab.data.folders import FolderDataset, list_pairs
from openvocab.data.reading import check_labels, read_pair
from openvocab.vocab.vocabulary import Vocabulary

MAX_ERRORS = 20
VALUES = 1 << 16


def check_folder(folder: FolderDataset, *, skip_unreadable: bool = False) -> Report:
    """Checks pairs, and of each that image and mask are whole, of one size, and that the mask holds indices of words.

    Args:
        folder: the dataset.
        skip_unreadable: whether pairs that cannot be read are a warning, unless all are.

    Returns:
        The report; warnings name words that no mask shows, and what else looks wrong.
    """
    report = Report(folder.name)
    try:
        names = Vocabulary.from_file(folder.words, numbered=True).names
        pairs = list_pairs(folder)
    except (ValueError, OSError) as error:
        report.errors.append(str(error))
        return report
    counts, unreadable = np.zeros(VALUES, dtype=np.int64), []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding releases Python's lock
        checked = pool.map(partial(_check_pair, len(names), folder.ignore_label), pairs)
        for found, wrong, damage in tqdm(checked, folder.name, len(pairs), unit="pair", delay=5, leave=False):
            values, pixels = found
            counts[values] += pixels
            report.errors += [wrong] if wrong else []
            unreadable += [damage] if damage else []
    if skip_unreadable and len(unreadable) < len(pairs):
        report.warnings += _first(unreadable)
    else:
        report.errors += unreadable
    report.errors = _first(report.errors)
    occurring = [label for label in range(len(names)) if counts[label] and label != folder.ignore_label]
    report.notes.append(f"{len(pairs)} images, {len(occurring)} of {len(names)} words occur")
    report.warnings += suspicions(counts, names, folder.ignore_label)
    if report.ok and not occurring:
        report.errors.append(f"{folder.labels}: every pixel has the label {folder.ignore_label} (ignored)")
    return report


def _first(texts: list[str]) -> list[str]:
    hidden = len(texts) - MAX_ERRORS
    return texts if hidden <= 0 else [*texts[:MAX_ERRORS], f"and {hidden} more"]


def _check_pair(
    num_classes: int, ignore_label: int, pair: Mapping[str, Any]
) -> tuple[tuple[np.ndarray, np.ndarray], str, str]:
    """Reads a pair as training does.

    Returns:
        The values in the mask and the pixels of each, none where it could not be read; what is wrong with them, or "";
        and why it could not be read, or "".
    """
    found, path = (np.empty(0, np.int64), np.empty(0, np.int64)), pair["sem_seg_file_name"]
    try:
        labels = read_pair(pair)[1]
    except (ValueError, OSError) as error:
        return found, "", str(error)
    found = np.unique(labels[(labels >= 0) & (labels < VALUES)], return_counts=True)
    try:
        check_labels(labels, num_classes, ignore_label, path)
    except ValueError as error:
        return found, str(error), ""
    return found, "", ""
