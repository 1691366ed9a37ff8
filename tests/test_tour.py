"""The notebook `demo/tour.ipynb`: it runs from top to bottom, and reads well unopened."""

import ast
import json
import os
import shutil
from pathlib import Path

import pytest
from doc_blocks import ROOT, check_keys

TOUR = ROOT / "demo" / "tour.ipynb"


def code_cells() -> list[dict]:
    return [cell for cell in json.loads(TOUR.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def kinds(cells) -> list[list[str]]:
    """What each cell shows: "image/png", "stdout"; not what it warns of."""
    shown = []
    for cell in cells:
        found = ["image/png" if "image/png" in output.get("data", {}) else output.get("name", output["output_type"])
                 for output in cell["outputs"]]  # fmt: skip
        shown.append([kind for kind in found if kind != "stderr"])
    return shown


def test_the_outputs_that_it_keeps():
    text = TOUR.read_text(encoding="utf-8")
    assert len(text) < 400_000 and "/tmp/" not in text and str(Path.home()) not in text
    assert sum(kind.count("image/png") for kind in kinds(code_cells())) >= 4
    assert {kind for kept in kinds(code_cells()) for kind in kept} <= {"image/png", "stdout"}
    for cell in code_cells():
        ast.parse("".join(cell["source"]))
        check_keys("".join(cell["source"]), TOUR.name)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason='pip install "openvocab-seg[docs]"')
    import nbformat

    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own draws into the notebook
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(TOUR, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3",
                            resources={"metadata": {"path": str(tmp_path / "demo")}}).execute()  # fmt: skip
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert kinds(cells) == kinds(code_cells()), "the outputs that are kept are those of a run"
