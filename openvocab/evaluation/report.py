"""Results as tables: printed, JSON, CSV, Markdown. The same counts give the same bytes."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from openvocab.evaluation.result import Result
from openvocab.files import write_atomically

COLUMNS = (
    "mIoU", "mIoU-seen", "mIoU-unseen", "mIoU-base", "mIoU-novel", "mIoU-stuff", "share-mIoU-base", "share-mIoU-novel",
    "mIoU-predicted-too", "FB-IoU", "pACC",
)  # fmt: skip
"""Scores that a table shows, in order; JSON has all of them."""

TABLE = "results.md"


def score_table(rows: Sequence[tuple[Mapping[str, str], Mapping[str, float]]]) -> str:
    """Formats scores in percent as Markdown, in columns of even width.

    Args:
        rows: what a row is about (the same keys in every row, e.g. "dataset"), and its scores.

    Returns:
        The table, with those of `COLUMNS` that occur. A score that a row lacks, or whose mean has no classes, is blank.
    """
    heads = list(rows[0][0]) if rows else []
    columns = [score for score in COLUMNS if any(score in scores for _, scores in rows)]
    lines = [[*heads, *columns]]
    lines += [[*about.values(), *(_percent(scores.get(name, math.nan)) for name in columns)] for about, scores in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads) + len(columns))]
    rule = ["-" * width if place < len(heads) else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    text = ""
    for line in (lines[0], rule, *lines[1:]):
        cells = [cell.ljust(width) if place < len(heads) else cell.rjust(width)
                 for place, (cell, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        text += f"| {' | '.join(cells)} |\n"
    return text


def results_table(results: Sequence[Result]) -> str:
    """Formats the scores of several datasets, with the number of samples and the denominator of each mean.

    Args:
        results: at least one.

    Returns:
        Markdown.
    """
    return score_table([(_about(result), result.scores) for result in results])


def write_result(result: Result, folder: Path) -> None:
    """Writes `<dataset>_results.json` and `<dataset>_classes.csv`, each whole or not at all.

    Args:
        result: of one dataset.
        folder: exists.

    Raises:
        OSError: they cannot be written; names the file.
    """
    write_atomically(folder / f"{result.dataset}_results.json", _json(result).encode())
    write_atomically(folder / f"{result.dataset}_classes.csv", _csv(result).encode())


def write_summary(results: Sequence[Result], folder: Path) -> None:
    """Writes the table over all datasets with the protocol of each, `results.md`.

    Args:
        results: at least one.
        folder: exists.

    Raises:
        OSError: it cannot be written; names the file.
    """
    text = f"# Results\n\n{results_table(results)}"
    for result in results:
        text += f"\n## {result.dataset}\n\n"
        text += "".join(_bullet(name, value) for name, value in result.statement.items())
    write_atomically(folder / TABLE, text.encode())


def _about(result: Result) -> dict[str, str]:
    used = result.statement["denominator"]
    return {"dataset": result.dataset, "samples": str(result.samples), "classes": f"{used['classes']} of {used['of']}"}


def _json(result: Result) -> str:
    content = {
        "dataset": result.dataset,
        "samples": result.samples,
        **result.statement,
        "scores": {name: _json_number(value) for name, value in result.scores.items()},
        "classes": [row._asdict() | {"iou": _json_number(row.iou)} for row in result.classes],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _csv(result: Result) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("class", "iou", "pixels", "seen"))
    for row in result.classes:
        seen = "" if row.seen is None else str(row.seen).lower()
        writer.writerow((row.name, "" if math.isnan(row.iou) else f"{row.iou:.4f}", row.pixels, seen))
    return file.getvalue()


def _bullet(name: str, value: object, indent: str = "") -> str:
    if isinstance(value, Mapping):
        return f"{indent}- {name}\n" + "".join(_bullet(*item, indent + "  ") for item in value.items())
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    return f"{indent}- {name}: {text}\n"


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
