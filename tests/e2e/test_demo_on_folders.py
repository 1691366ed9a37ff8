"""The demo on whole folders: what is replaced, what is left out, how it ends."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from stub import Stub, blank

from openvocab.inference.record import RECORD
from openvocab.inference.result import Result

WORDS = ("--vocabulary", "cat")


@pytest.fixture
def run(demo, capsys, monkeypatch):
    """Runs the demo with a model that says "cat" to every picture; gives exit code, output and errors."""

    def start(*arguments, segment=blank):
        load = lambda *_: segment and Stub(segment) or pytest.fail("the model was loaded")  # noqa: E731
        monkeypatch.setattr("openvocab.cli.segment._segmenter", load)
        code = demo.main([*map(str, arguments), *WORDS])
        return code, *capsys.readouterr()

    return start


@pytest.fixture
def album(tmp_path) -> Path:
    """Two pictures."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("beach.png", "cat.png"):
        Image.new("RGB", (60, 40), "blue").save(folder / name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outputs(*stems: str) -> set[str]:
    return {f"{stem}{end}" for stem in stems for end in ("_overlay.png", "_labels.png", ".json")}


@pytest.mark.parametrize("name", ["beach.json", "cat_labels.png", "cat_overlay.png"])
def test_a_foreign_file_in_the_way_stops_everything_before_the_model(run, album, name):
    # A picture that would itself be an input, the annotations of a tool, a map painted by hand.
    (album / name).write_text("mine")
    before = contents(album)
    code, out, err = run("--input", album / "beach.png", album / "cat.png", "--output", album, segment=None)
    assert (code, out, contents(album)) == (2, "", before)
    (line,) = err.splitlines()
    assert line.startswith("error: output: expected nothing or") and f"got 1 other: {album / name}" in line


def test_nothing_is_made_where_something_foreign_is_in_the_way(run, album, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "cat.json").symlink_to(album / "absent")
    (target / "beach_labels.png").mkdir()
    code, out, err = run("--input", album, "--output", target, segment=None)
    assert code == 2 and "got 2 others: " in err and len(os.listdir(target)) == 2


def test_the_folder_of_the_pictures_may_be_that_of_the_outputs_twice(run, album):
    before = contents(album)
    first = run("--input", album, "--output", album)
    assert first[0] == 0 and first[1].endswith("2 done, 0 failed\n") and not first[2]
    assert set(os.listdir(album)) == set(before) | outputs("beach", "cat")
    second = run("--input", album, "--output", album)
    assert second[0] == 0 and second[1].endswith(
        "2 done, 0 failed, left out 6 outputs of this program: beach.json, beach_labels.png and 4 more\n"
    )
    assert set(os.listdir(album)) == set(before) | outputs("beach", "cat")
    assert {name: contents(album)[name] for name in before} == before


def test_outputs_alone_are_nothing_to_do(run, album, tmp_path):
    run("--input", album, "--output", tmp_path / "out")
    for inputs in ([tmp_path / "out"], [tmp_path / "out" / "cat_overlay.png"], [tmp_path / "out" / "*_labels.png"]):
        code, out, err = run("--input", *inputs, "--output", tmp_path / "more", segment=None)
        assert code == 2 and not out and not (tmp_path / "more").exists()
        (line,) = err.splitlines()
        assert line.startswith("error: input: no pictures, left out ") and "of this program: " in line


def test_one_picture_and_nothing_left_out_needs_no_last_line(run, album, tmp_path):
    code, out, err = run("--input", album / "cat.png", "--output", tmp_path / "out")
    assert code == 0 and "done" not in out and not err


def test_a_mixed_folder(run, album, tmp_path):
    for name in ("IMG_1.HEIC", "shot.nef", "notes.txt", ".DS_Store"):
        (album / name).touch()
    (album / "broken.jpg").write_text("no picture")
    code, out, err = run("--input", album, "--output", tmp_path / "out")
    assert code == 1 and out.endswith("2 done, 3 failed, left out 2 other files or folders\n")
    assert len(err.splitlines()) == 3 and set(os.listdir(tmp_path / "out")) == outputs("beach", "cat") | {RECORD}
    for name in ("IMG_1.HEIC", "shot.nef", "broken.jpg"):
        assert f"{album}/{name}" in err


def test_only_pictures_that_cannot_be_read_need_no_model(run, album, tmp_path):
    (album / "a.heic").touch()
    code, out, err = run("--input", album / "a.heic", album / "gone.png", "--output", tmp_path / "out", segment=None)
    assert code == 2 and out == "0 done, 2 failed\n" and len(err.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_an_unforeseen_error_in_the_middle(run, album, tmp_path, caplog):
    def segment(picture):
        if picture.name == "beach.png":
            raise NotImplementedError("DXGI format 93")
        return blank(picture)

    code, out, err = run("--input", album, "--output", tmp_path / "out", segment=segment)
    assert code == 1 and out.endswith("1 done, 1 failed\n") and "Traceback" in caplog.text
    assert f"error: {album}/beach.png: NotImplementedError: DXGI format 93" in err
    assert set(os.listdir(tmp_path / "out")) == outputs("cat") | {RECORD}


def test_a_full_disk_ends_it_with_one_line(run, album, tmp_path, monkeypatch):
    save_all = Result.save_all

    def full(self, folder, stem, *options):
        if stem == "cat":
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / stem))
        return save_all(self, folder, stem, *options)

    Image.new("RGB", (6, 4)).save(album / "dog.png")
    monkeypatch.setattr(Result, "save_all", full)
    code, out, err = run("--input", album, "--output", tmp_path / "out")
    assert code == 1 and out.count("\n[") + out.startswith("[") == 1
    assert err == (
        f"error: stopped, 1 of 3 pictures done: No space left on device: {tmp_path}/out/cat; "
        "the same command goes on from there\n"
    )


def test_names_that_are_no_utf8_or_far_too_long(run, album, tmp_path):
    source = (album / "cat.png").read_bytes()
    for name in (b"Caf\xe9.png", b"x" * 240 + b".png", b"two\nlines.png"):
        with open(os.path.join(os.fsencode(album), name), "wb") as file:
            file.write(source)
    code, out, err = run("--input", album, "--output", tmp_path / "out")
    assert code == 0 and out.endswith("5 done, 0 failed\n") and not err
    assert r"/Caf\udce9.png  60x40" in out and r"/two\nlines.png  60x40" in out
    assert len(os.listdir(tmp_path / "out")) == 15
    summary = json.loads((tmp_path / "out" / os.fsdecode(b"Caf\xe9.json")).read_bytes().decode("utf-8"))
    assert os.fsencode(summary["weights"]).endswith(b"/Caf\xe9.png")


PROGRAM = """
import runpy, sys, types
sys.path.insert(0, {tests!r})
from stub import Stub
Stub.load = classmethod(lambda cls, *_, **__: sys.exit("torch is there") if "torch" in sys.modules else Stub())
sys.modules["openvocab.inference.loading"] = types.SimpleNamespace()  # without torch: a tenth of the time
sys.modules["openvocab.inference.segmenter"] = types.SimpleNamespace(Segmenter=Stub)
runpy.run_path({demo!r}, run_name="__main__")
"""


def test_a_reader_that_has_gone_and_a_terminal_without_letters(album, tmp_path, repository):
    os.rename(album / "cat.png", album / "猫.png")
    code = PROGRAM.format(tests=str(Path(__file__).parent), demo=str(repository / "demo" / "demo.py"))
    command = [sys.executable, "-c", code, "--input", str(album), "--output", str(tmp_path / "out"), *WORDS,
               "--model", "emojiscapes_catseg"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository), "PYTHONIOENCODING": "ascii"}
    environment.pop("PYTHONUNBUFFERED", None)
    whole = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert whole.returncode == 0 and rb"\u732b.png  60x40" in whole.stdout, whole.stderr
    reading, writing = os.pipe()
    os.close(reading)
    gone = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE, timeout=300)
    os.close(writing)
    assert gone.returncode == 2
    assert gone.stderr == b"error: stopped, 0 of 2 pictures done: standard output: Broken pipe\n"
