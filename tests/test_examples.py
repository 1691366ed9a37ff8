"""Every file in examples/ runs as it stands; a row says what it must print, and which files it leaves."""

import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class Row(NamedTuple):
    """One example.

    Attributes:
        name: of the file.
        printed: parts of its output.
        files: that it writes into the folder that it is run in.
        needs: modules without which it is not run.
    """

    name: str
    printed: tuple[str, ...]
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


ROWS = (
    Row("many.py", ("garden.png: ", " covers ", "{")),
    Row("to_supervision.py", ("sky: 0.", "written: annotated.png"), ("annotated.png",), ("supervision",)),
)


def test_every_example_has_a_row():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(row.name for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_runs_as_it_stands(row, tmp_path, monkeypatch, capsys):
    for module in row.needs:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [row.name])
    runpy.run_path(str(EXAMPLES / row.name), run_name="__main__")
    out = capsys.readouterr().out
    assert all(part in out for part in row.printed), out
    assert sorted(os.listdir(tmp_path)) == sorted(row.files)
    assert len((EXAMPLES / row.name).read_text(encoding="utf-8").splitlines()) < 50
