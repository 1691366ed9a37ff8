"""`openvocab export` and `openvocab words`: files that strangers can use, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from openvocab import Segmenter
from openvocab.cli import export, words
from openvocab.export import checking, files, graphs
from openvocab.inference import marks
from openvocab.inference.embeddings import use_embeddings
from openvocab.vocab.vocabulary import Vocabulary

LSEG = "emojiscapes_lseg"


@pytest.fixture
def untraced(monkeypatch):
    """Exports at once, into files that say nothing, whose check gives what the test wants."""
    answer = checking.Agreement(0.0, 1.0, 0.1, 0.1)
    monkeypatch.setattr(graphs, "_traced", lambda *_: None)
    monkeypatch.setattr(files, "torch_file", lambda *_: b"PK\3\4" + bytes(9000) + marks.TEXTS[marks.EXPORT].encode())
    monkeypatch.setattr(checking, "run_torch", lambda _: None)
    monkeypatch.setattr(checking, "compare", lambda *_: answer)
    return lambda agreement: monkeypatch.setattr(checking, "compare", lambda *_: agreement)


def error_of(capsys, main, *arguments):
    assert main(list(map(str, arguments))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1 == len(lines), lines
    return lines[0].removeprefix("error: ")


def test_both_files_are_there_and_known_as_ours(folder, capsys):
    assert sorted(path.name for path in folder.iterdir()) == [f"{LSEG}.pt2", f"{LSEG}_text.pt2"]
    assert {marks.kind_of(path) for path in folder.iterdir()} == {marks.EXPORT}
    assert export.main(["--describe", str(folder / f"{LSEG}.pt2")]) == 0
    out = capsys.readouterr().out
    for part in ("image (h, w, 3) uint8", "embeddings (T, 1, 128) float32", "labels (h, w) int32",
                 "scores (h, w) float32", "method        LSeg", "clip          emojiscapes-vit-s8",
                 "licence       MIT; trained on"):  # fmt: skip
        assert part in out


def test_torch_alone_loads_it(folder, tmp_path):
    program = (
        "import sys, torch\n"
        f"run = torch.export.load({str(folder / f'{LSEG}.pt2')!r}).module()\n"
        "labels, scores = run(torch.zeros(30, 50, 3, dtype=torch.uint8), torch.eye(128)[:3, None])\n"
        "print(tuple(labels.shape), labels.dtype, float(scores.min()) > 0.3, 'openvocab' in sys.modules)\n"
    )
    got = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert got.stdout == "(30, 50) torch.int32 True False\n", got.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "MODEL and --config-file: expected one of them"),
    (["emojiscapes_lseg"], "--to: expected onnx or torch, got none"),
    (["emojiscapes_lseg", "--to", "tensorrt"], "argument --to: invalid choice"),
    (["emojiscapes_lseg", "--to", "torch", "--opset", "20"], "--opset: expected it with --to onnx only"),
    (["emojiscapes_lseg", "--to", "onnx", "--opset", "7"], "opset: expected 18..23, got 7"),
    (["emojiscapes_lseg", "--to", "torch", "--dtype", "int8"], "argument --dtype: invalid choice"),
    (["emojiscapes_lesg", "--to", "torch"], "did you mean"),
    (["--config-file", "catseg_b", "--to", "torch"], "--config-file: expected --weights beside it"),
    (["--describe", "nothing.onnx"], "describe: no such file: nothing.onnx"),
])  # fmt: skip
def test_what_cannot_be(capsys, arguments, message):
    assert message in error_of(capsys, export.main, *arguments)


def test_another_file_stays(capsys, tmp_path):
    (tmp_path / f"{LSEG}_text.pt2").write_bytes(b"mine")
    assert "left as it is" in error_of(capsys, export.main, LSEG, "--to", "torch", "--output", tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_earlier_exports_are_replaced(untraced, tmp_path):
    for _ in range(2):
        assert export.main([LSEG, "--to", "torch", "--output", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_a_file_that_answers_otherwise_is_not_written(capsys, untraced, tmp_path, difference):
    untraced(checking.Agreement(difference, 0.5, 0.1, 0.1))
    assert "nothing was written" in error_of(capsys, export.main, LSEG, "--to", "torch", "--output", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk(capsys, untraced, full_disk, tmp_path):
    with full_disk():
        code = export.main([LSEG, "--to", "torch", "--output", str(tmp_path)])
    assert code == 2 and "File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_too_large(capsys, untraced, tmp_path, monkeypatch):
    from openvocab.export import run

    monkeypatch.setattr(run, "ONNX_LIMIT", 9e6)
    message = error_of(capsys, export.main, LSEG, "--to", "onnx", "--output", tmp_path / "new")
    assert "an ONNX file holds 0.0 GB at most" in message and "--to torch" in message
    usage = run.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(run.shutil, "disk_usage", lambda _: usage)
    message = error_of(capsys, export.main, LSEG, "--to", "torch", "--output", tmp_path / "new")
    assert "MB are needed in" in message and "0 MB are free" in message and not (tmp_path / "new").exists()


def test_words_travel(capsys, tmp_path):
    """They have the values of a call, also for who reads the file by hand, and are not encoded again."""
    path = tmp_path / "words.safetensors"
    assert words.main(["cat, dog|puppy", "--model", LSEG, "--output", str(path)]) == 0
    assert marks.kind_of(path) == marks.EMBEDDINGS
    segmenter = Segmenter.load(LSEG, device="cpu")
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    values = np.frombuffer(content[start:], np.float32).reshape(header["embeddings"]["shape"])
    np.testing.assert_array_equal(values[:, 0], segmenter.text_embeddings(["cat", "dog|puppy"]))
    segmenter.model.text_encoder.train(False)  # forgets
    vocabulary = use_embeddings(segmenter, path)
    assert vocabulary == Vocabulary.from_words(["cat", "dog|puppy"], "mean") == Vocabulary.from_file(path)
    segmenter.model.text_encoder._encode = None  # nobody calls it
    assert segmenter(np.zeros((40, 40, 3), np.uint8), vocabulary).names == ["cat", "dog"]


def test_words_of_another_clip_are_refused(capsys, tmp_path):
    path = tmp_path / "words.safetensors"
    assert words.main(["cat, dog", "--model", LSEG, "--output", str(path)]) == 0
    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")  # of a CLIP with the same name, trained further
    with pytest.raises(ValueError, match=r"embeddings of another CLIP's text tower \(emojiscapes-vit-s8"):
        use_embeddings(segmenter, path)


@pytest.mark.parametrize("damage", [lambda content: content[:40], lambda content: content[:-4], lambda content: b"",
                                    lambda content: content.replace(b"text_tower", b"text_flower")])  # fmt: skip
def test_damaged_words(tmp_path, damage):
    path = tmp_path / "words.safetensors"
    assert words.main(["cat, dog", "--model", LSEG, "--output", str(path)]) == 0
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"words: {path}"):
        use_embeddings(Segmenter.load(LSEG, device="cpu"), path)


@pytest.mark.parametrize(("arguments", "message"), [
    (["cat", "--model", LSEG, "--output", "words.txt"], "expected a file that ends in .safetensors, got words.txt"),
    (["cat", "--output", "w.safetensors"], "--model and --config-file: expected one of them"),
    (["cat", "--output", "w.safetensors", "--near", "0"], "--near: expected a cosine above 0"),
    (["nothing.txt", "--model", LSEG, "--output", "w.safetensors"], "there is no vocabulary file nothing.txt"),
    (["cat, cat", "--model", LSEG, "--output", "w.safetensors"], "cat"),
])  # fmt: skip
def test_words_that_cannot_be(capsys, arguments, message):
    assert message in error_of(capsys, words.main, *arguments)


def test_segment_takes_them(tmp_path):
    from openvocab.cli import segment

    path, picture = tmp_path / "words.safetensors", tmp_path / "picture.png"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(picture)
    assert words.main(["cat, dog", "--model", LSEG, "--output", str(path)]) == 0
    arguments = ["--input", str(picture), "--vocabulary-file", str(path), "--output", str(tmp_path), "--device", "cpu"]
    assert segment.main([*arguments, "--model", LSEG]) == 0
    assert (tmp_path / "picture_labels.png").is_file()
    assert segment.main([*arguments, "--model", "emojiscapes_catseg"]) == 2
