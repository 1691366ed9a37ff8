"""Prepares one label folder: many files over several processes, to be killed and started again at any time."""

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from openvocab.data.catalog import DatasetEntry
from openvocab.data.preparation.labels import write_labels
from openvocab.data.preparation.pool import in_parallel
from openvocab.data.preparation.stamp import (
    FileSummary,
    Stamp,
    finished_stamp,
    read_stamp,
    summarize_labels,
    write_stamp,
)
from openvocab.data.reading import read_indices
from openvocab.files import replace_atomically

logger = logging.getLogger(__name__)

MAX_FAILURES = 20
"""Bad files that are named before the preparation gives up."""

HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE)
"""Errors of the system that the next file would meet as well: full disk, no rights."""

JPEG_QUALITY = 75


class Item(NamedTuple):
    """One file to prepare.

    Attributes:
        stem: name of the label file without suffix, below the label folder.
        source: what the reader of the dataset takes: a path, or annotations.
        image: the raw image.
    """

    stem: str
    source: Any
    image: Path


class Prepared(NamedTuple):
    """What becomes of an item.

    Attributes:
        labels: (h, w) uint8 or uint16.
        image: to be written beside, or None where the raw image is used.
    """

    labels: np.ndarray
    image: Image.Image | None = None


@dataclass(frozen=True)
class Plan:
    """All that the preparation of one label folder needs; what workers are sent is picklable.

    Attributes:
        entry: of the table.
        root: folder of the datasets.
        items: the files, in the order of their stems.
        read: turns an item into labels; a function of a module, or a partial of one.
        source: what is prepared, in a few words, for the stamp.
        values: number of label values without the ignore label.
        writes_images: whether `read` returns images, which then go into the entry's image folder.
        finish: called with (label folder, summaries) before the stamp says "finished".
    """

    entry: DatasetEntry
    root: Path
    items: tuple[Item, ...]
    read: Callable[[Item], Prepared]
    source: str
    values: int
    writes_images: bool = False
    finish: Callable[[Path, Sequence[FileSummary]], None] | None = None

    @property
    def label_dir(self) -> Path:
        """Where the label files go."""
        return self.root / self.entry.label_dir


class Planner(Protocol):
    """Looks at the raw files of a dataset and plans its preparation."""

    def __call__(self, entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
        """Plans one label folder.

        Args:
            entry: of the table.
            root: folder of the datasets.
            part: whether less than all files are meant.

        Returns:
            The plan.

        Raises:
            FileNotFoundError: raw files are missing.
            ImportError: a package is missing.
            ValueError: raw files are wrong.
        """
        ...


class Failure(NamedTuple):
    """A file that could not be prepared; `hopeless` if no other could."""

    message: str
    hopeless: bool


def prepare(plan: Plan, *, processes: int = 1, again: bool = False, progress: bool = True) -> Stamp:
    """Carries out a plan. What an earlier run of the same version left is kept, unless `again`.

    Args:
        plan: of one label folder.
        processes: how many; 1 works in this process.
        again: also replaces what is finished.
        progress: whether to show a bar.

    Returns:
        The stamp of the finished folder.

    Raises:
        ValueError: bad files; names up to `MAX_FAILURES` of them. The good ones are kept.
        OSError: full disk, no rights.
        RuntimeError: a worker process died.
    """
    label_dir, entry = plan.label_dir, plan.entry
    complete = entry.label_files is None or len(plan.items) == entry.label_files
    begun = Stamp(entry.label_dir, entry.version, plan.source, complete=complete)
    old = read_stamp(label_dir)
    keep = old is not None and not again and _same_work(old, begun)
    if keep and old.finished and old.files == len(plan.items) and all(_is_there(plan, item) for item in plan.items):
        logger.info("%s is finished already (%d files)", label_dir, old.files)
        return old
    for folder in {plan.root / entry.image_dir, *(_path(plan, item).parent for item in plan.items)}:
        folder.mkdir(parents=True, exist_ok=True)
    _refuse_strays(plan)
    write_stamp(label_dir, begun)
    for folder in (label_dir, *([plan.root / entry.image_dir] if plan.writes_images else [])):
        for leftover in folder.rglob("*.partial"):  # of a run that was killed
            leftover.unlink()
    summaries = _run(plan, keep, processes, progress)
    if plan.finish:
        plan.finish(label_dir, summaries)
    stamp = finished_stamp(begun, summaries)
    write_stamp(label_dir, stamp)
    logger.info("%s is finished: %d files, digest %s", label_dir, stamp.files, stamp.digest[:12])
    return stamp


def prepare_item(plan: Plan, keep: bool, item: Item) -> FileSummary | Failure:
    """Prepares one file.

    Args:
        plan: without its items.
        keep: whether a label file that is there is taken as it is.
        item: the file.

    Returns:
        What was counted, or what went wrong.
    """
    path = _path(plan, item)
    try:
        labels = _existing(path) if keep and _is_there(plan, item) else None
        if labels is None:
            labels, image = plan.read(item)
            if image is not None:
                replace_atomically(_image_path(plan, item), partial(image.save, format="JPEG", quality=JPEG_QUALITY))
            write_labels(path, labels)
        return summarize_labels(item.stem, labels, plan.values, plan.entry.ignore_label)
    except (ValueError, OSError) as error:
        return Failure(str(error), isinstance(error, OSError) and error.errno in HOPELESS)


def _run(plan: Plan, keep: bool, processes: int, progress: bool) -> list[FileSummary]:
    work = partial(prepare_item, replace(plan, items=(), finish=None), keep)
    results = in_parallel(work, plan.items, processes)
    summaries, failures = [], []
    for result in tqdm(results, plan.entry.label_dir, len(plan.items), unit="file", disable=None if progress else True):
        if isinstance(result, FileSummary):
            summaries.append(result)
            continue
        if result.hopeless:
            raise OSError(f"{plan.label_dir}: stopped after {len(summaries)} files: {result.message}")
        failures.append(result.message)
        if len(failures) == MAX_FAILURES:
            break
    if failures:
        named = "\n  ".join(failures)
        more = " (stopped there)" if len(failures) == MAX_FAILURES else ""
        raise ValueError(f"{plan.label_dir}: {len(failures)} files could not be prepared{more}:\n  {named}")
    return summaries


def _same_work(old: Stamp, new: Stamp) -> bool:
    return (old.dataset, old.version, old.source) == (new.dataset, new.version, new.source)


def _path(plan: Plan, item: Item) -> Path:
    return plan.label_dir / (item.stem + plan.entry.label_suffix)


def _image_path(plan: Plan, item: Item) -> Path:
    return plan.root / plan.entry.image_dir / (item.stem + plan.entry.image_suffix)


def _is_there(plan: Plan, item: Item) -> bool:
    return _path(plan, item).is_file() and (not plan.writes_images or _image_path(plan, item).is_file())


def _existing(path: Path) -> np.ndarray | None:
    try:
        return read_indices(path)
    except ValueError as error:
        logger.warning("made again: %s", error)
        return None


def _refuse_strays(plan: Plan) -> None:
    suffix = plan.entry.label_suffix
    stems = {item.stem for item in plan.items}
    strays = [
        path for path in sorted(plan.label_dir.rglob("*" + suffix))
        if path.relative_to(plan.label_dir).as_posix().removesuffix(suffix) not in stems
    ]  # fmt: skip
    if strays:
        raise ValueError(
            f"{plan.label_dir}: got {len(strays)} label files that belong to no raw file, such as {strays[0].name}; "
            "move them away"
        )
