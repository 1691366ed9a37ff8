"""The code in the documentation: which blocks a page has, how one is marked as only checked, and what is checked then.

A block runs unless a comment in front of it says why it does not:

    <!-- only checked: REASON -->                all of it
    <!-- only checked, TEXT: REASON -->          the commands of a shell block that hold TEXT (one comment for each)
"""

import ast
import importlib
import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGES = [path for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "datasets/README.md")
         for path in sorted(ROOT.glob(pattern))]  # fmt: skip
BLOCK = re.compile(r"((?:^<!-- only checked.*? -->\n)*)^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- only checked(?:, (.+?))?: (.+?) -->")
KEY = re.compile(r"\b(?:MODEL|SOLVER|TEST|INPUT|DATASETS|DATALOADER)(?:\.[A-Z][A-Z0-9_]*)+(?!\*|\.?\w)")
PLACE = re.compile(
    r"(?:openvocab|catseg|lseg|tools|tests|benchmarks|demo|examples|datasets|configs|docs)/[\w./-]+\.\w+"
)
# Commands of the shell, of its surroundings, and of programs that are none of ours.
OTHERS = {".", "[", "cd", "echo", "export", "git", "hf", "job=$!", "scancel", "scontrol", "status=$?", "status=0",
          "trap", "wait", "case", "0", "1", "*", "esac", "in", "$status", "$?", "-eq"}  # fmt: skip


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: its file.
        language: as it stands behind the fence.
        text: the code.
        reason: why all of it is only checked; "" where it runs.
        left_out: commands that hold one of these texts are only checked.
    """

    page: Path
    language: str
    text: str
    reason: str
    left_out: tuple[str, ...]

    @property
    def commands(self) -> list[str]:
        """The logical lines of a shell block, without those that are comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]

    def runs(self, command: str) -> bool:
        """Whether one of its commands runs."""
        return not self.reason and not any(text in command for text in self.left_out)


def blocks(page: Path, *languages: str) -> list[Block]:
    """Lists the blocks of a page in these languages; a mark without a reason, or that fits nothing, is an error."""
    found = []
    for marks, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        pairs = MARK.findall(marks)
        assert len(pairs) == marks.count("<!--"), f"{page.name}: {marks}: expected `only checked[, TEXT]: REASON`"
        whole = [reason for part, reason in pairs if not part]
        block = Block(page, language, text, " ".join(whole), tuple(part for part, _ in pairs if part))
        for part in block.left_out:
            assert any(part in command for command in block.commands), f"{page.name}: no command holds {part!r}"
        found += [block] if language in languages else []
    return found


@cache
def known_keys() -> frozenset[str]:
    """Every config key that may be written: ours, Detectron2's, and their sections."""
    from detectron2.config import get_cfg

    from catseg import add_catseg_config
    from lseg import add_lseg_config
    from openvocab.config_keys import dotted_keys

    cfg = get_cfg()
    add_catseg_config(cfg)
    add_lseg_config(cfg)
    return frozenset(key for key, _ in dotted_keys(cfg))


def check_keys(text: str, where: str, more: frozenset[str] = frozenset()) -> None:
    """Refuses config keys in a text that do not exist."""
    wrong = {key for key in KEY.findall(text) if key not in known_keys() | more and not key.endswith("_")}
    assert not wrong, f"{where}: no such config keys: {', '.join(sorted(wrong))}"


def check_places(text: str, where: str) -> None:
    """Refuses files of the repository that do not exist; the first column of a table "There | Here" is another's."""
    text = re.sub(r"^\| There \|.*?\n\n", lambda table: re.sub(r"^\|[^|]*", "", table[0], flags=re.M), text + "\n\n",
                  flags=re.DOTALL | re.MULTILINE)  # fmt: skip
    text = " ".join(map("".join, re.findall(r"`([^`\n]+)`|<!-- (.+?) -->", text)))
    wrong = {place for place in PLACE.findall(text) if not (ROOT / place.rstrip(".")).exists()}
    assert not wrong, f"{where}: no such files: {', '.join(sorted(wrong))}"


def check_python(block: Block) -> None:
    """Compiles a block, and looks for what it imports and for its config keys."""
    tree = ast.parse(block.text, str(block.page))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")
    check_keys(block.text.replace("cfg.", ""), block.page.name)


def check_shell(block: Block, parser_of) -> int:
    """Checks every command of a block, also of those that run.

    Args:
        block: in sh.
        parser_of: gives the parser of a sub-command of `openvocab`.

    Returns:
        How many commands of this project there were.
    """
    count = 0
    for line in block.commands:
        for words in _simple_commands(line):
            count += _check_command(words, f"{block.page.name}: {line.strip()}", parser_of)
    return count


def _simple_commands(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=False, punctuation_chars=";&|()")  # quotes stay: "()" is a value
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if re.fullmatch(r"[;&|()]+", word):
            commands.append([])
        else:
            commands[-1] += shlex.split(word)
    return [words for words in commands if words]


def _check_command(words: list[str], where: str, parser_of) -> int:
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
    elif words[0] == "srun":
        words = words[1:]
    if words[:3] == ["python", "-m", "pip"] or words[:3] == ["python", "-m", "openvocab"]:
        words = words[2:]
    program, *rest = words
    if program == "openvocab":
        _check_openvocab(rest, where, parser_of)
    elif program == "python":
        _check_script(rest, where, parser_of)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert rest[0] in targets, f"{where}: no target {rest[0]}"
    elif program == "pip":
        declared = (ROOT / "setup.py").read_text() + (ROOT / "openvocab" / "preflight.py").read_text()
        extras = [name for word in rest for found in re.findall(r"^(?:openvocab-seg|\.)\[(.+)\]", word)
                  for name in found.split(",")]  # fmt: skip
        assert all(f'"{extra}": ' in declared for extra in extras), f"{where}: no such extra"
    else:
        assert program in OTHERS, f"{where}: {program} is neither of this project nor in OTHERS"
        return 0
    return 1


def _check_openvocab(words: list[str], where: str, parser_of) -> None:
    from openvocab.checkpoint import zoo
    from openvocab.cli.program import COMMANDS

    assert words[0] in COMMANDS, f"{where}: no command {words[0]}"
    try:
        args = parser_of(words[0]).parse_args(words[1:])
    except ValueError as error:
        raise AssertionError(f"{where}: {error}") from error
    wrong = [key for key in (getattr(args, "opts", None) or [])[::2] if key not in known_keys()]
    assert not wrong, f"{where}: no such config keys: {wrong}"
    named = [args.names, args.fetch] if words[0] == "models" else [getattr(args, "model", None) or []]
    for name in [name for names in named for name in ([names] if isinstance(names, str) else names)]:
        assert name.startswith("output/") or zoo.find(name)
    _check_config(getattr(args, "config_file", None), where)


def _check_config(name: str | None, where: str) -> None:
    from openvocab.assets import config_path

    if name is not None and not (name.endswith(".yaml") and "/" not in name):  # the reader's own file
        assert Path(config_path(name)).is_file() or (ROOT / name).is_file(), f"{where}: no config {name}"


def _check_script(words: list[str], where: str, parser_of) -> None:
    path = ROOT / words[0]
    assert path.is_file(), f"{where}: no such file"
    command = {"train_net.py": "train", "demo/demo.py": "segment"}.get(words[0])
    if command:
        _check_openvocab([command, *words[1:]], where, parser_of)
        return
    text = path.read_text(encoding="utf-8")
    if words[0].startswith("datasets/"):
        text += "".join(each.read_text(encoding="utf-8") for each in sorted((ROOT / "openvocab/data").rglob("*.py")))
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in text, f"{where}: no option {word}"
    check_keys(" ".join(words[1:]), where)
