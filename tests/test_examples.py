"""Every file in examples/ runs as it stands; a row says what it must print, and which files it leaves."""

import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from openvocab.cli import program

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class Row(NamedTuple):
    """One example.

    Attributes:
        name: of the file.
        printed: parts of its output.
        files: that it writes into the folder that it is run in.
        needs: modules without which it is not run.
        before: commands of `openvocab` that its first lines ask for.
        arguments: that it is called with.
    """

    name: str
    printed: tuple[str, ...]
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    arguments: tuple[str, ...] = ()


LSEG = "emojiscapes_lseg"
GARDEN = str(EXAMPLES.parent / "demo" / "images" / "garden.png")
WORDS = "dog, house, tree, grass, sky"
ROWS = (
    Row("detectron2_predictor.py", ("detectron2.png: dog, house, tree, grass, sky",), ("detectron2.png",)),
    Row("look_once.py", ("looked ", "grass ", "most of all a dog at row ")),
    Row("numpy_and_pillow.py", ("masks/garden_dog.png: ",), ("masks",),
        before=(("segment", "--input", GARDEN, "--vocabulary", WORDS, "--model", LSEG, "--output", "masks"),),
        arguments=(GARDEN, "masks/garden", "dog")),
    Row("many.py", ("garden.png: ", " covers ", "{")),
    Row("to_supervision.py", ("sky: 0.", "written: annotated.png"), ("annotated.png",), ("supervision",)),
)  # fmt: skip


def test_every_example_has_a_row():
    # In tests/export, where there is an exported model, and in tests/cluster, as starting Ray takes long.
    elsewhere = ["on_ray.py", "onnx_runtime.py"]
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted([*elsewhere, *(row.name for row in ROWS)])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_it_runs_as_it_stands(row, tmp_path, monkeypatch, capsys):
    for module in row.needs:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    for command in row.before:
        assert program.main(command) == 0
    monkeypatch.setattr(sys, "argv", [row.name, *row.arguments])
    runpy.run_path(str(EXAMPLES / row.name), run_name="__main__")
    out = capsys.readouterr().out
    assert all(part in out for part in row.printed), out
    assert sorted(os.listdir(tmp_path)) == sorted(row.files)
    assert len((EXAMPLES / row.name).read_text(encoding="utf-8").splitlines()) < 50
