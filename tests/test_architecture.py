"""Arrows point down: what may import what, read from the syntax trees, and the rules that a linter does not know."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from openvocab.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("openvocab", *METHODS.values())
ENTRY_POINTS = ("train_net.py", "demo", "tools", "benchmarks", "datasets", "examples")

# From the bottom to the top; a module may import from its own layer and from those below it. The longest prefix counts.
LAYERS = {
    "bottom": ("openvocab.config", "openvocab.interfaces", "openvocab.vocab", "openvocab.kernels", "openvocab.assets",
               "openvocab.preflight", "openvocab.files", "openvocab.console", "openvocab.versions", "openvocab.devices",
               "openvocab.windows", "openvocab.methods", "openvocab.config_keys", "openvocab.augmented_views",
               "openvocab.checkpoint.rename", "openvocab.checkpoint.partially", "openvocab.exit_codes",
               "openvocab.config_ranges", "openvocab.locks", "openvocab.tracing", "openvocab.labels",
               "openvocab.recompute"),
    "clip": ("openvocab.clip", "openvocab.checkpoint.complete", "openvocab.kernels.label_map",
             "openvocab.method", "openvocab.model"),
    "methods": tuple(METHODS.values()),
    "detectron2": ("openvocab.engine", "openvocab.data", "openvocab.evaluation", "openvocab.checkpoint",
                   "openvocab.inference", "openvocab.export"),
    "programs": ("openvocab.cli", "openvocab.web", "openvocab.cluster", "openvocab.reporting", "openvocab.__main__"),
}  # fmt: skip
ORDER = tuple(LAYERS)

# Third-party modules that a layer may use; the methods may use Detectron2's registries and config, not its machinery.
THIRD_PARTY = {
    "bottom": {"torch", "fvcore", "triton", "ftfy"},
    "clip": {"torch", "numpy", "fvcore", "open_clip", "safetensors", "triton"},
    "methods": {
        "torch",
        "numpy",
        "fvcore",
        "triton",
        "timm",
        "torchvision",
        "detectron2.config",
        "detectron2.layers",
        "detectron2.modeling",
        "detectron2.structures",
    },
}
# These need none at all: they are used before anything is installed, or where torch must not be loaded.
STANDARD_LIBRARY_ONLY = (
    "openvocab.vocab.vocabulary", "openvocab.vocab.templates", "openvocab.preflight", "openvocab.assets",
    "openvocab.files", "openvocab.console", "openvocab.methods", "openvocab.exit_codes", "openvocab.locks",
)  # fmt: skip
EMPTY_CONTAINER = re.compile(r"\[\]|\{\}|(set|dict|list|defaultdict|OrderedDict|Counter)\(\w*\)")


class Import(NamedTuple):
    """One imported name: `from a.b import c` is "a.b.c"; `lazy` where it is executed inside a function."""

    source: str
    target: str
    lazy: bool


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def files(*names: str) -> list[Path]:
    found = []
    for name in names:
        path = ROOT / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def walk_imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, lazy
        yield from walk_imports(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    found = []
    source = module_name(path)
    package = source if path.name == "__init__.py" else source.rpartition(".")[0]
    for node, lazy in walk_imports(parse(path)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *filter(None, [node.module])])
            targets = [f"{prefix}.{alias.name}" for alias in node.names]
        found += [Import(source, target, lazy) for target in targets]
    return tuple(found)


def project_imports(*names: str) -> list[Import]:
    return [item for path in files(*names) for item in imports(path)]


def below(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def layer(name: str) -> str | None:
    matches = [(len(p), level) for level, prefixes in LAYERS.items() for p in prefixes if below(name, p)]
    return max(matches)[1] if matches else None


def modules() -> list[Path]:
    return files(*PACKAGES)


def test_there_is_something_to_check():
    assert len(modules()) > 10
    assert any(item.target.startswith("torch") for item in project_imports(*PACKAGES))


def test_every_module_has_a_layer():
    names = [module_name(path) for path in modules()]
    assert not [name for name in names if layer(name) is None and name not in ("openvocab", "openvocab.testing")]


def test_arrows_point_down():
    wrong = []
    for item in project_imports(*PACKAGES):
        source, target = layer(item.source), layer(item.target)
        if below(item.target, *PACKAGES) and source and target and ORDER.index(target) > ORDER.index(source):
            wrong.append(item)
    assert not wrong


def test_methods_do_not_know_each_other():
    for method in METHODS.values():
        others = [name for name in METHODS.values() if name != method]
        assert not [item for item in project_imports(method) if below(item.target, *others)]


def test_shared_code_knows_the_methods_by_one_table():
    assert not [item for item in project_imports("openvocab") if below(item.target, *METHODS.values())]
    named, methods = set(), rf"({'|'.join(METHODS.values())})(\.\w+)*"
    for path in files("openvocab"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Constant) and re.fullmatch(methods, str(node.value)):
                named.add(module_name(path))
    assert named == {"openvocab.methods"}


def test_a_layer_uses_only_its_libraries():
    wrong = []
    for item in project_imports(*PACKAGES):
        level = layer(item.source)
        top = item.target.partition(".")[0]
        if level not in THIRD_PARTY or top in sys.stdlib_module_names or top in PACKAGES:
            continue
        if item.source in STANDARD_LIBRARY_ONLY or not below(item.target, *THIRD_PARTY[level]):
            wrong.append(item)
    assert not wrong


def test_triton_is_imported_lazily():
    for path in modules():
        if "kernels" not in path.parts or path.name != "triton.py":
            assert not [item for item in imports(path) if below(item.target, "triton") and not item.lazy]


def test_open_clip_is_touched_in_one_place():
    outside = {item.source for item in project_imports(*PACKAGES, *ENTRY_POINTS) if below(item.target, "open_clip")}
    assert not [name for name in outside if not below(name, "openvocab.clip", "tools", "benchmarks")]


def test_ray_and_pyarrow_are_touched_in_one_place():
    touching = [item for item in project_imports(*PACKAGES, *ENTRY_POINTS) if below(item.target, "ray", "pyarrow")]
    assert not [item for item in touching if not below(item.source, "openvocab.cluster", "examples")]
    assert any(below(item.target, "ray") for item in project_imports("openvocab"))


def test_ray_is_imported_lazily():
    """It takes seconds, and what is wrong with the command line is said before."""
    assert not [item for item in project_imports("openvocab/cluster") if below(item.target, "ray") and not item.lazy]


def test_the_model_zoo_of_detectron2_is_never_imported():
    """It needs pkg_resources, which setuptools no longer has."""
    everything = project_imports(*PACKAGES, *ENTRY_POINTS, "tests")
    assert not [item for item in everything if below(item.target, "detectron2.model_zoo")]


def test_helpers_of_tests_stay_out_of_the_packages():
    helpers = ("openvocab.testing", "tests", "pytest")
    assert not [item for item in project_imports(*PACKAGES) if below(item.target, *helpers)]


@pytest.mark.parametrize("path", files(*PACKAGES, *ENTRY_POINTS, "tests", "setup.py"), ids=module_name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def function_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, without its docstring."""
    first = node.body[0]
    before = first.end_lineno if ast.get_docstring(node) is not None else first.lineno - 1
    return node.end_lineno - before


def violations(path: Path) -> Iterator[str]:
    """Yields what breaks the rules that a linter does not know, as "line: what"."""
    tree = parse(path)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and function_length(node) > 50:
            yield f"{line}: {node.name} has {function_length(node)} lines"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "cuda":
                yield f"{line}: .cuda() fixes the device"
            if re.match(r"register_(forward|full_backward|backward|module_forward)\w*hook", node.func.attr):
                yield f"{line}: a hook hides the way of the data"
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield f"{line}: bare except"
            if all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body):
                yield f"{line}: swallowed exception"
        if isinstance(node, ast.Global):
            yield f"{line}: global state"
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            if EMPTY_CONTAINER.fullmatch(ast.unparse(node.value)):
                yield f"{node.lineno}: an empty container at module level is state"


@pytest.mark.parametrize("path", files(*PACKAGES, *ENTRY_POINTS, "setup.py"), ids=module_name)
def test_rules_of_style(path):
    assert not list(violations(path))


def test_the_checks_see_what_they_look_for(tmp_path, monkeypatch):
    """A check that cannot fail is none: each rule is broken once."""
    bad = tmp_path / "openvocab" / "vocab" / "bad.py"
    bad.parent.mkdir(parents=True)
    body = "\n".join(f"    x = {i}" for i in range(51))
    bad.write_text(
        "from openvocab.engine import setup\nfrom ..clip import spec\nimport pandas\ncache = {}\n"
        f"def long():\n{body}\n"
        "def f(x):\n    global cache\n    import triton\n    try:\n        x.cuda()\n    except:\n        pass\n"
        "    x.register_forward_hook(f)\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    found = list(imports(bad))
    assert found == [
        Import("openvocab.vocab.bad", "openvocab.engine.setup", False),
        Import("openvocab.vocab.bad", "openvocab.clip.spec", False),
        Import("openvocab.vocab.bad", "pandas", False),
        Import("openvocab.vocab.bad", "triton", True),
    ]
    with pytest.raises(AssertionError):
        test_arrows_point_down()
    with pytest.raises(AssertionError):
        test_a_layer_uses_only_its_libraries()
    text = "\n".join(violations(bad))
    for word in ("51 lines", ".cuda()", "bare except", "swallowed", "global state", "empty container", "hook"):
        assert word in text
