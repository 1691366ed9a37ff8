"""Each broken installation is named in one line with the command that mends it (with faked metadata)."""

import importlib
import importlib.util
import logging

import pytest

from openvocab import preflight

GOOD = {
    "torch": "2.15.0", "torchvision": "0.29.2", "open_clip_torch": "3.3.0", "timm": "1.0.31",
    "fvcore": "0.1.5.post20221221", "numpy": "2.4.6", "pillow": "12.3.0", "opencv-python": "5.0.0.93", "tqdm": "4.70.1",
    "huggingface_hub": "2.4.0",
    "pycocotools": "2.0.11", "iopath": "0.1.10", "yacs": "0.1.8", "omegaconf": "2.3.1", "hydra-core": "1.3.8",
    "cloudpickle": "3.1.2", "matplotlib": "3.11.2", "packaging": "26.3", "tabulate": "0.10.0", "tensorboard": "2.21.0",
    "termcolor": "3.3.0",
}  # fmt: skip


class Installation:
    """A faked set of installed packages."""

    def __init__(self):
        self.versions = dict(GOOD)
        self.modules = {requirement.module for requirement in preflight.REQUIREMENTS} | {"detectron2"}
        self.torchvision_wants = "torch (>=2.14.0)"


@pytest.fixture
def installation(monkeypatch, tmp_path):
    fake = Installation()
    monkeypatch.setattr(preflight, "version_of", fake.versions.get)
    monkeypatch.setattr(preflight.metadata, "requires", lambda _: ["numpy", "torchaudio==1.0", fake.torchvision_wants])
    monkeypatch.setattr(preflight, "_module_exists", lambda name: name in fake.modules)
    for folder in ("vocab/data", "clip/configs"):
        (tmp_path / "openvocab" / folder).mkdir(parents=True)
        (tmp_path / "openvocab" / folder / "a.json").write_text("{}")
    (tmp_path / "openvocab" / "configs").mkdir()
    monkeypatch.setattr(preflight, "__file__", str(tmp_path / "openvocab" / "preflight.py"))
    return fake


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("METADATA", "Metadata-Version: 2.4\nName: some-thing\nVersion: 2.15.0+cpu\n\nVersion: 3\n", "2.15.0+cpu"),
        ("METADATA", "Metadata-Version: 2.4\r\nName: some-thing\r\nVersion: 1.0\r\n\r\nVersion: 3\r\n", "1.0"),
        ("PKG-INFO", "Metadata-Version: 2.4\nName: some-thing\nVersion: 0.1\n\nVersion: 3\n", "0.1"),
    ],
    ids=["suffix", "Windows", "egg"],
)
def test_a_version_is_read_from_the_header(tmp_path, monkeypatch, file, text, version):
    folder = tmp_path / ("some_thing.dist-info" if file == "METADATA" else "some_thing.egg-info")
    folder.mkdir()
    (folder / file).write_bytes(text.encode())
    monkeypatch.syspath_prepend(tmp_path)
    assert preflight.version_of("some-thing") == version
    assert preflight.version_of("some-thing-else") is None


def message() -> str:
    with pytest.raises(ImportError) as error:
        preflight.check()
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_good_installation_passes(installation):
    preflight.check()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_missing_package_is_named(installation, name):
    del installation.versions[name]
    installation.modules -= {r.module for r in preflight.REQUIREMENTS if r.distribution == name}
    text = message()
    assert name in text and "not installed" in text and "python -m pip install" in text


def test_another_distribution_of_the_same_module_counts(installation):
    del installation.versions["opencv-python"]  # opencv-python-headless brings cv2, too
    preflight.check()


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("torch", "2.5.1", "openvocab needs torch>=2.6, got 2.5.1"),
        ("pillow", "10.0.1", "openvocab needs pillow>=10.1, got 10.0.1"),
        ("open_clip_torch", "3.4.0", "openvocab needs open_clip_torch>=3.3,<3.4, got 3.4.0"),
        ("open_clip_torch", "2.30.0", "openvocab needs open_clip_torch>=3.3,<3.4, got 2.30.0"),
    ],
)
def test_versions_out_of_range_are_named(installation, name, version, expected):
    installation.versions[name] = version
    assert message().startswith(expected)


def test_torch_and_torchvision_are_only_installed_as_a_pair(installation):
    installation.versions["torch"] = "2.5.1"
    assert message().endswith("python -m pip install --upgrade 'torch>=2.6' 'torchvision>=0.21'")


def test_missing_detectron2_names_the_wheel_route(installation):
    installation.modules.remove("detectron2")
    text = message()
    assert "detectron2, which is not installed" in text
    for part in (preflight.DETECTRON2_WHEEL, "--no-deps", "--python-version=3.10", "--implementation=cp", "--target"):
        assert part in text


def broken_torchvision(name):
    assert name == "torchvision"
    raise RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize(
    ("torch", "wants"),
    [("2.13.0", "torch (>=2.14.0)"), ("2.13.0", "torch==2.15.0"), ("2.15.0+cpu", "torch (>=2.14.0)")],
    ids=["too old", "another", "CPU build"],
)
def test_a_broken_torch_pair_is_named(installation, monkeypatch, torch, wants):
    installation.versions["torch"], installation.torchvision_wants = torch, wants
    monkeypatch.setattr(preflight.importlib, "import_module", broken_torchvision)
    text = message()
    assert text.startswith(f"torch {torch} and torchvision 0.29.2 do not belong together (operator torchvision::nms")
    assert text.endswith("python -m pip install --force-reinstall torch torchvision")


def test_an_odd_pair_that_imports_is_only_logged(installation, monkeypatch, caplog):
    installation.versions["torch"] = "2.14.0a0+vendor.25"
    installation.torchvision_wants = "torch==2.15.0"
    monkeypatch.setattr(preflight.importlib, "import_module", lambda name: None)
    with caplog.at_level(logging.WARNING, logger="openvocab.preflight"):
        preflight.check()
    assert "mismatched pair" in caplog.text


def test_a_good_pair_is_not_imported(installation, monkeypatch):
    monkeypatch.setattr(preflight.importlib, "import_module", broken_torchvision)
    preflight.check()


@pytest.mark.parametrize("lost", ["vocab/data/a.json", "clip/configs/a.json", "configs"])
def test_missing_packaged_data_is_named(installation, tmp_path, lost):
    path = tmp_path / "openvocab" / lost
    path.rmdir() if path.is_dir() else path.unlink()
    text = message()
    assert lost.split("/a.json")[0] in text and "complete checkout" in text


def test_an_old_python_is_named(installation, monkeypatch):
    monkeypatch.setattr(preflight.sys, "version_info", (3, 10, 13, "final", 0))
    assert message().startswith("openvocab needs Python >=3.11, got 3.10")


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.15.0", ">=2.6", True),  # as numbers, not as text
        ("2.6.0a0+abc", ">=2.6", True),
        ("2.5.9", ">=2.6", False),
        ("3.3", ">=3.3,<3.4", True),
        ("3.3.9", ">=3.3,<3.4", True),
        ("3.4.0", ">=3.3,<3.4", False),
        ("2.15.0+cpu", "==2.15.0", True),
        ("2.14.0", "==2.15.0", False),
        ("2.15", "!=2.15.0", False),
        ("2.0", ">2.0", False),
        ("2.0", "<=2.0", True),
        ("1.0", "~=2.0", True),
        ("1.0", "", True),
    ],
)
def test_version_in_bounds(version, bounds, expected):
    assert preflight.version_in_bounds(version, bounds) is expected


def test_a_folder_of_that_name_is_no_module(monkeypatch, tmp_path):
    (tmp_path / "some_checkout").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert importlib.util.find_spec("some_checkout") is not None  # Python takes it for a namespace package
    assert not preflight._module_exists("some_checkout")
    assert preflight._module_exists("numpy")
