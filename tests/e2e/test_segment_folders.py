"""`openvocab segment` on many pictures: going on, formats, sub-folders, two processes, estimates; without a model."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image
from stub import Stub, blank

from openvocab.cli import segment
from openvocab.inference.batch import BatchStoppedError
from openvocab.inference.plan import LOCK
from openvocab.inference.record import RECORD, Record
from openvocab.inference.result import Result
from openvocab.locks import lock

NAMES = "abcde"


@pytest.fixture
def album(tmp_path) -> Path:
    folder = tmp_path / "album"
    for name in (*NAMES, "sub/a", "sub/deeper/f"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + ord(name[-1]), 16), "blue").save(folder / f"{name}.png")
    return folder


@pytest.fixture
def run(album, tmp_path, capsys, monkeypatch):
    """Runs the command; gives exit code, lines of output and of errors, and the pictures that were asked for."""

    def start(*arguments, segment_one=blank, words="cat"):
        asked = []
        stub = Stub(lambda picture: asked.append(picture.name) or segment_one(picture))
        monkeypatch.setattr(segment, "_segmenter", lambda *_: stub)
        code = segment.main(["--input", str(album), "--output", str(tmp_path / "out"), "--vocabulary", words,
                             *map(str, arguments)])  # fmt: skip
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines(), asked

    return start


@pytest.fixture
def full_at(monkeypatch):
    """Gives a function that makes the disk full when the outputs of a picture are written."""
    save_all = Result.save_all

    def full(stem):
        def save(self, folder, own, *options):
            if own == stem:
                raise OSError(errno.ENOSPC, "No space left on device", f"{folder}/{own}")
            return save_all(self, folder, own, *options)

        monkeypatch.setattr(Result, "save_all", save if stem else save_all)

    return full


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_command_goes_on(run, full_at, tmp_path):
    formats = ("--format", "png,json,coco,npz,labelme", "--recursive")
    assert run(*formats)[0] == 0
    unbroken = contents(tmp_path / "out")
    assert RECORD not in unbroken and len(unbroken) == 6 * 7 + 1
    shutil.rmtree(tmp_path / "out")
    full_at("d")
    code, out, err, _ = run(*formats)
    assert code == 1 and RECORD in os.listdir(tmp_path / "out") and "coco.json" not in os.listdir(tmp_path / "out")
    assert err[-1].startswith("error: stopped, 3 of 7 pictures done: ") and "the same command goes on" in err[-1]
    (tmp_path / "out" / "d_labels.png.0123abcd.partial").write_text("of a killed process")
    (tmp_path / "out" / "mine.png.0123abcd.partial").write_text("mine")
    full_at(None)
    code, out, err, asked = run(*formats)
    assert code == 0 and not err and "3 of 7 done before, 4 to do" in out and out[-1] == "7 done, 0 failed"
    assert asked == ["d.png", "e.png", "a.png", "f.png"]
    (tmp_path / "out" / "mine.png.0123abcd.partial").unlink()
    assert contents(tmp_path / "out") == unbroken


def test_what_has_changed_is_done_again(run, full_at, album, tmp_path):
    full_at("e")
    run()
    full_at(None)
    Image.new("RGB", (99, 16), "red").save(album / "b.png")
    (tmp_path / "out" / "c.json").unlink()
    (tmp_path / "out" / "d.json").write_bytes((tmp_path / "out" / "d.json").read_bytes() + b" ")
    code, out, _, asked = run()
    assert code == 0 and "1 of 5 done before, 4 to do" in out and asked == ["b.png", "c.png", "d.png", "e.png"]
    assert json.loads((tmp_path / "out" / "b.json").read_text())["width"] == 99


def test_another_question_begins_anew(run, full_at):
    full_at("e")
    run()
    full_at(None)
    code, out, _, asked = run(words="cat, dog")
    assert code == 0 and "another question was asked here before (words): all is done anew" in out and len(asked) == 5
    full_at("c")
    run("--threshold", "0.5")
    code, out, *_ = run("--format", "png", "--threshold", "0.4")
    assert "another question was asked here before (threshold, formats): all is done anew" in out


def test_pictures_that_failed_are_asked_again(run, album, tmp_path):
    whole = (album / "c.png").read_bytes()
    (album / "c.png").write_bytes(whole[:60])
    code, out, err, _ = run("--format", "coco")
    assert code == 1 and out[-1] == "4 done, 1 failed, left out 1 other file" and len(err) == 1

    def names():
        content = json.loads((tmp_path / "out" / "coco.json").read_text())
        return [image["file_name"] for image in content["images"]]

    assert names() == ["a.png", "b.png", "d.png", "e.png"]
    (album / "c.png").write_bytes(whole)
    code, out, err, asked = run("--format", "coco")
    assert code == 0 and asked == ["c.png"] and "4 of 5 done before, 1 to do" in out and not err
    assert names() == ["a.png", "b.png", "c.png", "d.png", "e.png"] and RECORD not in os.listdir(tmp_path / "out")


def test_folders_below_keep_their_place(run, album, tmp_path):
    code, out, _, asked = run("--recursive", "--format", "coco,labelme", "--output", album / "masks")
    assert code == 0 and asked == [f"{name}.png" for name in (*NAMES, "a", "f")]
    assert out[-1] == "7 done, 0 failed"
    made = {str(path.relative_to(album / "masks")) for path in (album / "masks").rglob("*.json")}
    assert made == {
        f"{stem}_{form}.json" for stem in (*NAMES, "sub/a", "sub/deeper/f") for form in ("coco", "labelme")
    } | {"coco.json"}
    images = json.loads((album / "masks" / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images][-2:] == ["sub/a.png", "sub/deeper/f.png"]
    labelme = json.loads((album / "masks" / "sub" / "deeper" / "f_labelme.json").read_text())
    assert labelme["imagePath"] == "../../../sub/deeper/f.png"
    again = run("--recursive", "--format", "coco,labelme", "--output", album / "masks")
    assert again[0] == 0 and len(again[3]) == 7 and "left out 15 outputs of this program" in again[1][-1]


def test_a_picture_that_is_called_as_the_file_of_all(run, album, tmp_path):
    (album / "a.png").rename(album / "coco.png")
    assert run("--format", "json,coco")[0] == 0
    assert {"coco.json", "coco-2.json", "coco-2_coco.json"} < set(os.listdir(tmp_path / "out"))


def test_two_processes_in_one_folder(run, tmp_path):
    (tmp_path / "out").mkdir()
    claim = lock(tmp_path / "out" / LOCK, "--output")
    code, out, err, asked = run()
    assert (code, out, asked, os.listdir(tmp_path / "out")) == (2, [], [], [LOCK])
    assert len(err) == 1 and f"error: --output: {tmp_path}/out is in use by process {os.getpid()} on " in err[0]
    claim.close()
    assert run()[0] == 0 and LOCK not in os.listdir(tmp_path / "out")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--format", "pgn"), "--format: got 'pgn', did you mean png?, expected some of"),
    (("--format", "png,"), "--format: got ''"),
    (("--batch-size", "0"), "--batch-size: expected at least 1, got 0"),
    (("--batch-size", "two"), "argument --batch-size: invalid int value: 'two'"),
])  # fmt: skip
def test_wrong_options(run, tmp_path, arguments, message):
    code, out, err, _ = run(*arguments)
    assert code == 2 and len(err) == 1 and message in err[0] and not (tmp_path / "out").exists()


def test_options_without_effect(capsys, album):
    words = ["--vocabulary", "cat"]
    assert segment.main(["--input", str(album / "a.png"), "--recursive", *words]) == 2
    assert "--recursive: expected a folder among the inputs, got " in capsys.readouterr().err
    for option in (["--recursive"], ["--format", "png"], ["--batch-size", "2"]):
        assert segment.main(["--video-input", "clip.mp4", *option, *words]) == 2
        assert f"error: {option[0]}: got it with a video or a camera" in capsys.readouterr().err


def test_an_estimate_of_many_and_too_little_room(run, album, tmp_path, monkeypatch):
    for number in range(6):
        shutil.copy(album / "a.png", album / f"x{number}.png")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    code, out, err, _ = run()
    (line,) = [line for line in out if line.startswith("estimate ")]
    assert "each: 11 pictures take about " in line and out.index(line) == 6, "behind the third picture"
    assert len(err) == 1 and err[0].startswith("warning: output: about ") and err[0].endswith("0.01 MB are free")
    assert code == 0 and sum(" left)" in line for line in out) == 8, "from the third to the last but one"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**12))
    assert run()[2] == []


def test_sigterm_ends_as_ctrl_c_does(run, tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def segment_one(picture):
        if picture.name == "e.png":
            os.kill(os.getpid(), signal.SIGTERM)
        return blank(picture)

    code, _, err, _ = run(segment_one=segment_one)
    assert code == 130 and err[-1].endswith("of 5 pictures done; the same command goes on from there")
    assert signal.getsignal(signal.SIGTERM) == before
    assert {RECORD} == {name for name in os.listdir(tmp_path / "out") if name.startswith("openvocab")}
    assert run()[0] == 0


def test_a_record_that_cannot_be_written_stops_it(run, monkeypatch):
    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Record, "add", full)
    code, _, err, _ = run()
    assert code == 1 and len(err) == 1 and f"{RECORD}: No space left on device" in err[0]


def test_a_picture_that_is_gone_when_it_is_noted_is_said(run, album):
    def segment_one(picture):
        result = blank(picture)
        if picture.name == "b.png":
            picture.unlink()
        return result

    code, out, err, _ = run(segment_one=segment_one)
    assert code == 0 and out[-1].startswith("5 done") and len(err) == 1 and "b.png: gone since" in err[0]


def test_the_coco_file_of_all_onto_a_full_disk(run, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "coco.json")

    monkeypatch.setattr("openvocab.inference.coco_folder.write_whole", full)
    code, _, err, _ = run("--format", "coco")
    assert code == 1 and "stopped, 5 of 5 pictures done: " in err[-1] and BatchStoppedError.__name__ not in err[-1]
    monkeypatch.undo()
    code, out, _, asked = run("--format", "coco")
    assert code == 0 and not asked and "5 of 5 done before, 0 to do" in out
    assert (tmp_path / "out" / "coco.json").exists()
