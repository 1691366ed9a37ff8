"""The stamp of a prepared dataset: `preparation.json` in its label folder.

It is there from the first moment, "not finished", and says "finished" only after the last label file is in place.
What it holds of the pixels depends on the data alone, so that two machines can compare their preparations by one line.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from openvocab.files import write_atomically

STAMP = "preparation.json"


@dataclass(frozen=True)
class Stamp:
    """What a preparation says of itself.

    Attributes:
        dataset: the label folder below the root.
        version: of the preparation.
        source: what was prepared, e.g. "annotations/validation".
        finished: whether every file is in place; the rest is empty before.
        complete: whether this is the whole dataset and not a part of it that somebody asked for.
        files: label files.
        digest: of all labels (not of the encoded files), see `combined_digest`.
        ignored_pixels: pixels with the ignore label.
        pixels: pixels per label value.
    """

    dataset: str
    version: int
    source: str
    finished: bool = False
    complete: bool = True
    files: int = 0
    digest: str = ""
    ignored_pixels: int = 0
    pixels: tuple[int, ...] = ()


@dataclass(frozen=True)
class FileSummary:
    """What is counted of one label file.

    Attributes:
        stem: its name without suffix, below the label folder.
        digest: of its size and labels.
        pixels: (values,) int64 per label value.
        ignored: pixels with the ignore label.
    """

    stem: str
    digest: str
    pixels: np.ndarray
    ignored: int


def summarize_labels(stem: str, labels: np.ndarray, values: int, ignore_label: int) -> FileSummary:
    """Counts one label file.

    Args:
        stem: its name without suffix.
        labels: (h, w) integers, each below `values` or the ignore label.
        values: number of label values.
        ignore_label: counted apart.

    Returns:
        The summary.

    Raises:
        ValueError: another value occurs; names the file and the values.
    """
    counts = np.bincount(labels.reshape(-1), minlength=max(values, ignore_label) + 1)
    ignored, counts = int(counts[ignore_label]), counts.copy()
    counts[ignore_label] = 0
    if counts[values:].any():
        wrong = (values + np.flatnonzero(counts[values:])).tolist()
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        raise ValueError(f"{stem}: got labels {shown}, expected 0 to {values - 1} or {ignore_label} (ignored)")
    content = f"{labels.shape[0]} {labels.shape[1]}\n".encode() + labels.astype("<u2").tobytes()
    return FileSummary(stem, hashlib.sha256(content).hexdigest(), counts[:values].astype(np.int64), ignored)


def combined_digest(summaries: Iterable[FileSummary]) -> str:
    """Hashes a whole dataset: SHA-256 of the lines "stem digest", in the order of the stems."""
    lines = sorted(f"{summary.stem} {summary.digest}\n" for summary in summaries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def finished_stamp(begun: Stamp, summaries: list[FileSummary]) -> Stamp:
    """Adds the counts to a stamp.

    Args:
        begun: as written at the beginning.
        summaries: of all label files, at least one.

    Returns:
        The finished stamp.
    """
    pixels = np.sum([summary.pixels for summary in summaries], axis=0)
    return Stamp(
        dataset=begun.dataset,
        version=begun.version,
        source=begun.source,
        finished=True,
        complete=begun.complete,
        files=len(summaries),
        digest=combined_digest(summaries),
        ignored_pixels=sum(summary.ignored for summary in summaries),
        pixels=tuple(pixels.tolist()),
    )


def read_stamp(label_dir: Path) -> Stamp | None:
    """Reads the stamp of a label folder.

    Args:
        label_dir: need not exist.

    Returns:
        The stamp, or None if there is none.

    Raises:
        ValueError: the file is not a stamp; names it.
    """
    path = label_dir / STAMP
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Stamp(**{**content, "pixels": tuple(content["pixels"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: got no stamp of a preparation ({error}), delete it and prepare again") from error


def write_stamp(label_dir: Path, stamp: Stamp) -> None:
    """Writes the stamp of a label folder, replacing the old one at once.

    Args:
        label_dir: an existing folder.
        stamp: what to write.
    """
    write_atomically(label_dir / STAMP, (json.dumps(asdict(stamp)) + "\n").encode())
