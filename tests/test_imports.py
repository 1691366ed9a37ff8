"""What imports bring along, asked in fresh interpreters: this one has loaded everything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str) -> str:
    """Runs code in a fresh interpreter and returns what it prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize("module", ["openvocab.data.preparation.plans", "openvocab.data.emojiscapes"])
def test_preparing_and_drawing_load_no_torch(module):
    """Its import takes longer than a small preparation does."""
    assert run_python(f"import {module}, sys; print({{'torch', 'detectron2'}} & sys.modules.keys())") == "set()"


@pytest.mark.parametrize(
    "statement", ["import openvocab", "from openvocab import Vocabulary", "from openvocab import preflight, assets"]
)
def test_import_is_light(statement):
    heavy = ("torch", "triton", "open_clip", "detectron2", "numpy")
    assert run_python(f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


@pytest.fixture(scope="module")
def loaded() -> dict[str, str]:
    """What one interpreter says that loads more and more: the kernels, a method, what `openvocab` gives by name.

    One, because it takes seconds until torch and Detectron2 are there. What must be absent is asked before the parts
    that may bring it along.
    """
    code = """
import sys
import torch
before = {name for name in sys.modules if name.partition(".")[0] == "triton"}
from openvocab.kernels import class_attention, group_norm_relu, label_map, window_attention
print("kernels bring:", {name for name in sys.modules if name.partition(".")[0] == "triton"} - before)
print("Detectron2 is there:", "detectron2" in sys.modules)

from detectron2.data import DatasetCatalog
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
before = set(DatasetCatalog.list())
import catseg
print("registered:", "CATSeg" in META_ARCH_REGISTRY,
      any("catseg" in name.lower() for name, _ in SEM_SEG_HEADS_REGISTRY))
print("data:", set(DatasetCatalog.list()) == before, any(m.startswith("openvocab.data") for m in sys.modules))

import openvocab
print("lazy:", "openvocab.inference.segmenter" in sys.modules)
print("names:", [getattr(openvocab, name).__name__ for name in ("Segmenter", "Vocabulary")])
print("other names:", hasattr(openvocab, "nothing"), "Segmenter" in dir(openvocab))
"""
    return dict(line.split(": ", 1) for line in run_python(code).splitlines())


def test_import_of_kernels_loads_no_triton(loaded):
    assert (loaded["Detectron2 is there"], loaded["kernels bring"]) == ("False", "set()")


def test_import_catseg_registers_its_names_and_no_dataset(loaded):
    assert (loaded["registered"], loaded["data"]) == ("True True", "True False")


def test_openvocab_resolves_its_names(loaded):
    assert (loaded["lazy"], loaded["names"]) == ("False", "['Segmenter', 'Vocabulary']")
    assert loaded["other names"] == "False True"
