"""Which labels a training is fed: counted in a sample of the files before it starts, and in the batches it takes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openvocab.console import first_of
from openvocab.data.checking.patterns import begins_with_one
from openvocab.data.reading import check_labels, label_name, read_labels, unreadable

logger = logging.getLogger(__name__)

LABEL_CHECKS = 32
"""Label files that are read before training starts."""

_SHOWN = 40  # classes of a table, the most frequent ones
_COLUMNS, _NAME = 3, 26  # classes of a line, letters of a name


class LabelCounts:
    """Pixels of each class, of any number of label maps.

    Attributes:
        pixels: (T,) int64, of each class.
        ignored: pixels without a class.
        samples: label maps that were counted.
        shown_in: (T,) int64, label maps that hold a class.
    """

    def __init__(self, classes: int) -> None:
        """Begins with nothing.

        Args:
            classes: T.
        """
        self.pixels, self.shown_in = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self.ignored = self.samples = 0

    def add(self, labels: np.ndarray, ignore_label: int) -> None:
        """Counts a label map.

        Args:
            labels: (h, w) integers, 0..T - 1 or the ignore label.
            ignore_label: of pixels that do not count.
        """
        known = labels[labels != ignore_label]
        found = np.bincount(known, minlength=len(self.pixels))
        self.pixels += found
        self.shown_in += found > 0
        self.ignored += labels.size - known.size
        self.samples += 1

    @property
    def ignored_share(self) -> float:
        """Of all pixels, 0..1."""
        return self.ignored / max(1, self.ignored + int(self.pixels.sum()))

    @property
    def shares(self) -> np.ndarray:
        """(T,), of the pixels that have a class; they add up to 1 where there are any."""
        return self.pixels / max(1, int(self.pixels.sum()))

    def table(self, names: Sequence[str]) -> str:
        """Writes the shares down, the most frequent class first.

        Args:
            names: T words.

        Returns:
            Lines: ignored pixels, the classes in columns, and those that never occur, counted and the first named.
        """
        order = [label for label in np.argsort(-self.pixels, kind="stable").tolist() if self.pixels[label]]
        cells = [f"{100 * self.shares[label]:6.2f} %  {_short(names[label])}" for label in order[:_SHOWN]]
        if order[_SHOWN:]:
            rest = self.shares[order[_SHOWN:]].sum()
            cells.append(f"{100 * rest:6.2f} %  {len(order) - _SHOWN} other classes")
        width = _NAME + 11
        lines = ["".join(f"{cell:<{width}}" for cell in cells[start : start + _COLUMNS]).rstrip()
                 for start in range(0, len(cells), _COLUMNS)]  # fmt: skip
        missing = [_short(names[label]) for label in np.flatnonzero(self.pixels == 0)]
        head = f"labels of {self.samples} samples: {100 * self.ignored_share:.1f} % of the pixels ignored; of the rest"
        never = f"{len(missing)} of {len(names)} classes never occur in them"
        return "\n".join([head, *lines, f"{never}: {first_of(missing)}" if missing else "every class occurs"])


def count_first_labels(
    dicts: Sequence[dict[str, Any]], metadata: Any, *, skip_unreadable: bool = False, count: int = LABEL_CHECKS
) -> LabelCounts:
    """Reads some labels, evenly spread over the dataset, before hours are spent on training.

    Args:
        dicts: the dataset.
        metadata: with stuff_classes and ignore_label.
        skip_unreadable: whether a sample that cannot be read is left out, as training will.
        count: how many to read.

    Returns:
        Their counts.

    Raises:
        ValueError: a label is neither a class nor ignored, a file cannot be read (names it), or no pixel of the sample
            has a class.
    """
    names, ignore_label = metadata.stuff_classes, metadata.ignore_label
    counts, sample = LabelCounts(len(names)), evenly_spread(dicts, count)
    for item in sample:
        if skip_unreadable and unreadable(item):
            continue
        labels = read_labels(item)
        _check(labels, item, names, ignore_label)
        counts.add(labels, ignore_label)
    logger.info("checked the labels of %d of %d samples", counts.samples, len(dicts))
    if not counts.pixels.any():
        raise ValueError(f"labels: got {counts.samples} of {len(dicts)} samples in which every pixel has the label "
                         f"{ignore_label} (ignored), such as {label_name(sample[0])}; expected classes, 0 to "
                         f"{len(names) - 1}")  # fmt: skip
    return counts


def evenly_spread(items: Sequence[Any], count: int) -> list[Any]:
    """Takes some of many, evenly spread, always the same ones.

    Args:
        items: all.
        count: how many are wanted.
    """
    return list(items[:: max(1, len(items) // count)][:count])


def _check(labels: np.ndarray, item: Mapping[str, Any], names: Sequence[str], ignore_label: int) -> None:
    """As `check_labels`, which sees a wrong number; a list of words that is one too short has a likely cause."""
    try:
        check_labels(labels, len(names), ignore_label, label_name(item))
    except ValueError as error:
        values = set(np.unique(labels).tolist()) - {ignore_label}
        if begins_with_one(values, len(names)):
            raise ValueError(f"{error}; labels seem to begin with 1, but the first word, {names[0]!r}, is class 0: "
                             "subtract 1, or let the first word be what 0 stands for") from None  # fmt: skip
        raise


def _short(name: str) -> str:
    """One long name (ADE20K's have lines of synonyms) would leave room for a single column."""
    return name if len(name) <= _NAME else name[: _NAME - 3] + "..."
