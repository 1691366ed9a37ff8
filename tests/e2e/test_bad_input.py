"""One table of what people feed to the command line: input, exit code, line, files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab.inference.record import RECORD


class Case(NamedTuple):
    """One row. `{pictures}`, `{tiny}` and `{tmp}` in arguments and lines stand for folders.

    Attributes:
        name: of the row.
        arguments: of demo.py, besides the tiny model and the output folder.
        code: expected exit code.
        line: expected in one line of stderr that begins with "error:", or in stdout where it starts with "> ".
        stems: pictures whose three files are expected; nothing else may be there.
        model: False leaves --config-file and --weights to `arguments`.
    """

    name: str
    arguments: tuple[str, ...]
    code: int
    line: str
    stems: tuple[str, ...] = ()
    model: bool = True


IMG = ("--input", "{pictures}/img.jpg")
CATS = ("--vocabulary", "cat,sofa|couch")


def picture(name: str, size: str) -> Case:
    """A row for a picture that has to work."""
    stem = name.rpartition(".")[0]
    return Case(name, ("--input", f"{{pictures}}/{name}", *CATS), 0, f"> {name}  {size}  ", (stem,))


CASES = (
    # words
    Case("empty vocabulary", (*IMG, "--vocabulary", ""), 2, "--vocabulary: got an empty text"),
    Case("blank vocabulary", (*IMG, "--vocabulary", "  "), 2, "empty vocabulary"),
    Case("blank word", (*IMG, "--vocabulary", "cat,,sofa"), 2, "blank word in entry 2"),
    Case("blank synonym", (*IMG, "--vocabulary", "cat,sofa|"), 2, "blank word in entry 2"),
    Case("a word twice", (*IMG, "--vocabulary", "cat,sofa,Cat"), 2, "'Cat' twice"),
    Case("a synonym twice", (*IMG, "--vocabulary", "couch,sofa|couch"), 2, "'couch' twice"),
    Case("background repeats a word", (*IMG, *CATS, "--background", "wall,couch"), 2, "'couch' in both"),
    Case("blank background", (*IMG, *CATS, "--background", ""), 2, "--background: got an empty text"),
    Case("5,000 words", (*IMG, "--vocabulary-file", "{tmp}/5000.txt"), 0, "> and 4980 more", ("img",)),
    Case("one word", (*IMG, "--vocabulary", "cat"), 0, "> cat 100.0 %", ("img",)),
    Case(
        "a word beyond the context, once for all pictures",
        (*IMG, "{pictures}/img.png", "--vocabulary", "cat," + "very " * 40 + "long"),
        2,
        "at most 16",
    ),
    Case(
        "both vocabularies",
        (*IMG, *CATS, "--vocabulary-file", "{tmp}/5000.txt"),
        2,
        "--vocabulary and --vocabulary-file",
    ),
    Case("missing vocabulary file", (*IMG, "--vocabulary-file", "{tmp}/absent.txt"), 2, "{tmp}/absent.txt"),
    Case("vocabulary file of another kind", (*IMG, "--vocabulary-file", "{pictures}/img.png"), 2, "img.png"),
    Case("broken json", (*IMG, "--vocabulary-file", "{tmp}/broken.json"), 2, "broken.json"),
    # pictures
    *(
        picture(name, "60x40")
        for name in ("img.jpg", "img.png", "grey.png", "rgba.png", "16bit.png", "cmyk.jpg", "palette.gif")
    ),
    picture("rotated.jpg", "40x60"),
    picture("pixel.png", "1x1"),
    Case("not a picture", ("--input", "{pictures}/text.jpg", *CATS), 2, "can be read: {pictures}/text.jpg"),
    Case("truncated", ("--input", "{pictures}/cut.jpg", *CATS), 2, "truncated: {pictures}/cut.jpg"),
    Case("missing", ("--input", "{pictures}/absent.jpg", *CATS), 2, "no such file: {pictures}/absent.jpg"),
    Case("pattern without match", ("--input", "{pictures}/*.xyz", *CATS), 2, "matches no file"),
    Case("folder without pictures", ("--input", "{tmp}", *CATS), 2, "no pictures in the folder"),
    Case(
        "a picture that nothing here reads",
        ("--input", "{pictures}/img.jpg", "{tmp}/phones/a.heic", *CATS),
        1,
        "HEIC cannot be read here: {tmp}/phones/a.heic (convert it to PNG or JPEG)",
        ("img",),
    ),
    Case(
        "nothing but missing files",
        ("--input", "{tmp}/a.png", *CATS, "--model", "x"),
        2,
        "no such file: {tmp}/a.png",
        model=False,
    ),
    Case(
        "two of four are bad",
        (
            "--input",
            "{pictures}/text.jpg",
            *("{pictures}/" + name for name in ("img.jpg", "absent.png", "grey.png")),
            *CATS,
        ),
        1,
        "no such file: {pictures}/absent.png",
        ("img", "grey"),
    ),
    Case(
        "same name twice",
        ("--input", "{pictures}/img.jpg", "{pictures}/img.png", *CATS),
        0,
        "> [2/2]",
        ("img", "img-2"),
    ),
    # numbers and names
    Case("threshold outside", (*IMG, *CATS, "--threshold", "1.5"), 2, "threshold: expected 0..1, got 1.5"),
    Case("threshold no number", (*IMG, *CATS, "--threshold", "x"), 2, "--threshold"),
    Case("everything below the threshold", (*IMG, *CATS, "--threshold", "1"), 0, "> (none of these) 100.0 %", ("img",)),
    Case("unknown device", (*IMG, *CATS, "--device", "gpu"), 2, "device: expected cpu, cuda, cuda:N or mps, got 'gpu'"),
    Case("absent device", (*IMG, *CATS, "--device", "cuda:99"), 2, "device: got 'cuda:99'"),
    Case("unknown dtype", (*IMG, *CATS, "--dtype", "int8"), 2, "dtype: expected one of float32, bfloat16, float16"),
    Case("forced bfloat16", (*IMG, *CATS, "--dtype", "bfloat16!"), 0, "> cpu, bfloat16", ("img",)),
    Case("unknown option", (*IMG, *CATS, "--vocabluary", "x"), 2, "--vocabluary"),
    # model and config
    Case("unknown model", (*IMG, *CATS, "--model", "catseg_xxl"), 2, "expected one of emojiscapes_catseg", model=False),
    Case("model and config", (*IMG, *CATS, "--model", "catseg_b"), 2, "--model and --config-file"),
    Case("missing config", (*IMG, *CATS, "--config-file", "absent.yaml"), 2, "got 'absent.yaml'", model=False),
    Case(
        "config without weights",
        (*IMG, *CATS, "--config-file", "{tiny}/tiny.yaml"),
        2,
        "MODEL.WEIGHTS is empty",
        model=False,
    ),
    Case(
        "missing weights",
        (*IMG, *CATS, "--config-file", "{tiny}/tiny.yaml", "--weights", "{tmp}/absent.pth"),
        2,
        "no such file: {tmp}/absent.pth",
        model=False,
    ),
    Case(
        "unknown config key in the file",
        (*IMG, *CATS, "--config-file", "{tmp}/unknown.yaml", "--weights", "{tiny}/tiny.pth"),
        2,
        "MODEL.CATSEG.HIDEN_DIM",
        model=False,
    ),
    Case(
        "unknown config key as option",
        (*IMG, *CATS, "--opts", "MODEL.CATSEG.HIDEN_DIM", "3"),
        2,
        "MODEL.CATSEG.HIDEN_DIM",
    ),
    Case("checkpoint of another size", (*IMG, *CATS, "--opts", "MODEL.CATSEG.HIDDEN_DIM", "48"), 2, "(48,"),
    Case(
        "checkpoint of another model",
        (*IMG, *CATS, "--config-file", "{tiny}/tiny.yaml", "--weights", "{tmp}/other.pth"),
        2,
        "other.pth",
        model=False,
    ),
    Case(
        "checkpoint that is none",
        (*IMG, *CATS, "--config-file", "{tiny}/tiny.yaml", "--weights", "{pictures}/img.png"),
        2,
        "img.png",
        model=False,
    ),
    Case(
        "sliding window",
        (
            *IMG,
            *CATS,
            "--opts",
            "TEST.SLIDING_WINDOW.ENABLED",
            "True",
            "TEST.SLIDING_WINDOW.SIZE",
            "48",
            "TEST.SLIDING_WINDOW.KERNEL",
            "32",
            "TEST.SLIDING_WINDOW.STRIDE",
            "16",
        ),
        0,
        "> 60x40",
        ("img",),
    ),
    # output
    Case(
        "output below a file",
        (*IMG, *CATS, "--output", "{pictures}/img.jpg/sub"),
        2,
        "cannot write to the folder {pictures}/img.jpg/sub",
    ),
    Case("output is a file", (*IMG, *CATS, "--output", "{pictures}/img.jpg"), 2, "is a file, expected a folder"),
    Case("output without permission", (*IMG, *CATS, "--output", "/proc/masks"), 2, "cannot write to the folder /proc"),
)


@pytest.fixture
def folders(tmp_path, pictures, tiny) -> dict[str, str]:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "5000.txt").write_text("\n".join(f"word {i}" for i in range(5_000)))
    (inputs / "broken.json").write_text('["cat", ')
    (inputs / "unknown.yaml").write_text(tiny.config.read_text().replace("HIDDEN_DIM", "HIDEN_DIM"))
    (inputs / "phones").mkdir()
    (inputs / "phones" / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    torch.save({"model": {"backbone.weight": torch.zeros(3)}}, inputs / "other.pth")
    return {"pictures": str(pictures), "tiny": str(tiny.config.parent), "tmp": str(inputs)}


def arguments_of(case: Case, folders: dict[str, str], output) -> list[str]:
    arguments = [argument.format(**folders) for argument in case.arguments]
    if case.model:
        arguments += ["--config-file", f"{folders['tiny']}/tiny.yaml", "--weights", f"{folders['tiny']}/tiny.pth"]
    if "--output" not in arguments:
        arguments += ["--output", str(output)]
    return [*arguments, *(() if "--device" in arguments else ("--device", "cpu"))]


def expected_files(stems: tuple[str, ...]) -> list[str]:
    return sorted(f"{stem}{end}" for stem in stems for end in ("_overlay.png", "_labels.png", ".json"))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_table(case, folders, tmp_path, demo, capsys):
    output = tmp_path / "output"
    before = sorted(os.listdir(folders["pictures"]))
    code = demo.main(arguments_of(case, folders, output))
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    line = case.line.format(**folders)
    assert code == case.code, (out, err)
    assert "Traceback" not in out + err
    if line.startswith("> "):
        assert line[2:] in out and not errors
    else:
        assert any(line in error for error in errors), err
        assert len(errors) == (2 if case.name == "two of four are bad" else 1), "one clear line each"
    record = [RECORD] if case.code == 1 else []  # of several pictures some failed: they can be asked again
    assert (sorted(os.listdir(output)) if output.is_dir() else []) == expected_files(case.stems) + record
    assert sorted(os.listdir(folders["pictures"])) == before


def test_contents_of_the_files(folders, tmp_path, demo, capsys):
    case = picture("rotated.jpg", "40x60")
    assert demo.main(arguments_of(case, folders, tmp_path)) == 0
    summary = json.loads((tmp_path / "rotated.json").read_text())
    labels = np.asarray(Image.open(tmp_path / "rotated_labels.png"))
    assert labels.shape == (60, 40) and labels.max() <= 1
    for word in summary["words"]:
        assert word["area_pixels"] == (labels == word["label"]).sum()
    assert summary["vocabulary"] == [["cat"], ["sofa", "couch"]] and summary["synonyms"] == "mean"
    assert summary["model"] == "tiny" and summary["weights"].endswith("tiny.pth")
    assert Image.open(tmp_path / "rotated_overlay.png").width >= 320
    out = capsys.readouterr().out
    for part in (
        "model       tiny (CATSeg)",
        "weights     ",
        "device      cpu, float32",
        "vocabulary  cat, sofa|couch (mean of the synonyms)",
    ):
        assert part in out


def test_an_emulated_precision(folders, tmp_path, demo, capsys, monkeypatch):
    """float32 answers, and one line says why."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    case = Case("bfloat16", (*IMG, *CATS, "--dtype", "bfloat16"), 0, "")
    assert demo.main(arguments_of(case, folders, tmp_path)) == 0
    out, err = capsys.readouterr()
    assert "device      cpu, float32" in out
    assert json.loads((tmp_path / "img.json").read_text())["precision"] == "float32"
    logged = [line for line in err.splitlines() if "bfloat16" in line]
    assert len(logged) <= 1 and all("can only emulate bfloat16" in line for line in logged)


def test_interrupted(folders, tmp_path, demo, capsys, monkeypatch):
    """Ctrl-C while the second file of the second picture is written."""
    from openvocab.inference import outputs

    encode = outputs.encode

    def encode_until(pixels, form, file):
        encode(pixels, form, file)
        if Path(file.name).name.startswith("img_labels"):
            raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "encode", encode_until)
    case = Case("interrupted", ("--input", *("{pictures}/" + name for name in ("grey.png", "img.png")), *CATS), 130, "")
    assert demo.main(arguments_of(case, folders, tmp_path / "output")) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "interrupted, 1 of 2 pictures done; the same command goes on from there"
    )
    assert sorted(os.listdir(tmp_path / "output")) == [*expected_files(("grey",)), RECORD]


def test_a_full_disk(folders, tmp_path, demo, capsys, full_disk):
    Image.fromarray(np.zeros((200, 600, 3), np.uint8)).save(tmp_path / "wide.png")
    case = Case("full disk", ("--input", str(tmp_path / "wide.png"), *CATS), 2, "")
    with full_disk():
        code = demo.main(arguments_of(case, folders, tmp_path / "output"))
    assert code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"{tmp_path}/wide.png: File too large: " in line and "/output/wide_" in line
    assert os.listdir(tmp_path / "output") == []


@pytest.mark.slow
def test_a_picture_of_48_million_pixels(folders, tmp_path, demo, capsys):
    y, x = np.mgrid[0:6000, 0:8000].astype(np.uint16)
    Image.fromarray(np.dstack([y // 24, x // 32, (x + y) // 55]).astype(np.uint8)).save(tmp_path / "huge.jpg")
    case = Case("huge", ("--input", str(tmp_path / "huge.jpg"), *CATS), 0, "")
    assert demo.main(arguments_of(case, folders, tmp_path / "output")) == 0
    assert "huge.jpg  8000x6000  " in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "output")) == expected_files(("huge",))
    with Image.open(tmp_path / "output" / "huge_labels.png") as labels:
        assert labels.size == (8000, 6000)


@pytest.mark.parametrize("case", [picture("img.jpg", "60x40"), CASES[0]], ids=["works", "fails"])
def test_as_a_process(case, folders, tmp_path, repository):
    """The same without pytest around it: exit code, streams, and no traceback."""
    command = [sys.executable, str(repository / "demo" / "demo.py"), *arguments_of(case, folders, tmp_path / "output")]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900)
    assert done.returncode == case.code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr, "a library's warning, which a user cannot act on"
    if case.code:
        assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] and not done.stdout
    else:
        assert case.line[2:] in done.stdout
        assert sorted(os.listdir(tmp_path / "output")) == expected_files(case.stems)
