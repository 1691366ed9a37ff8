"""Whether training data are those that a checkpoint was trained on: names and sizes of their files."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from openvocab.data.label_counts import evenly_spread

logger = logging.getLogger(__name__)

KEY = "data"
"""Entry of a checkpoint."""

SIZES = 1024
"""Samples whose files are asked for their size: of a hundred thousand on a network's disk it would take minutes."""

_FILES = ("file_name", "sem_seg_file_name")


def fingerprint(dicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Says what a list of samples is.

    Folders do not count, so that data may move; neither does the time of a change.

    Args:
        dicts: the dataset; drawn scenes have names and no files.

    Returns:
        Plain values: "samples", how many; "names", a hash of all names in order; "sizes", a hash of the sizes of at
        most `SIZES` samples' files, evenly spread.
    """
    names, sizes = hashlib.sha256(), hashlib.sha256()
    for item in dicts:
        names.update(repr([os.path.basename(item[key]) for key in _FILES if key in item]).encode())
    for item in evenly_spread(dicts, SIZES):
        files = [item[key] for key in _FILES if key in item and os.path.isfile(item[key])]
        sizes.update(repr([os.path.getsize(file) for file in files]).encode())
    return {"samples": len(dicts), "names": names.hexdigest(), "sizes": sizes.hexdigest()}


def require_same_data(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> None:
    """Refuses data that have changed since the checkpoint that a training goes on with.

    A warning would not do: samples are drawn by their place in the list, so that a picture more or less gives another
    order of all, some twice and some never in an epoch, and a resumed run would no longer end where an unbroken one
    does, which is what --resume stands for. Who has mended the data starts anew from the checkpoint's weights.

    Args:
        old: of the checkpoint; None (an earlier version's) is taken with a warning.
        new: see `fingerprint`.

    Raises:
        ValueError: they differ; says in what.
    """
    if old is None:
        logger.warning("the checkpoint does not say which files it was trained on: whether they have changed was not "
                       "checked")  # fmt: skip
        return
    differences = [text for key, text in (
        ("samples", f"{old['samples']} samples were in the list, now {new['samples']} are"),
        ("names", "names of files or their order are others"), ("sizes", "sizes of files are others"),
    ) if old[key] != new[key]]  # fmt: skip
    if differences:
        raise ValueError(f"--resume: training data have changed since the checkpoint: {differences[0]}; expected the "
                         "same files, or another OUTPUT_DIR with the checkpoint as MODEL.WEIGHTS")  # fmt: skip
