"""What an installation must have, checked from package metadata before anything heavy is imported.

The lists below are the only copy: `setup.py` and `tools/bootstrap.py` read them from here, so this file needs nothing
but the standard library and must run before anything is installed.
"""

import importlib
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

MIN_PYTHON = (3, 11)


class Requirement(NamedTuple):
    """One package that has to be installed.

    Attributes:
        distribution: its name on PyPI.
        module: its import name. Where the module is there but the distribution is not (opencv-python-headless instead
            of opencv-python), the version is not checked.
        bounds: version bounds as pip writes them, e.g. ">=3.3,<3.4"; "" for any version.
    """

    distribution: str
    module: str
    bounds: str = ""

    def __str__(self) -> str:
        return self.distribution + self.bounds


REQUIREMENTS = (
    Requirement("torch", "torch", ">=2.6"),
    Requirement("torchvision", "torchvision", ">=0.21"),
    # Every open_clip attribute that is touched is named in tests/test_open_clip_surface.py; 3.4 may rename them.
    Requirement("open_clip_torch", "open_clip", ">=3.3,<3.4"),
    Requirement("timm", "timm", ">=1.0.17"),
    Requirement("fvcore", "fvcore", ">=0.1.5.post20221221"),
    Requirement("numpy", "numpy", ">=2.0"),
    # Up to 10.0.1, ImageOps.exif_transpose turns a TIFF with an Orientation tag a second time: loading has turned it.
    Requirement("pillow", "PIL", ">=10.1"),
    Requirement("opencv-python", "cv2", ">=4.8"),
    # 1.5 does not go on where a connection was cut; tests/checkpoint/test_hub.py was run with 1.20.0 and 2.0.0, too.
    Requirement("huggingface_hub", "huggingface_hub", ">=1.20,<3"),
    Requirement("tqdm", "tqdm"),
    Requirement("ftfy", "ftfy"),  # open_clip's tokenizer needs it, too
    Requirement("safetensors", "safetensors"),
    # The rest is imported by detectron2, which is installed without its own (outdated) list of requirements.
    Requirement("pycocotools", "pycocotools", ">=2.0.7"),
    Requirement("iopath", "iopath", ">=0.1.9"),
    Requirement("yacs", "yacs", ">=0.1.8"),
    Requirement("omegaconf", "omegaconf", ">=2.1"),
    Requirement("hydra-core", "hydra", ">=1.1"),
    Requirement("cloudpickle", "cloudpickle"),
    Requirement("matplotlib", "matplotlib"),
    Requirement("packaging", "packaging"),
    Requirement("tabulate", "tabulate"),
    Requirement("tensorboard", "tensorboard"),
    Requirement("termcolor", "termcolor"),
)

EXTRAS = {
    "web": (Requirement("gradio", "gradio", ">=6,<7"),),
    "export": (
        Requirement("onnx", "onnx", ">=1.17"),
        Requirement("onnxscript", "onnxscript", ">=0.5"),
        Requirement("onnxruntime", "onnxruntime", ">=1.18"),
    ),
    "ray": (Requirement("ray[data]", "ray", ">=2.60,<3"),),  # what it takes of Ray Data is public
}
"""Extra -> what one command, or one way to run it, needs beside the rest."""

# Upstream's Python code of commit a59f0563 as a wheel; its compiled part is not needed, so it serves every Python and
# platform although its tag says CPython 3.10.
DETECTRON2_WHEEL = "sal-detectron2==0.7.2"
DETECTRON2_SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
DETECTRON2_GIT = "git+https://github.com/facebookresearch/detectron2.git"
DETECTRON2_PIP_FLAGS = ("--no-deps", "--only-binary=:all:", "--python-version=3.10", "--implementation=cp")

# Patterns below the package folder: without these a wheel was built from an incomplete tree.
_PACKAGED_DATA = ("vocab/data/*.json", "clip/configs/*.json")


def detectron2_command() -> str:
    """Returns the shell command that installs detectron2 into the running Python, without a compiler."""
    flags = " ".join(DETECTRON2_PIP_FLAGS)
    site_packages = '"$(python -c \'import sysconfig; print(sysconfig.get_paths()["purelib"])\')"'
    return f"python -m pip install {flags} --target {site_packages} {DETECTRON2_WHEEL}"


def detectron2_origin() -> str | None:
    """Says which detectron2 is installed, where it came from and where it lies; None where there is none."""
    if not _module_exists("detectron2"):
        return None
    where = Path(importlib.util.find_spec("detectron2").origin).parent
    for name in (DETECTRON2_WHEEL.partition("==")[0], "detectron2"):
        version = version_of(name)
        if version is None:
            continue
        source = json.loads(metadata.distribution(name).read_text("direct_url.json") or "{}")
        commit = source.get("vcs_info", {}).get("commit_id", "")
        url = source.get("url", "")
        origin = f", from {url} {commit[:9]}" if url and not url.startswith("file:") else ""
        return f"{version} ({name}{origin}) in {where}"
    return f"a folder without metadata: {where}"


def version_in_bounds(version: str, bounds: str) -> bool:
    """Compares a version with pip-style bounds.

    Only the leading numbers count ("2.15.0+cpu" is 2.15.0, "2.6.0a0+ab1" is 2.6.0): vendors' builds carry suffixes that
    say nothing about the interface.

    Args:
        version: an installed version.
        bounds: comma-separated bounds with the operators >=, <=, >, <, == and !=; "" for any version.

    Returns:
        Whether every bound holds. A bound that cannot be read (wildcards, "~=") counts as held: this check is here to
        name broken installations, not to refuse working ones.
    """
    have = _numbers(version)
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        match = re.fullmatch(r"(>=|<=|==|!=|>|<)\s*(\d[\w.+]*)", bound)
        if not match:
            continue
        want = _numbers(match[2])
        size = max(len(have), len(want))
        left, right = (numbers + (0,) * (size - len(numbers)) for numbers in (have, want))
        held = {
            ">=": left >= right, "<=": left <= right, "==": left == right,
            "!=": left != right, ">": left > right, "<": left < right,
        }  # fmt: skip
        if not held[match[1]]:
            return False
    return True


def check() -> None:
    """Checks that this installation can run; cheap enough (a few milliseconds) to be called at every start.

    Raises:
        ImportError: something is missing or does not fit; one line that names it and the command that mends it.
    """
    for problem in problems():
        raise problem


def problems() -> Iterator[ImportError]:
    """Finds everything that is wrong with this installation.

    Yields:
        One error after the other, each one line that names what is wrong and the command that mends it.
    """
    if sys.version_info[:2] < MIN_PYTHON:
        wanted, got = ("{}.{}".format(*version[:2]) for version in (MIN_PYTHON, sys.version_info))
        yield ImportError(f"openvocab needs Python >={wanted}, got {got}: make an environment with Python 3.11 to 3.13")
    package = Path(__file__).resolve().parent
    checks = [partial(_check_requirement, requirement) for requirement in REQUIREMENTS]
    for check_one in (*checks, _check_torch_pair, _check_detectron2, partial(_check_packaged_data, package)):
        try:
            check_one()
        except ImportError as error:
            yield error


def _check_requirement(requirement: Requirement) -> None:
    """Raises ImportError where a package is missing or its version is out of bounds."""
    version = version_of(requirement.distribution)
    if version is None:
        if _module_exists(requirement.module):
            return
        found = "which is not installed"
    elif not version_in_bounds(version, requirement.bounds):
        found = f"got {version}"
    else:
        return
    raise ImportError(f"openvocab needs {requirement}, {found}: python -m pip install {_mending(requirement)}")


def check_extra(extra: str) -> None:
    """Makes sure that a command's own packages are installed.

    Args:
        extra: of `EXTRAS`.

    Raises:
        ValueError: one is not, or in another version.
    """
    for requirement in EXTRAS[extra]:
        found = version_of(requirement.distribution.partition("[")[0])
        if found is None or not version_in_bounds(found, requirement.bounds):
            got = f"{requirement.distribution} {found}" if found else f"no {requirement.distribution}"
            raise ValueError(
                f'{extra}: {got} is installed, expected {requirement}: python -m pip install "openvocab-seg[{extra}]"'
            )


def _mending(requirement: Requirement) -> str:
    """The arguments for pip; torch and torchvision are only ever installed as a pair."""
    if requirement.distribution in ("torch", "torchvision"):
        return "--upgrade " + " ".join(f"'{r}'" for r in REQUIREMENTS if r.distribution in ("torch", "torchvision"))
    return f"'{requirement}'"


def _check_torch_pair() -> None:
    """Raises ImportError where torchvision was built for another torch ("operator torchvision::nms does not exist").

    Metadata raises the suspicion: torchvision asks for another version of torch, or one of the two is a CPU build and
    the other is not. Vendors' builds look suspicious too and work, so only an import that fails counts.
    """
    torch, vision = version_of("torch"), version_of("torchvision")
    if torch is None or vision is None:
        return
    wanted = _required_bounds("torchvision", "torch")
    if version_in_bounds(torch, wanted) and _is_cpu_build(torch) == _is_cpu_build(vision):
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImportError(
            f"torch {torch} and torchvision {vision} do not belong together ({reason}): "
            "python -m pip install --force-reinstall torch torchvision"
        ) from error
    logger.warning("torch %s and torchvision %s look like a mismatched pair, but import", torch, vision)


def _check_detectron2() -> None:
    """Raises ImportError where it is missing."""
    if not _module_exists("detectron2"):
        raise ImportError(f"openvocab needs detectron2, which is not installed: {detectron2_command()}")


def _check_packaged_data(package: Path) -> None:
    """Raises ImportError where the installed package lacks its data files."""
    config_folders = (package / "configs", package.parent / "configs")
    missing = [pattern for pattern in _PACKAGED_DATA if not any(package.glob(pattern))]
    if not any(folder.is_dir() for folder in config_folders):
        missing.append("configs/")
    if missing:
        raise ImportError(
            f"openvocab at {package} lacks {', '.join(missing)}: "
            "install again from a complete checkout (python -m pip install --force-reinstall --no-deps .)"
        )


def version_of(distribution: str) -> str | None:
    """Gives the version of an installed distribution, or None.

    Args:
        distribution: its name on PyPI.
    """
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return None
    # `found.version` parses the package's whole README as if it were an e-mail: all of `check` took thrice as long.
    header = (found.read_text("METADATA") or "").partition("\n\n")[0]
    version = re.search(r"^Version:\s*(\S+)", header, re.MULTILINE)
    return version[1] if version else found.version


def _module_exists(module: str) -> bool:
    """Whether a top-level module can be imported; a folder that merely has its name does not count."""
    spec = sys.modules[module].__spec__ if module in sys.modules else importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _required_bounds(distribution: str, other: str) -> str:
    """The bounds that an installed distribution puts on another one; "" where it names none."""
    for line in metadata.requires(distribution) or ():
        match = re.match(rf"{re.escape(other)}\b(?!-)\s*\(?([^;)]*)", line)
        if match:
            return match[1].strip()
    return ""


def _is_cpu_build(version: str) -> bool:
    return version.partition("+")[2] == "cpu"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.15.0+cpu" -> (2, 15, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()
