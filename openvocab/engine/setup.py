"""From a config file to a model: compose the config, find the method, build."""

import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling import build_model as build_registered_model
from torch import nn

from openvocab.assets import config_names, config_path, packaged_config
from openvocab.checkpoint.complete import require_complete
from openvocab.config import add_openvocab_config
from openvocab.config_keys import Successor, dotted_keys, refuse_foreign_keys, refuse_unknown_keys, unread_keys
from openvocab.config_ranges import refuse_values_out_of_range
from openvocab.methods import METHODS

logger = logging.getLogger(__name__)


def build_cfg(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Composes a config: Detectron2's defaults, our keys, the method's keys, the file, then the overrides.

    Args:
        config_file: a path, or a name that `openvocab.assets.config_path` knows ("catseg_b").
        overrides: flat "KEY", "VALUE" pairs, as on the command line.

    Returns:
        The config, not frozen. Keys of Detectron2's that nothing here reads keep their defaults; a warning names them.

    Raises:
        ValueError: no such config, an unknown key (with the nearest known one), keys of the original program (with what
            to write here), a value of the wrong type, an odd number of overrides, or a META_ARCHITECTURE that nobody
            knows.

    Examples:
        >>> cfg = build_cfg("catseg_b", ["MODEL.DEVICE", "cpu"])
    """
    path = config_path(config_file)
    loaded = _load_yaml(path)
    _check_pairs(overrides)
    pairs = dict(zip(overrides[0::2], overrides[1::2], strict=True))
    method = _meta_architecture(loaded, pairs, path)
    cfg = get_cfg()
    add_openvocab_config(cfg)
    _add_method_config(cfg, method)
    known, original = dict(dotted_keys(cfg)), _original_keys(method)
    for values, where in ((dict(dotted_keys(loaded)), str(path)), (pairs, "overrides")):
        refuse_foreign_keys(values, known, original, where)
        refuse_unknown_keys(values, known, where)
    try:
        cfg.merge_from_other_cfg(CfgNode(loaded))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _apply_overrides(cfg, pairs)
    refuse_values_out_of_range(cfg, str(path))
    _reset_unread_keys(cfg, path)
    return cfg


def build_model(cfg: CfgNode) -> nn.Module:
    """Builds the model that `MODEL.META_ARCHITECTURE` names, on `MODEL.DEVICE`.

    Args:
        cfg: a config from `build_cfg`.

    Returns:
        The model, in training mode, with `requires_grad` set as the config asks; no weights loaded. Its
        `load_state_dict` takes whole state dicts only.

    Raises:
        ValueError: unknown META_ARCHITECTURE.
    """
    import_method(cfg.MODEL.META_ARCHITECTURE)
    from openvocab.model import OpenVocabularyModel  # lazily: composing a config needs no CLIP

    model = build_registered_model(cfg)
    if not isinstance(model, OpenVocabularyModel):  # which does so itself, for those who build it by Detectron2
        require_complete(model)
    return model


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


class _Packaged(CfgNode):
    """Reads `_BASE_` as a path, relative to the file, or as the name of a config of the package."""

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> Any:
        """Reads a file and those below it; see fvcore's `CfgNode`."""
        found = filename if os.path.isfile(filename) else str(_base_config(filename))
        return super().load_yaml_with_base(found, allow_unsafe)


def _base_config(filename: str) -> Path:
    """Finds a base config by the end of a path that does not exist: fvcore puts the folder of the file in front."""
    parts = Path(filename).parts
    for start in range(len(parts)):
        found = packaged_config("/".join(parts[start:]))
        if found is not None:
            return found
    raise ValueError(
        f"_BASE_: there is no {filename}, expected a file, or the name of a config of the package, one of "
        f"{', '.join(config_names())}"
    )


def _check_pairs(overrides: Sequence[str]) -> None:
    """Refuses what is not KEY VALUE KEY VALUE, such as options behind them, which argparse hands on with the pairs."""
    words = list(map(str, overrides))
    options = [word for word in words if word.startswith("--")]
    if options:
        raise ValueError(f"overrides: got {options[0]} among KEY VALUE pairs, expected options in front of them")
    if len(words) % 2:
        joined = [word for word in words if "=" in word]
        hint = f", such as {joined[0].replace('=', ' ', 1)}" if joined else ""
        got = f"{len(words)} words ({' '.join(words)})"
        raise ValueError(f"overrides: got {got}, expected KEY VALUE pairs{hint}")


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = _Packaged.load_yaml_with_base(str(path), allow_unsafe=False)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except TypeError as error:  # fvcore looks for _BASE_ in whatever the file holds
        raise ValueError(f"{path}: expected config keys with values, got an empty or flat file") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path}: expected config keys with values, got {type(loaded).__name__}")
    return loaded


def _meta_architecture(loaded: Mapping[str, Any], pairs: Mapping[str, str], path: Path) -> str:
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


def _original_keys(meta_architecture: str) -> Mapping[str, Successor]:
    """What a method's folder says of the keys that its original program has; most methods say nothing."""
    module = f"{METHODS.get(meta_architecture)}.original_keys"
    if meta_architecture not in METHODS or importlib.util.find_spec(module) is None:
        return {}
    return importlib.import_module(module).ORIGINAL_KEYS


def _apply_overrides(cfg: CfgNode, pairs: Mapping[str, str]) -> None:
    known = dict(dotted_keys(cfg))
    for key, value in pairs.items():
        present = known[key]
        if isinstance(present, Mapping):
            raise ValueError(
                f"overrides: {key} cannot take {value!r}: it is a section, expected one of its keys "
                f"({', '.join(present)})"
            )
        if isinstance(present, float) and re.fullmatch(r"[+-]?\d+", str(value)):
            value = f"{value}.0"  # yacs takes no integer for a float
        try:
            cfg.merge_from_list([key, value])
        except ValueError as error:
            hint = f"; of one name write \"('{value}',)\"" if isinstance(present, tuple | list) else ""
            raise ValueError(f"overrides: {key} cannot take {value!r}: {error}{hint}") from error


def _reset_unread_keys(cfg: CfgNode, path: Path) -> None:
    unread = unread_keys(cfg, get_cfg())
    if unread:
        logger.warning("%s: nothing here reads %s: left out", path, ", ".join(unread))
        cfg.merge_from_list([part for pair in unread.items() for part in pair])
