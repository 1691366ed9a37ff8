"""Figures of a GPU in the documentation are those of the tables."""

import csv
from itertools import product, takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def printed(name, header):
    """The rows of the table of docs/PERFORMANCE.md that begins with `header`, and those of a table of the GPU."""
    below = (ROOT / "docs" / "PERFORMANCE.md").read_text(encoding="utf-8").split(f"\n{header}")[1].splitlines()[2:]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in takewhile(lambda x: x.startswith("|"), below)]
    with open(ROOT / "benchmarks" / "results" / "gpu_h100" / name, encoding="utf-8", newline="") as file:
        return lines, list(csv.DictReader(file))


def test_times_on_a_gpu_are_those_of_the_table():
    lines, table = printed("speed.csv", "| ms | 1 word |")
    methods, words = {"CAT-Seg B": "catseg_b", "LSeg L/16": "lseg_l16"}, ("1", "7", "20", "150", "459", "847")
    ms = {(row["method"], row["way"], row["precision"], row["words"]): float(row["ms"])
          for row in table if row["images"] == "1"}  # fmt: skip
    for title, *cells in lines:
        method, *cell = title.split(", ")
        found = [ms.get((methods[method], *cell, count)) for count in words]
        assert cells == ["" if value is None else f"{value:.{1 if value < 100 else 0}f}" for value in found], title
    assert len(lines) == 12


def test_times_of_kernels_are_those_of_the_table():
    lines, table = printed("kernels.csv", "| ms | forward: eager |")
    ms = {(row["operation"], row["dtype"], row["backward"], row["implementation"]): f"{float(row['milliseconds']):.2f}"
          for row in table if row["classes"] == "150"}  # fmt: skip
    for title, *cells in lines:
        columns = product(("False", "True"), ("eager", "compiled", "triton"))
        assert cells == [ms.get((*title.split(", "), *column), "") for column in columns], title
    assert len(lines) == 8
