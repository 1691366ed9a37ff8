"""A wheel built from the checkout holds all it needs and works somewhere else."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from openvocab import __version__, assets, preflight
from openvocab.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("openvocab", *METHODS.values())
PARTS = (*PACKAGES, "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds the wheel from a copy of the sources, so that no build folder is left in the checkout."""
    copy = tmp_path_factory.mktemp("sources")
    tar = ["tar", "-c", "--exclude=__pycache__", "-C", str(ROOT), *(part for part in PARTS if (ROOT / part).exists())]
    packed = subprocess.run(tar, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(copy)], input=packed, check=True)
    target = tmp_path_factory.mktemp("wheel")
    # What every installer calls; pip itself is not in every environment.
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(target)], cwd=copy, check=True, capture_output=True, text=True)
    (path,) = target.iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def sources(*folders: str) -> set[str]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_every_file_of_the_packages_is_in_the_wheel(unpacked):
    packed = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    installed_configs = {f"openvocab/{name}" for name in sources("configs")}
    expected = sources(*PACKAGES) | installed_configs
    assert installed_configs
    assert expected - packed == set()
    extra = {name for name in packed - expected if ".dist-info/" not in name}
    assert extra == set()


def test_metadata(unpacked):
    (path,) = unpacked.glob("*.dist-info/METADATA")
    metadata = Parser().parsestr(path.read_text(encoding="utf-8"))
    assert (metadata["Name"], metadata["Version"]) == ("openvocab-seg", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    wanted = {line.replace(" ", "") for line in metadata.get_all("Requires-Dist") if "extra" not in line}
    names = {requirement.distribution for requirement in preflight.REQUIREMENTS}
    assert len(wanted) == len(names)
    assert "torch>=2.6" in wanted
    assert not [line for line in wanted if "detectron2" in line]  # PyPI does not have it under its own name
    assert {"demo", "test"} <= set(metadata.get_all("Provides-Extra"))
    assert list(path.parent.rglob("LICENSE"))


def test_the_wheel_has_the_program(unpacked):
    (path,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "openvocab = openvocab.cli.program:process" in path.read_text()


def run_elsewhere(unpacked: Path, folder: Path, code: str) -> list[str]:
    """Runs code outside the checkout, with the unpacked wheel in front of everything installed."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(unpacked),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.fixture(scope="module")
def outside(unpacked, tmp_path_factory) -> dict[str, str]:
    """What a program finds that runs outside the checkout: paths, configs, and what the shipped model answers.

    Composing a config walks every path that a wheel can lack: base files, CLIP's own architectures, vocabularies.
    """
    code = """
import numpy as np
import openvocab
from openvocab import Segmenter, assets, preflight
preflight.check()
print("file", openvocab.__file__)
print("names", *assets.config_names())
print("paths", *[assets.config_path(name) for name in assets.config_names()])
from openvocab.engine.setup import build_cfg
print("architectures", *[build_cfg(name).MODEL.META_ARCHITECTURE for name in assets.config_names()])
image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")
result = segmenter(image, ["cat", "dog"])
print("weights", segmenter.weights)
from openvocab.cli import program
print("doctor", program.main(["doctor"]))
print("answer", result.names, result.labels.shape, sorted(set(result.labels.flat) - {0, 1}))
"""
    lines = run_elsewhere(unpacked, tmp_path_factory.mktemp("elsewhere"), code)
    return {name: rest for name, _, rest in (line.partition(" ") for line in lines)}


def test_the_wheel_works_outside_a_checkout(unpacked, outside):
    assert Path(outside["file"]).is_relative_to(unpacked)
    assert outside["names"].split() == assets.config_names() != []
    assert all(Path(path).is_relative_to(unpacked / "openvocab" / "configs") for path in outside["paths"].split())


def test_the_wheel_builds_models_outside_a_checkout(outside):
    architectures = outside["architectures"].split()
    assert len(architectures) == len(assets.config_names())
    assert set(architectures) <= {"CATSeg", "LSeg"}


def test_the_wheel_segments_outside_a_checkout(unpacked, outside):
    """With the small model that ships inside it; what the masks look like is tested elsewhere."""
    assert Path(outside["weights"]).is_relative_to(unpacked / "openvocab" / "weights")
    assert outside["answer"] == "['cat', 'dog'] (48, 64) []"


def test_the_doctor_finds_nothing_wrong_outside_a_checkout(outside):
    assert (outside["doctor"], outside["nothing"]) == ("0", "is wrong")
