"""Makes the reference pages of the site out of the program itself: options from its parsers, keys from the configs.

python tools/docs_reference.py options    (or: keys) prints one as Markdown
"""

import argparse
import ast
import fnmatch
import importlib
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from fvcore.common.config import CfgNode

ROOT = Path(__file__).resolve().parent.parent
KEY_FILES = {
    "Both methods": ROOT / "openvocab" / "config.py",
    "CAT-Seg": ROOT / "catseg" / "config.py",
    "LSeg": ROOT / "lseg" / "config.py",
}
RECIPES = ("catseg_b", "lseg_l16")  # whose values stand beside Detectron2's defaults


class Key(NamedTuple):
    """A config key as its file describes it.

    Attributes:
        name: dotted.
        default: as Python writes it.
        about: its comments.
    """

    name: str
    default: str
    about: str


def parser_of(command: str) -> argparse.ArgumentParser:
    """Gives the parser of a sub-command.

    Args:
        command: of `openvocab.cli.program.COMMANDS`.
    """
    if command in ("train", "evaluate"):
        from openvocab.cli.train import build_parser

        return build_parser(f"openvocab {command}", command == "evaluate")
    module = "segment_options" if command == "segment" else command
    return importlib.import_module(f"openvocab.cli.{module}").build_parser()


def own_keys(path: Path) -> Iterator[Key]:
    """Reads the keys of a config file.

    Args:
        path: assigns `cfg.A.B = value`; a key's comments stand behind it, and on the lines in front of it.

    Yields:
        Keys in the order of the file; sections are none.
    """
    source = path.read_text(encoding="utf-8")
    comments = {token.start[0]: (token.string.lstrip("# "), not token.line.lstrip().startswith("#"))
                for token in tokenize.generate_tokens(io.StringIO(source).readline)
                if token.type == tokenize.COMMENT}  # fmt: skip
    pending: list[str] = []
    assigned = {node.lineno: node for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("cfg.")}  # fmt: skip
    for number, line in enumerate(source.splitlines(), 1):
        text, behind = comments.get(number, ("", False))
        if number in assigned:
            node = assigned[number]
            if isinstance(node.value, ast.Call):
                continue  # a section; what is said in front of it goes to its first key
            about = " ".join([*pending, text]).strip()
            yield Key(ast.unparse(node.targets[0]).removeprefix("cfg."), ast.unparse(node.value), about)
            pending = []
        elif text and not behind:
            pending.append(text)
        elif not line.strip():
            pending = []


def options() -> str:
    """Describes every option of every sub-command, as Markdown."""
    from openvocab.cli.program import COMMANDS

    parts = []
    for command, about in COMMANDS.items():
        parser = parser_of(command)
        parts.append(f"## openvocab {command}\n\n{about[0].upper()}{about[1:]}.\n")
        for group in parser._action_groups:
            rows = [
                _row(action)
                for action in group._group_actions
                if action.help != argparse.SUPPRESS and action.dest != "help"
            ]
            if rows:
                parts.append(f"**{group.title}**\n\n| Option | What |\n|---|---|\n" + "\n".join(rows) + "\n")
        examples = (parser.epilog or "").partition("exit codes:")[0].strip("\n ")
        if examples:
            parts.append(f"```text\n{examples}\n```\n")
    return "\n".join(parts)


def keys() -> str:
    """Describes every config key of this project, and those of Detectron2 that it reads, as Markdown."""
    from openvocab.config_ranges import RANGES, Least

    def allowed(name: str) -> str:
        bounds = RANGES.get(name)
        if isinstance(bounds, Least):
            return f" ({'above' if bounds.open else 'at least'} {bounds.value})"
        return f" (one of {', '.join(bounds)})" if bounds else ""

    parts = []
    for title, path in KEY_FILES.items():
        rows = [f"| `{key.name}` | `{_cell(key.default)}` | {_cell(key.about)}{allowed(key.name)} |"
                for key in own_keys(path)]  # fmt: skip
        parts.append(f"## {title}\n\n| Key | Default | What |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    heads = " | ".join(f"`{name}`" for name in RECIPES)
    rows = [f"| `{name}`{allowed(name)} | " + " | ".join(f"`{_cell(repr(value))}`" for value in values) + " |"
            for name, *values in stock_keys()]  # fmt: skip
    parts.append(
        "## Detectron2's keys that are read\n\nDetectron2 describes them in its `config/defaults.py`. Others "
        "of its keys have no effect here, and setting one is answered with a warning that names it.\n\n"
        f"| Key | Default | {heads} |\n|---|---|{'---|' * len(RECIPES)}\n" + "\n".join(rows) + "\n"
    )
    return "\n".join(parts)


def stock_keys() -> list[tuple]:
    """Lists Detectron2's keys that are read and not described by our files: name, its default, values of `RECIPES`."""
    from detectron2.config import get_cfg

    from openvocab.config_keys import READ_STOCK_KEYS, dotted_keys
    from openvocab.engine.setup import build_cfg

    ours = {key.name for path in KEY_FILES.values() for key in own_keys(path)}
    columns = [dict(dotted_keys(cfg)) for cfg in (get_cfg(), *map(build_cfg, RECIPES))]
    return [(name, *(column.get(name) for column in columns)) for name, value in columns[0].items()
            if not isinstance(value, CfgNode) and name not in ours
            and any(fnmatch.fnmatchcase(name, pattern) for pattern in READ_STOCK_KEYS)]  # fmt: skip


def _row(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.type or action.nargs else "")
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    elif action.nargs == 0:
        value = ""
    elif not value and action.option_strings:
        value = action.dest.upper()
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    shown = f"{names} `{_cell(value)}`" if names and value else names or f"`{_cell(value or action.dest)}`"
    about = (action.help or "") % {"default": action.default, "prog": "openvocab"}
    return f"| {shown} | {_cell(about)} |"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


MAKERS: dict[str, Callable[[], str]] = {"options": options, "keys": keys}


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in MAKERS):
        sys.exit(f"error: expected one of {', '.join(MAKERS)}, got {' '.join(sys.argv[1:]) or 'none'}")
    sys.stdout.write(MAKERS[sys.argv[1]]())
