"""Tables of the benchmarks."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openvocab.files import write_atomically


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats rows with the same columns, at least one, as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Formats rows as Markdown; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([row.get(name, "") for name in columns] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_table(path: Path, text: str) -> None:
    """Writes a table, whole or not at all; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
