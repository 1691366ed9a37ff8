"""Configs are short deltas that load, and every key of ours is read by some code."""

import ast
import fnmatch
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from openvocab.config_keys import READ_STOCK_KEYS
from openvocab.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
CHILDREN = [path for path in CONFIGS if "_BASE_" in path.read_text()]
KEY_FILES = [path for package in ("openvocab", *METHODS.values()) if (path := ROOT / package / "config.py").is_file()]
READERS = [
    path
    for folder in ("openvocab", *METHODS.values(), "train_net.py", "demo", "tools")
    for path in ([ROOT / folder] if (ROOT / folder).is_file() else sorted((ROOT / folder).rglob("*.py")))
    if path not in KEY_FILES
]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def leaves(tree: dict, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        elif key != "_BASE_":
            yield (*prefix, key)


def look_up(cfg, key: tuple[str, ...]):
    for part in key:
        cfg = cfg[part]
    return cfg


@pytest.fixture(scope="module")
def compose():
    from openvocab.engine.setup import build_cfg

    return cache(lambda path: build_cfg(str(path)))


def test_there_are_configs():
    assert ROOT / "configs" / "catseg_b.yaml" in CONFIGS
    assert CHILDREN


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_every_config_loads(compose, path):
    assert compose(path).MODEL.META_ARCHITECTURE in METHODS


@pytest.mark.parametrize("path", CHILDREN, ids=name_of)
def test_no_leaf_repeats_its_base(compose, path):
    raw = yaml.safe_load(path.read_text())
    child, base = compose(path), compose((path.parent / raw["_BASE_"]).resolve())
    repeated = [".".join(key) for key in leaves(raw) if look_up(child, key) == look_up(base, key)]
    assert not repeated


@pytest.mark.parametrize("path", [path for path in CHILDREN if path.parent.name != "base"], ids=name_of)
def test_children_are_short(path):
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 15


def own_keys() -> Iterator[tuple[str, ...]]:
    """Yields the keys that our config files assign, as ("MODEL", "CLIP", "NAME"); nodes themselves left out."""
    for path in KEY_FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("cfg."):
                if ast.unparse(node.value) not in ("CN()", "CfgNode()"):
                    yield tuple(ast.unparse(node.targets[0]).split(".")[1:])


@cache
def attributes_read(path: Path) -> frozenset[str]:
    """The attribute chains that a file reads: "cfg.MODEL.CLIP.NAME" and its parts."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return frozenset(ast.unparse(n) for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load))


def is_read(key: tuple[str, ...]) -> bool:
    """Whether some file reads the key in full, or its last part off a name in a file that reads the node above it."""
    for path in READERS:
        chains = attributes_read(path)
        if any(chain.endswith("." + ".".join(key[-2:])) for chain in chains):
            return True
        above = any(chain.endswith("." + ".".join(key[:-1])) for chain in chains)
        if above and any(chain.count(".") == 1 and chain.endswith("." + key[-1]) for chain in chains):
            return True
    return False


def test_the_check_of_keys_sees_an_unread_key():
    assert len(list(own_keys())) > 20
    assert not is_read(("MODEL", "CLIP", "NOBODY_READS_THIS"))


def test_the_list_of_detectron2s_keys_that_are_read_is_whole(detectron2_keys):
    read = {".".join(key) for key in detectron2_keys if is_read(key)}
    assert not [key for key in read if not any(fnmatch.fnmatchcase(key, pattern) for pattern in READ_STOCK_KEYS)]


@pytest.fixture(scope="module")
def detectron2_keys() -> set[tuple[str, ...]]:
    from detectron2.config import get_cfg

    return set(leaves(get_cfg()))


@pytest.mark.parametrize("key", list(own_keys()), ids=".".join)
def test_every_key_is_read_somewhere(key, detectron2_keys):
    """Where a key is Detectron2's and only its default is ours, Detectron2 reads it."""
    assert is_read(key) or key in detectron2_keys
