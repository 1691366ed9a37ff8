"""Where the configs and shipped weights lie, in a checkout and in an installed wheel, and where the datasets."""

import os
from pathlib import Path

from openvocab.console import did_you_mean

_PACKAGE = Path(__file__).resolve().parent


def config_root() -> Path:
    """Returns the folder of the configs: `openvocab/configs` in a wheel, else `configs` next to the package."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def config_path(name: str | Path) -> Path:
    """Finds a config file.

    Args:
        name: a path to a file; or the name of a config that comes with the package, with or without the folder
            `configs/` and the suffix `.yaml`: "catseg_b", "emojiscapes/catseg", "configs/catseg_b.yaml".

    Returns:
        Path of an existing file.

    Raises:
        ValueError: there is no such file and no config of this name; lists the names that exist.
    """
    if Path(name).is_file():
        return Path(name)
    found = packaged_config(name)
    if found is not None:
        return found
    names = config_names()
    known = ", ".join(names) or f"none (no configs in {config_root()})"
    hint = did_you_mean(_plain(name), names, 3)
    raise ValueError(f"config: expected a file or one of {known}, got {str(name)!r}{hint}")


def packaged_config(name: str | Path) -> Path | None:
    """Finds a config that comes with the package, by its name alone.

    Args:
        name: as for `config_path`.

    Returns:
        Path of an existing file, or None.
    """
    plain = _plain(name)
    return config_root() / f"{plain}.yaml" if plain in config_names() else None


def _plain(name: str | Path) -> str:
    return str(name).removesuffix(".yaml").removeprefix("./").removeprefix("configs/")


def config_names() -> list[str]:
    """Returns the names of the configs that come with the package, sorted; without base files, which are no models."""
    root = config_root()
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))
    return sorted(name for name in names if "base" not in name.split("/")[:-1])


def weights_root() -> Path:
    """Returns the folder of the weights that ship with the package."""
    return _PACKAGE / "weights"


def curves_root() -> Path:
    """Returns the folder of the curves of absent words that ship with the package."""
    return _PACKAGE / "curves"


def weights_names() -> list[str]:
    """Returns the file names of the weights that ship with the package, sorted."""
    root = weights_root()
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def weights_path(weights: str | Path) -> Path:
    """Finds a weights file, wherever somebody may name one: in a config, on a command line, in Python.

    Args:
        weights: a path to a file ("~" is the home folder), or the name of a file that ships with the package.

    Returns:
        Path of an existing file.

    Raises:
        ValueError: neither, or nothing; lists the names that exist.
    """
    if not str(weights):
        raise ValueError("weights: got nothing, expected a checkpoint (MODEL.WEIGHTS)")
    path = Path(os.path.expanduser(weights))  # Path's own raises RuntimeError where there is no home folder
    if path.is_file():
        return path
    names = weights_names()
    if str(weights) in names:
        return weights_root() / weights
    known = ", ".join(names) or f"none, in {weights_root()}"
    raise ValueError(f"weights: no such file: {path}; with the package come {known}")


def dataset_root(root: str | Path | None = None) -> Path:
    """Returns the folder that all datasets lie below.

    Args:
        root: default: the environment variable DETECTRON2_DATASETS, else "datasets" (Detectron2's rule).

    Returns:
        The folder, which need not exist.
    """
    return Path(os.path.expanduser(root if root is not None else os.environ.get("DETECTRON2_DATASETS", "datasets")))
