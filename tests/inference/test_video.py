"""Videos: every frame, at its time, whatever the file; written whole or not at all."""

import math
import os
import shutil
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import videos
from PIL import Image

from openvocab.inference import marks
from openvocab.inference.video import window
from openvocab.inference.video.containers import announced
from openvocab.inference.video.pacing import paced, read_ahead
from openvocab.inference.video.reading import Video, open_camera, open_file
from openvocab.inference.video.run import VideoRun
from openvocab.inference.video.writing import Form, check_target, write_video

GREYS = [20, 60, 100, 140, 180, 220]


class Capture:
    """A capture with made times."""

    def __init__(self, times: list[float], rate: float = 10.0, count: float = 0.0, pixels=videos.grey(100)):  # noqa: B008
        self.times, self.place, self.pixels = times, -1, pixels
        self.properties = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: count}

    def read(self):
        self.place += 1
        there = self.place < len(self.times)
        return there, self.pixels if there else None

    def get(self, key: int) -> float:
        return 1000 * self.times[self.place] if key == cv2.CAP_PROP_POS_MSEC else self.properties.get(key, 0.0)

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def release(self):
        pass


def run(source: Path, target: Path, segment=lambda frame: frame) -> int:
    with open_file(source) as video:
        return VideoRun(video, target, source).segment(segment)


def test_a_video_in_and_one_of_the_same_length_out(tmp_path, capsys):
    source = videos.write(tmp_path / "in.mp4", GREYS, rate=12.5)
    assert run(source, tmp_path / "new" / "out.mp4") == 0
    frames, rate = videos.read(tmp_path / "new" / "out.mp4")
    assert (len(frames), rate, frames[0].shape) == (6, 12.5, (48, 64, 3))
    assert videos.values_of(tmp_path / "new" / "out.mp4") == GREYS
    assert "out.mp4: 64x48, 6 frames, 12.5 frames/s, 0.5 s, codec mp4v (" in capsys.readouterr().out
    assert os.listdir(tmp_path / "new") == ["out.mp4"]


@pytest.mark.parametrize("lengths", [[0.1, 0.1, 0.5, 0.1, 0.1, 0.1], [0.1] * 5 + [0.7], [0.3, 0.1, 0.1, 0.4, 0.1, 0.2]])
def test_uneven_times_keep_the_length_and_every_frame_its_own(tmp_path, lengths):
    source = videos.set_lengths(videos.write(tmp_path / "in.mp4", GREYS), lengths)
    with open_file(source) as video:
        assert video.seconds == pytest.approx(sum(lengths)) and video.expected == len(lengths)
    assert announced(source).seconds == pytest.approx(sum(lengths)), "OpenCV has no length, and guesses at rates"
    assert run(source, tmp_path / "out.mp4") == 0
    frames, rate = videos.read(tmp_path / "out.mp4")
    assert len(frames) / rate == pytest.approx(sum(lengths), abs=0.5 / rate)
    shown = videos.values_of(tmp_path / "out.mp4")
    starts = np.cumsum([0, *lengths])
    middles = [GREYS[np.searchsorted(starts, (place + 0.5) / rate, "right") - 1] for place in range(len(shown))]
    assert sum(a != b for a, b in zip(shown, middles)) <= 1, "a change in the middle of a place may go either way"


def test_a_video_that_is_to_be_turned(tmp_path):
    source = videos.turn(videos.write(tmp_path / "in.mp4", GREYS))
    assert run(source, tmp_path / "out.mp4") == 0
    (frame, *_), _ = videos.read(tmp_path / "out.mp4")
    assert frame.shape == (64, 48, 3)
    assert frame[4, -4].min() > 200 > 60 > frame[-4, 4].max(), "the white corner is at the upper right"


@pytest.mark.parametrize("size", [(49, 65), (48, 63), (1, 1)])
def test_odd_sizes_lose_nothing(tmp_path, capsys, size):
    """OpenCV itself would cut the last row and column, also where it writes the source of a test."""
    noise = cv2.resize(np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8), size[::-1])
    video = Video(Capture([0.0, 0.1], pixels=noise), "made")
    assert VideoRun(video, tmp_path / "out.mp4").segment(lambda frame: frame) == 0
    (frame, *_), _ = videos.read(tmp_path / "out.mp4")
    assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(frame[: size[0], : size[1]].astype(int) - noise).mean() < 8
    assert f"({size[1]}x{size[0]} with its border repeated: mp4v takes even sides)" in capsys.readouterr().out


def test_a_cut_file_is_done_and_said(tmp_path, capsys):
    source = videos.index_first(videos.write(tmp_path / "in.mp4", GREYS * 5))
    assert len(videos.read(source)[0]) == 30
    whole = source.read_bytes()
    source.write_bytes(whole[: -len(whole) // 3])
    assert run(source, tmp_path / "out.mp4") == 1
    came = len(videos.read(tmp_path / "out.mp4")[0])
    assert 0 < came < 30
    (line,) = capsys.readouterr().err.splitlines()
    assert f"in.mp4: {came} of 30 frames could be read, " in line and line.endswith("bytes are missing at its end")


def test_a_cut_avi(tmp_path, capsys):
    source = videos.write(tmp_path / "in.avi", GREYS * 5)
    source.write_bytes(source.read_bytes()[:-5000])
    assert announced(source).missing == 5000
    assert run(source, tmp_path / "out.mp4") == 1
    assert "frames could be read" in capsys.readouterr().err


def test_what_matroska_announces(tmp_path):
    path = tmp_path / "a.mkv"
    path.write_bytes(b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67" + bytes([0x40, 100]) + bytes(60))
    assert announced(path).missing == 40 and not announced(path).listed
    path.write_bytes(b"\x1a\x45\xdf\xa3\x81\0" + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7 + bytes(60))
    assert announced(path).missing == 0, "a live recording does not know how long it becomes"


def picture(path: Path) -> None:
    Image.new("RGB", (64, 48)).save(path, format="PNG")


def without_index(path: Path) -> None:
    videos.write(path, GREYS)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "expected a file, got something else"),
        (lambda path: os.mkfifo(path), "expected a file, got something else"),
        (lambda path: path.touch(), "not a video that the FFmpeg inside OpenCV can read"),
        (lambda path: path.write_text("no video"), "not a video that the FFmpeg inside OpenCV can read"),
        (picture, "expected a video, got a picture"),
        (without_index, "200 bytes are missing at its end"),
    ],
)
def test_what_is_no_video_is_one_line(tmp_path, capfd, make, message):
    make(tmp_path / "in.mp4")
    with pytest.raises(ValueError, match=rf"^video: .*{message}.*in\.mp4$"), open_file(tmp_path / "in.mp4"):
        pytest.fail("opened")
    assert capfd.readouterr() == ("", ""), "nor do OpenCV and FFmpeg print anything"


def test_a_name_that_opencv_would_crash_on(tmp_path):
    source = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.mp4"))
    shutil.copy(videos.write(tmp_path / "in.mp4", GREYS), source)
    with pytest.raises(ValueError, match="no UTF-8"), open_file(source):
        pytest.fail("opened")
    assert run(tmp_path / "in.mp4", source.with_name("out" + source.name)) == 0


def test_times_that_make_no_sense(tmp_path):
    video = Video(Capture([0, 0, math.nan, 0.1, 95_000, 0.6], count=6), "made")
    times = [frame.seconds for frame in video.frames()]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.6])
    assert video.came == 6 and video.end() == pytest.approx(0.7) and video.shortfall() is None


@pytest.mark.parametrize("rate,taken", [(0, 30), (math.nan, 30), (90_000, 30), (-1, 30), (25, 25), (240, 240)])
def test_rates(rate, taken):
    assert Video(Capture([0.0], rate=rate), "made").rate == taken


def test_frames_that_end_early_where_the_number_is_an_estimate():
    video = Video(Capture([0.1 * i for i in range(10)], count=100), "made")
    assert len(list(video.frames())) == 10
    assert video.shortfall() == "10 frames could be read, to 1.0 s of about 10.0 s"
    assert video.end() == pytest.approx(1.0), "the last frame is not stretched over what is missing"


def test_no_frames():
    with pytest.raises(ValueError, match="video: no frames: made"):
        Video(Capture([]), "made")


def test_pacing():
    def lay(frames, rate, end):
        return list(paced([(name, seconds) for name, seconds in frames], rate, lambda: end))

    assert lay([("a", 0.0), ("b", 0.1), ("c", 0.2)], 10, 0.3) == [("a", 1), ("b", 1), ("c", 1)]
    assert lay([("a", 0.0), ("b", 0.5), ("c", 0.6)], 10, 1.0) == [("a", 5), ("b", 1), ("c", 4)]
    assert lay([("a", 0.0), ("b", 0.01), ("c", 0.1)], 10, 0.2) == [("b", 1), ("c", 1)], "dropped, and not counted twice"
    assert lay([("a", 0.4), ("b", 0.5)], 10, 0.6) == [("a", 5), ("b", 1)], "from the start"
    assert lay([], 10, 1.0) == []


def test_reading_ahead_is_bounded_and_ends_with_its_reader():
    taken, before = [], threading.active_count()
    with read_ahead((taken.append(i) or i for i in range(10**9)), room=3) as items:
        assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
        time.sleep(0.05)
        assert len(taken) <= 5 + 3 + 1
    assert threading.active_count() == before


def test_what_is_read_from_is_closed_where_reading_ahead_ends():
    closed = []

    def items():
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    source = items()
    with read_ahead(source) as ahead:
        next(ahead)
    assert closed == ["read ahead"]


def test_reading_ahead_of_a_camera_keeps_the_newest():
    done = threading.Event()

    def items():
        yield from range(50)
        done.set()

    with read_ahead(items(), room=1, newest=True) as newest:
        assert done.wait(10)
        assert list(newest)[-1] == 49


def test_an_error_while_reading_ahead_arrives():
    def items():
        yield 1
        raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"), read_ahead(items()) as ahead:
        assert next(ahead) == 1
        next(ahead)


FORM = Form(48, 64, 10.0)


def pictures(count: int = 3):
    return ((videos.grey(40 * i), 1) for i in range(count))


def test_ours_is_replaced_and_nothing_else(tmp_path):
    target = tmp_path / "out.mp4"
    for _ in range(2):
        check_target(target, FORM)
        assert write_video(target, FORM, pictures()) == 3
    assert marks.kind_of(target) == marks.SEGMENTATION and os.listdir(tmp_path) == ["out.mp4"]
    videos.write(target, GREYS)
    before = target.read_bytes()
    for call in (lambda: check_target(target, FORM), lambda: write_video(target, FORM, pictures())):
        with pytest.raises(ValueError, match=r"output: expected nothing or .* got 1 other: .*out\.mp4"):
            call()
    assert target.read_bytes() == before and os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize(
    "name,message",
    [
        ("out.avi", r"ends in \.mp4"),
        ("out", r"ends in \.mp4"),
        ("folder.mp4", "expected nothing or"),
        ("file/out.mp4", "is a file, expected a folder"),
        ("in.mp4", "another file than the video that is read"),
    ],
)
def test_targets_that_are_refused_before_any_work(tmp_path, name, message):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    write_video(tmp_path / "in.mp4", FORM, pictures())
    with pytest.raises(ValueError, match=f"^output: .*{message}"):
        check_target(tmp_path / name, FORM, tmp_path / "in.mp4")


def test_a_form_that_the_codec_does_not_take(tmp_path):
    with pytest.raises(ValueError, match="cannot write mp4v of 64x48 at 90000 frames per second"):
        check_target(tmp_path / "out.mp4", FORM._replace(rate=90_000.0))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("no sense")])
def test_what_ends_in_the_middle_leaves_what_was(tmp_path, error):
    target = tmp_path / "out.mp4"
    write_video(target, FORM, pictures())
    before = target.read_bytes()

    def failing():
        yield from pictures()
        assert target.read_bytes() == before and len(os.listdir(tmp_path)) == 2, "written beside"
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        write_video(target, FORM, failing())
    assert target.read_bytes() == before and os.listdir(tmp_path) == ["out.mp4"]
    with pytest.raises(ValueError, match="no frames"):
        write_video(target, FORM, [])


def test_a_full_disk(tmp_path, full_disk, capfd):
    rng, taken = np.random.default_rng(0), []

    def noise():
        while len(taken) < 100:
            taken.append(rng.integers(0, 255, (240, 320, 3), np.uint8))
            yield taken[-1], 1

    with full_disk(), pytest.raises(OSError, match=r"disk full\?.*out\.mp4"):
        write_video(tmp_path / "out.mp4", FORM._replace(height=240, width=320), noise())
    assert len(taken) < 100 or cv2.__version__ < "5", "at once; OpenCV 4 lets know at the end only"
    assert not os.listdir(tmp_path) and capfd.readouterr().err == ""


def test_frames_of_another_size_in_between(tmp_path):
    large = cv2.resize(videos.grey(100), (128, 96))
    assert write_video(tmp_path / "out.mp4", FORM, [(videos.grey(100), 1), (large, 2)]) == 3
    assert videos.values_of(tmp_path / "out.mp4") == [100] * 3


class Shown:
    """Stands in for a window, and counts."""

    def __init__(self, most: float = math.inf):
        self.pictures, self.most, self.closed = [], most, False

    def show(self, picture) -> bool:
        self.pictures.append(picture)
        return len(self.pictures) < self.most

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def display(monkeypatch):
    def make(most: float = math.inf) -> Shown:
        shown = Shown(most)
        monkeypatch.setattr("openvocab.inference.video.run.require_window", lambda: None)
        monkeypatch.setattr("openvocab.inference.video.run.Window", lambda title: shown)
        return shown

    return make


def test_a_video_in_a_window_until_it_is_closed(tmp_path, display, capsys):
    source, shown = videos.write(tmp_path / "in.mp4", GREYS), display(most=2)
    with open_file(source) as video:
        assert VideoRun(video, None).segment(lambda frame: frame) == 0
    assert len(shown.pictures) == 2 and shown.closed
    assert capsys.readouterr() == ("", ""), "whoever closes it does not miss the rest"


def test_a_camera_is_shown_and_written_until_the_window_is_closed(tmp_path, display, monkeypatch, capsys):
    shown = display(most=3)
    endless = Capture([0.0] * 10_000, rate=20.0)
    read = endless.read
    endless.read = lambda: time.sleep(0.02) or read()
    open_real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *source: endless if source == (0,) else open_real(*source))
    begin = time.monotonic()
    with open_camera(0) as video:
        assert VideoRun(video, tmp_path / "out.mp4").segment(lambda frame: time.sleep(0.2) or frame) == 0
    seconds = time.monotonic() - begin
    monkeypatch.undo()
    frames, rate = videos.read(tmp_path / "out.mp4")
    assert rate == 20 and len(shown.pictures) == 3 and shown.closed
    # Two fifths of a second pass from the first picture to the third, however slow the model is.
    assert 0.4 <= len(frames) / rate <= seconds + 0.1


def test_no_camera(capfd):
    with pytest.raises(ValueError, match="camera: number 97 cannot be opened"), open_camera(97):
        pytest.fail("opened")
    with pytest.raises(ValueError, match="expected a number from 0"), open_camera(-1):
        pytest.fail("opened")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("code", ["import os; os.abort()", "raise RuntimeError('no display')"])
def test_no_display_is_one_line(monkeypatch, code):
    """Qt ends the process that asks for a window; another build of OpenCV raises."""
    monkeypatch.setattr(window, "_PROBE", code)
    with pytest.raises(ValueError, match=r"^window: none can be opened here, by --output FILE\.mp4"):
        window.require_window()
