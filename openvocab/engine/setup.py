"""From a config file to a model: compose the config, find the method, build."""

import difflib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling import build_model as build_registered_model
from torch import nn

from openvocab.config import add_openvocab_config

METHODS: Mapping[str, str] = MappingProxyType({"CATSeg": "catseg", "LSeg": "lseg"})
"""META_ARCHITECTURE -> module that registers it; `<module>.config` holds `add_<module>_config`."""


def build_cfg(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Composes a config: Detectron2's defaults, our keys, the method's keys, the file, then the overrides.

    Args:
        config_file: a path, or a name that `openvocab.assets.config_path` knows ("catseg_b").
        overrides: flat "KEY", "VALUE" pairs, as on the command line.

    Returns:
        The config, not frozen.

    Raises:
        ValueError: no such config, an unknown key (with the nearest known one), a value of the wrong type, an odd
            number of overrides, or a META_ARCHITECTURE that nobody knows.

    Example:
        >>> cfg = build_cfg("catseg_b", ["MODEL.DEVICE", "cpu"])
    """
    path = _find_config(config_file)
    loaded = _load_yaml(path)
    cfg = get_cfg()
    add_openvocab_config(cfg)
    _add_method_config(cfg, _meta_architecture(loaded, overrides, path))
    _reject_unknown_keys(loaded, cfg, str(path))
    try:
        cfg.merge_from_other_cfg(CfgNode(loaded))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _apply_overrides(cfg, overrides)
    return cfg


def build_model(cfg: CfgNode) -> nn.Module:
    """Builds the model that `MODEL.META_ARCHITECTURE` names, on `MODEL.DEVICE`.

    Args:
        cfg: a config from `build_cfg`.

    Returns:
        The model, in training mode, with `requires_grad` set as the config asks; no weights loaded.

    Raises:
        ValueError: unknown META_ARCHITECTURE.
    """
    import_method(cfg.MODEL.META_ARCHITECTURE)
    return build_registered_model(cfg)


def import_method(meta_architecture: str) -> None:
    """Imports the module that registers a META_ARCHITECTURE.

    Args:
        meta_architecture: a key of `METHODS`, or a name that is already in Detectron2's registry.

    Raises:
        ValueError: the name is in neither.
    """
    if meta_architecture in METHODS:
        importlib.import_module(f"{METHODS[meta_architecture]}.meta_arch")
    elif meta_architecture not in META_ARCH_REGISTRY:
        raise ValueError(f"MODEL.META_ARCHITECTURE: got {meta_architecture!r}, expected one of {sorted(METHODS)}")


def _find_config(config_file: str | Path) -> Path:
    if not str(config_file):
        raise ValueError("config_file: got nothing, expected a path or a name such as 'catseg_b'")
    path = Path(config_file)
    if path.is_file():
        return path
    from openvocab.assets import config_path  # lazily: a plain path needs no search

    return config_path(str(config_file))


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = CfgNode.load_yaml_with_base(str(path), allow_unsafe=False)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except TypeError as error:  # fvcore looks for _BASE_ in whatever the file holds
        raise ValueError(f"{path}: expected config keys with values, got an empty or flat file") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected config keys with values, got {type(loaded).__name__}")
    return loaded


def _meta_architecture(loaded: Mapping[str, Any], overrides: Sequence[str], path: Path) -> str:
    pairs = dict(zip(overrides[0::2], overrides[1::2], strict=False))
    name = pairs.get("MODEL.META_ARCHITECTURE") or (loaded.get("MODEL") or {}).get("META_ARCHITECTURE")
    if not name:
        raise ValueError(f"{path}: MODEL.META_ARCHITECTURE is not set, expected one of {sorted(METHODS)}")
    return str(name)


def _add_method_config(cfg: CfgNode, meta_architecture: str) -> None:
    if meta_architecture not in METHODS:
        import_method(meta_architecture)
        return
    name = METHODS[meta_architecture]
    getattr(importlib.import_module(f"{name}.config"), f"add_{name}_config")(cfg)


def _dotted_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _dotted_keys(value, f"{prefix}{key}.")


def _unknown_key(key: str, cfg: CfgNode, where: str) -> ValueError:
    near = difflib.get_close_matches(key, list(_dotted_keys(cfg)), n=1)
    hint = f", did you mean {near[0]}?" if near else ""
    return ValueError(f"{where}: unknown config key {key}{hint}")


def _reject_unknown_keys(loaded: Mapping[str, Any], cfg: CfgNode, where: str) -> None:
    known = set(_dotted_keys(cfg))
    for key in _dotted_keys(loaded):
        if key not in known:
            raise _unknown_key(key, cfg, where)


def _apply_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    if len(overrides) % 2:
        raise ValueError(f"overrides: got {len(overrides)} words ({' '.join(overrides)}), expected KEY VALUE pairs")
    known = set(_dotted_keys(cfg))
    for key, value in zip(overrides[0::2], overrides[1::2], strict=True):
        if key not in known:
            raise _unknown_key(key, cfg, "overrides")
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, AttributeError) as error:  # yacs: AttributeError where a whole section gets a value
            raise ValueError(f"overrides: {key} cannot take {value!r}: {error}") from error
