"""The demo on a video: options, order of checks, words encoded once, interruption, a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from videos import write_frames

from openvocab.clip.text_encoder import TextEncoder
from openvocab.inference import marks

WORDS = ("--vocabulary", "cat, sofa|couch")


def write(path: Path, frames: int, rate: float = 10.0) -> Path:
    scene = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8), (64, 48))
    moved = [np.ascontiguousarray(np.roll(scene, shift, axis=1)) for shift in range(frames)]
    return write_frames(path, moved, rate)


def length(path: Path) -> tuple[int, float]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while capture.read()[0]:
        count += 1
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return count, rate


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "in.mp4", 8)


@pytest.fixture
def run(demo, capsys, tiny):
    def start(*arguments):
        model = ("--config-file", str(tiny.config), "--weights", str(tiny.weights), "--device", "cpu")
        code = demo.main([*map(str, arguments), *WORDS, *model])
        return code, *capsys.readouterr()

    return start


@pytest.fixture
def without_model(demo, monkeypatch, run):
    monkeypatch.setattr("openvocab.cli.segment._segmenter", lambda *_: pytest.fail("the model was loaded"))
    return run


def test_a_video_of_the_same_length_and_words_encoded_once(run, source, tmp_path, monkeypatch):
    encoded = []
    encode = TextEncoder._encode
    monkeypatch.setattr(
        TextEncoder, "_encode", lambda self, words, templates: encoded.append(words) or encode(self, words, templates)
    )
    target = tmp_path / "out" / "masks.mp4"
    for _ in range(2):  # the second replaces the first
        encoded.clear()
        code, out, err = run("--video-input", source, "--output", target, "--background", "sky", "--threshold", 0.1)
        assert (code, err) == (0, "") and length(target) == (8, 10.0)
        assert len(encoded) == 1, "for eight frames"
    lines = out.splitlines()
    assert lines[-2] == f"video       {source}: 64x48, 8 frames, 10 frames/s, 0.8 s"
    assert lines[-1].startswith(f"output      {target}: 64x48, 8 frames, 10 frames/s, 0.8 s, codec mp4v (")
    assert os.listdir(target.parent) == ["masks.mp4"] and marks.kind_of(target) == marks.SEGMENTATION


def test_the_frames_are_those_of_the_picture_path(run, source, tmp_path, monkeypatch):
    """Colours in the right order, the legend, the words: what is written is the overlay of the frame."""
    from openvocab.inference.result import Result

    shown = []
    overlay = Result.overlay
    monkeypatch.setattr(Result, "overlay", lambda self: shown.append((self.image, overlay(self))) or shown[-1][1])
    assert run("--video-input", source, "--output", tmp_path / "out.mp4")[0] == 0
    reader, own = cv2.VideoCapture(str(source)), cv2.VideoCapture(str(tmp_path / "out.mp4"))
    for image, picture in shown:
        np.testing.assert_array_equal(reader.read()[1][..., ::-1], image)
        # The codec halves the colours' resolution; red and blue the other way round would be 40 and more.
        assert np.abs(own.read()[1][..., ::-1].astype(int) - picture).mean() < 15
    reader.release(), own.release()


@pytest.mark.parametrize(
    "arguments,message",
    [
        (("--video-input", "{in}", "--input", "a.png"), "not allowed with argument"),
        (("--video-input", "{in}", "--webcam"), "not allowed with argument"),
        (("--webcam", "x"), "invalid int value"),
        (("--webcam", "97", "--output", "{new}"), "camera: number 97 cannot be opened"),
        (("--video-input", "{dir}/gone.mp4", "--output", "{new}"), "video: no such file"),
        (("--video-input", "{in}", "--output", "{dir}"), "output: expected a file that ends in .mp4"),
        (("--video-input", "{in}", "--output", "{in}"), "output: expected another file than the video that is read"),
        (("--video-input", "{in}", "--output", "{mine}"), "output: expected nothing or an earlier segmentation"),
        (
            ("--video-input", "{in}", "--output", "{new}", "--vocabulary-file", "a.txt"),
            "expected one of them, got both",
        ),
    ],
)
def test_errors_before_the_model(without_model, source, tmp_path, arguments, message):
    (tmp_path / "mine.mp4").write_text("mine")
    places = {"in": source, "dir": tmp_path, "new": tmp_path / "new.mp4", "mine": tmp_path / "mine.mp4"}
    code, out, err = without_model(*(argument.format_map(places) for argument in arguments))
    (line,) = err.splitlines()
    assert (code, out) == (2, "") and line.startswith("error: ") and message in line
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "mine.mp4"]


def test_no_display(without_model, source, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, out, err = without_model("--video-input", source)
    (line,) = err.splitlines()
    assert (code, out) == (2, "") and line.startswith("error: window: none can be opened here, by --output FILE.mp4")


def test_interrupted(demo, run, source, tmp_path, monkeypatch):
    calls = []

    def segment(picture, *_, **__):
        calls.append(picture)
        if len(calls) == 4:
            raise KeyboardInterrupt
        from openvocab.inference.result import Result

        size = picture.shape[:2]
        return Result(np.ascontiguousarray(picture), np.zeros(size, np.int32), np.ones(size, np.float32), ["cat"])

    monkeypatch.setattr("openvocab.cli.segment._segmenter", lambda *_: segment)
    code, _, err = run("--video-input", source, "--output", tmp_path / "out.mp4")
    assert (code, err) == (130, "interrupted, 3 of 8 frames done, nothing written\n")
    assert os.listdir(tmp_path) == ["in.mp4"]


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(repository, tiny, tmp_path):
    source, target = write(tmp_path / "in.mp4", 400), tmp_path / "out" / "masks.mp4"
    command = [
        sys.executable,
        repository / "demo" / "demo.py",
        "--video-input",
        source,
        "--output",
        target,
        *WORDS,
        "--config-file",
        tiny.config,
        "--weights",
        tiny.weights,
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (partial := list(target.parent.glob("*.partial"))) or partial[0].stat().st_size < 1000:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert os.listdir(target.parent) == [partial[0].name], "nothing under the final name"
    write(source, 5)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "") and length(target) == (5, 10.0)
    assert sorted(os.listdir(target.parent)) == sorted([target.name, partial[0].name])
