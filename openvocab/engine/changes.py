"""What a training has changed: the classes that it trains and all others, against the weights that it started from."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openvocab.console import first_of
from openvocab.files import write_atomically

logger = logging.getLogger(__name__)

START, CHANGES = "start", "changes.md"
"""In OUTPUT_DIR: the folder of the results at the start, and the page that compares."""

MOST = 10  # classes that the page names
HEAD = """# After {} iterations, against the start

mIoU in percent over the classes that the ground truth shows. Own: classes that this training names.

| dataset | classes | number | start | now | change |
|---|---|--:|--:|--:|--:|
"""


class Change(NamedTuple):
    """The mean IoU of some classes before and after.

    Attributes:
        classes: how many of them the ground truth shows.
        before: percent.
        after: percent.
    """

    classes: int
    before: float
    after: float

    def __str__(self) -> str:
        """Both and their difference."""
        return f"{self.before:.1f} -> {self.after:.1f} ({self.after - self.before:+.1f}, {self.classes} classes)"


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """Compares two results of the same dataset.

    Args:
        before: content of its `<dataset>_results.json`, at the start.
        after: the same later, with "seen" of each class: whether the training names it.

    Returns:
        "own" and "others", those of them that there are.
    """
    pairs = list(_pairs(before, after))
    groups = {"own": [pair for *pair, own in pairs if own], "others": [pair for *pair, own in pairs if not own]}
    return {
        name: Change(len(rows), *(sum(column) / len(rows) for column in zip(*(row[1:] for row in rows))))
        for name, rows in groups.items()
        if rows
    }


def write_changes(folder: Path, datasets: Sequence[str], iterations: int) -> None:
    """Writes `changes.md` and logs a line per dataset; a warning where the start was not evaluated.

    Args:
        folder: OUTPUT_DIR, with the results of the datasets in it and, at the start, in `start`.
        datasets: evaluated.
        iterations: done.
    """
    text, worst = HEAD.format(iterations), ""
    for name in datasets:
        file = f"{name}_results.json"
        if not (folder / START / file).is_file():
            logger.warning("TEST.START: %s was not evaluated before the first step: no %s", name, CHANGES)
            return
        before, after = (json.loads((place / file).read_text(encoding="utf-8")) for place in (folder / START, folder))
        changes = compare(before, after)
        logger.info("%s: %s", name, "; ".join(f"{group} {change}" for group, change in changes.items()))
        text += "".join(f"| {name} | {group} | {change.classes} | {change.before:.1f} | {change.after:.1f} | "
                        f"{change.after - change.before:+.1f} |\n" for group, change in changes.items())  # fmt: skip
        worst += _lost_most(name, before, after)
    write_atomically(folder / CHANGES, (text + worst).encode())


def _lost_most(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    rows = sorted((now - then, word, then, now) for word, then, now, own in _pairs(before, after) if not own)
    lost = [f"{word} {then:.1f} -> {now:.1f}" for change, word, then, now in rows if change < 0]
    return f"\nOthers that lost most on {name}: {first_of(lost, MOST)}.\n" if lost else ""


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[tuple[str, float, float, bool]]:
    """Word, IoU before and after, and whether it is trained, of the classes that the ground truth shows."""
    for then, now in zip(before["classes"], after["classes"], strict=True):
        if now["pixels"]:
            yield now["name"], then["iou"] or 0.0, now["iou"] or 0.0, bool(now["seen"])
