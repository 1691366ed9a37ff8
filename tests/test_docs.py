"""Code in the documentation runs, its links lead somewhere, what it names exists; `doc_blocks` has the marks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from doc_blocks import KEY, PAGES, ROOT, blocks, check_keys, check_places, check_python, check_shell, known_keys
from videos import write_frames

LINKED = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "THIRD_PARTY.md", ROOT / "tests" / "golden" / "README.md"]
WORDS = "cat\ndog\nsofa|couch\ntree\ngrass\nsky\n"


def title(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def pages_with(*languages: str) -> list[Path]:
    return [path for path in PAGES if blocks(path, *languages)]


def files_for_readers(folder: Path) -> None:
    """The files that examples speak of: pictures, folders of them, words, a video."""
    for name in ("demo", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    pictures = [cv2.imread(str(ROOT / "demo" / "images" / f"{name}.png"))[::3, ::3] for name in ("garden", "beach")]
    for place in ("holiday", "album", "album/a"):
        (folder / place).mkdir()
    names = ("img.jpg", "another.png", "holiday/1.jpg", "holiday/2.jpg", "album/cat.jpg", "album/a/b.png")
    for name, picture in zip(names, pictures * 3):
        assert cv2.imwrite(str(folder / name), picture)
    (folder / "words.txt").write_text(WORDS)
    write_frames(folder / "clip.mov", pictures, rate=5)


def test_enough_runs(capsys):
    """Marks are for exceptions."""
    count = {}
    for language in ("python", "sh"):
        found = [block for page in PAGES for block in blocks(page, language)]
        count[language] = sum(not block.reason for block in found), len(found)
    with capsys.disabled():
        print("\nblocks that run:", *(f"{language} {run} of {every}" for language, (run, every) in count.items()))
    assert count["python"][0] >= 15 and count["sh"][0] >= 8
    assert all(0 < run < every for run, every in count.values()), "blocks that run, and blocks that are only checked"


@pytest.mark.parametrize("page", pages_with("python"), ids=title)
def test_python_blocks(page, tmp_path, monkeypatch):
    """Those of a page run one after the other, in one place; what they assert, they assert for the reader, too."""
    files_for_readers(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)  # there, no small model stands in
    names = {"__name__": "docs", "image": cv2.imread("demo/images/garden.png")[:96, :128]}
    for block in blocks(page, "python"):
        check_python(block)
        if not block.reason:
            exec(compile(block.text, str(page), "exec"), names)
    if page.name == "DETECTRON2.md":
        check_names_of_detectron2(names)


def check_names_of_detectron2(names):
    from detectron2.modeling import BACKBONE_REGISTRY

    image = names["image"]
    BACKBONE_REGISTRY._obj_map.pop("ClipBackbone")
    assert names["answer"].shape == names["averaged"].shape == (4, 96, 128)
    assert not np.array_equal(names["answer"].numpy(), names["averaged"].numpy())
    assert names["drawn"].shape == image.shape
    assert len(names["released"]) == len([key for key in names["state"]]) + 2, "and two attention masks"
    assert names["results"]["sem_seg"]["pACC"] > 20
    names["segmentor"].eval()
    assert names["segmentor"]([{"image": np_to_tensor(image)}])[0]["sem_seg"].shape == (54, 96, 128)


def np_to_tensor(image):
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).copy())


@pytest.fixture(scope="session")
def reference(script):
    return script("tools/docs_reference.py")


@pytest.mark.parametrize("page", pages_with("sh"), ids=title)
def test_shell_blocks_name_what_exists(page, reference):
    assert sum(check_shell(block, reference.parser_of) for block in blocks(page, "sh"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages_with("sh") if any(
    block.runs(command) for block in blocks(page, "sh") for command in block.commands)], ids=title)  # fmt: skip
def test_shell_blocks_run(page, tmp_path):
    """In one bash per page, in a folder with a reader's files; where no model is named, the small LSeg is."""
    files_for_readers(tmp_path)
    small = 'case "$1 $* " in segment*" --model "*) ;; segment*) set -- "$@" --model emojiscapes_lseg;; esac'
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("python", f'exec "{sys.executable}" "$@"'),
                         ("openvocab", f'{small}\nexec "{sys.executable}" -m openvocab "$@"')):  # fmt: skip
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    lines = [line for block in blocks(page, "sh") for line in block.commands if block.runs(line)]
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {
        "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}  # fmt: skip
    done = subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, timeout=600, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", pages_with("yaml"), ids=title)
def test_yaml_blocks_hold_keys_that_exist(page):
    from openvocab.config_keys import dotted_keys

    for block in blocks(page, "yaml"):
        keys = {key for key, _ in dotted_keys(yaml.safe_load(block.text))}
        assert keys - {"_BASE_"} <= known_keys()


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_what_the_text_names_exists(page):
    from catseg.original_keys import ORIGINAL_KEYS

    text = page.read_text(encoding="utf-8")
    theirs = frozenset(key for original in ORIGINAL_KEYS for key in KEY.findall(original))
    check_keys(text, page.name, theirs)
    check_places(text, page.name)
    assert len(text.splitlines()) <= 260 and page.stat().st_size < 40_000


def test_every_option_is_in_the_reference(reference):
    from openvocab.cli.program import COMMANDS

    page = reference.options()
    parts = dict(zip(COMMANDS, re.split(r"^## openvocab \w+$", page, flags=re.MULTILINE)[1:], strict=True))
    count = 0
    for command, part in parts.items():
        for action in reference.parser_of(command)._actions:
            if action.help != "==SUPPRESS==" and action.dest != "help":
                count += 1
                assert all(f"`{name}`" in part for name in action.option_strings), (command, action.option_strings)
                assert action.help and (action.option_strings or "**positional arguments**" in part), action.dest
    assert count > 80


def test_every_config_key_is_in_the_reference_and_described(reference):
    page, described = reference.keys(), {}
    for path in reference.KEY_FILES.values():
        described |= {key.name: key.about for key in reference.own_keys(path)}
    assert not [name for name, about in described.items() if not about], "a key without a comment"
    from detectron2.config import CfgNode, get_cfg

    from catseg import add_catseg_config
    from lseg import add_lseg_config
    from openvocab.config_keys import dotted_keys

    cfg = get_cfg()
    add_catseg_config(cfg)
    add_lseg_config(cfg)
    stock = dict(dotted_keys(get_cfg()))
    ours = [key for key, value in dotted_keys(cfg) if key not in stock and not isinstance(value, CfgNode)]
    assert len(ours) > 50 and not [key for key in ours if f"| `{key}` |" not in page]
    assert not [row[0] for row in reference.stock_keys() if f"| `{row[0]}`" not in page]
    assert set(described) <= {key for key, _ in dotted_keys(cfg)}


def test_exit_codes_are_those_of_the_program():
    from openvocab import exit_codes

    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "EXIT_CODES.md").read_text(), re.MULTILINE)
    assert rows == [str(value) for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)]


def anchors(page):
    """The anchors that a page's headings get: lower case, no punctuation, a hyphen for each blank."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKED, ids=title)
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            goal = path.parent / target if target else path
            assert goal.exists(), f"{target} does not exist"
            assert not anchor or anchor in anchors(goal.read_text(encoding="utf-8")), f"no heading {target}#{anchor}"


def test_the_site_holds_every_page():
    """Each page is in the navigation, so that a reader finds it."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert not [path.name for path in (ROOT / "docs").glob("*.md") if f"{path.name}\n" not in navigation]
