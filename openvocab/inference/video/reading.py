"""Frames with their times, from a file, a camera or a capture that is open already."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from openvocab.console import shown
from openvocab.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE
from openvocab.inference.video.containers import Announced, announced
from openvocab.inference.video.logs import quiet

_LEAST_RATE, _GREATEST_RATE = 0.1, 240.0  # frames per second; a guess outside is none
_USUAL_RATE = 30.0
_SLACK = 1.0  # seconds that an estimated length may be wrong by


class Frame(NamedTuple):
    """One frame.

    Attributes:
        pixels: (h, w, 3) uint8 BGR, upright.
        seconds: when it is shown, from the start.
    """

    pixels: np.ndarray
    seconds: float


class Video:
    """A source of frames; its first one is read at once, so that a source without frames is known before any work.

    Attributes:
        name: for messages.
        height: of a frame in pixels, as it is shown: turned where the file says so.
        width: likewise.
        rate: frames per second; of a variable rate, OpenCV's guess.
        expected: number of frames, or an estimate; None where nobody knows (cameras).
        came: number of frames read until now.
        live: whether it is a camera, whose frames have the time at which they came.
    """

    def __init__(self, capture: cv2.VideoCapture, name: str, live: bool = False, container: Announced | None = None):
        """Takes over an open capture.

        Args:
            capture: is not released here.
            name: for messages.
            live: see the attributes.
            container: what the file says of itself.

        Raises:
            ValueError: it gives no frame.
        """
        self._capture, self._container = capture, container or Announced(listed=False)
        self.name, self.live, self.came = name, live, 0
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if _LEAST_RATE <= rate <= _GREATEST_RATE else _USUAL_RATE
        self.expected = int(count) if not live and 0 < count < math.inf else None
        self._start, self._last, self._interval = time.monotonic(), -1 / self.rate, 1 / self.rate
        self._estimate = count / self.rate if self.expected else 0.0
        self._first = self._read()
        if self._first is None:
            raise ValueError(f"video: no frames{_lacking(self._container)}: {name}")
        self.height, self.width = self._first.pixels.shape[:2]
        # Matroska counts its length from zero, and its first frame may come later; OpenCV's times start with it.
        self._estimate -= max(0.0, capture.get(getattr(cv2, "CAP_PROP_PTS", -1)) / self.rate)

    def frames(self) -> Iterator[Frame]:
        """Yields all frames, once; times grow."""
        frame, self._first = self._first, None
        while frame is not None:
            yield frame
            frame = self._read()

    @property
    def seconds(self) -> float | None:
        """Length that is announced; None where nobody knows."""
        known = self._container.seconds
        if known is None and self._estimate > 0:
            known = self._estimate
        return None if self.live else known

    def end(self) -> float:
        """Gives when the last frame ends, once all have been read: where the file announces, if its end is there."""
        length = self.seconds or 0.0
        return length if length > self._last and not self.shortfall() else self._shown_until

    def shortfall(self) -> str | None:
        """Says what is missing, once all frames have been read; None if nothing is."""
        missing, length = self._container.missing, self.seconds
        ends_early = length is not None and self._shown_until < length - max(_SLACK, 0.02 * length)
        if self._container.listed and self.expected and self.came < self.expected:
            text = f"{self.came} of {self.expected} frames could be read"
        elif missing or ends_early and not self._container.listed:
            of = f" of about {length:.1f} s" if length else ""
            text = f"{self.came} frames could be read, to {self._shown_until:.1f} s{of}"
        else:
            return None
        return f"{text}{_lacking(self._container)}"

    @property
    def _shown_until(self) -> float:
        return self._last + self._interval

    def _read(self) -> Frame | None:
        there, pixels = self._capture.read()
        if not there:
            return None
        self.came += 1
        seconds = time.monotonic() - self._start if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        # No times, no numbers, and leaps beyond the whole length: the file does not say when the frame is shown.
        if not self._last < seconds <= self._last + max(self.seconds or math.inf, _SLACK):
            seconds = max(0.0, self._last + 1 / self.rate)
        if self.came > 1:
            self._interval = min(seconds - self._last, 1 / self.rate)
        self._last = seconds
        return Frame(pixels, seconds)


@contextmanager
def open_file(path: Path) -> Iterator[Video]:
    """Opens a video file.

    Args:
        path: any format that the FFmpeg inside OpenCV reads.

    Yields:
        The video.

    Raises:
        ValueError: no such file, or nothing in it that could be read as a video.
        OSError: the file cannot be read.
    """
    container = _container_of(path)
    with quiet():
        capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)  # absolute: "a:b.mp4" is no protocol
    try:
        if not capture.isOpened():
            raise ValueError(
                f"video: not a video that the FFmpeg inside OpenCV can read{_lacking(container)}: {shown(path)}"
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield Video(capture, shown(path), container=container)
    finally:
        capture.release()


@contextmanager
def open_camera(number: int) -> Iterator[Video]:
    """Opens a camera.

    Args:
        number: as OpenCV counts them, from 0.

    Yields:
        Its video, which has no end.

    Raises:
        ValueError: there is none, or it gives no picture.
    """
    if number < 0:
        raise ValueError(f"camera: expected a number from 0, got {number}")
    with quiet():
        capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise ValueError(f"camera: number {number} cannot be opened")
        yield Video(capture, f"camera {number}", live=True)
    finally:
        capture.release()


def _lacking(container: Announced) -> str:
    return f", {container.missing} bytes are missing at its end" if container.missing else ""


def _container_of(path: Path) -> Announced:
    if not path.is_file():
        raise ValueError(f"video: {'expected a file, got something else' if path.exists() else 'no such file'}: {path}")
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:  # OpenCV ends the process over such a name
        raise ValueError(f"video: a name that is no UTF-8 cannot be opened, rename it: {shown(path)}") from error
    if cv2.CAP_FFMPEG not in cv2.videoio_registry.getBackends():
        raise ValueError("video: this OpenCV is built without FFmpeg; expected the package opencv-python")
    with open(path, "rb") as file:
        if file.read(8).startswith((JPEG_SIGNATURE, PNG_SIGNATURE)):
            raise ValueError(f"video: expected a video, got a picture (see --input): {shown(path)}")
    return announced(path)
