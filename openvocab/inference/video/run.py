"""From a video to a segmented one: in a file, in a window, or both."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from openvocab import exit_codes
from openvocab.console import report, say, shown
from openvocab.inference.video.pacing import paced, read_ahead
from openvocab.inference.video.reading import Frame, Video
from openvocab.inference.video.window import Window, require_window
from openvocab.inference.video.writing import CODEC, Form, check_target, write_video

_EVERY = 10.0  # seconds between two lines
Segment = Callable[[np.ndarray], np.ndarray]


class VideoRun:
    """One video on its way; made before the model is loaded, because it refuses what cannot end well.

    Args:
        video: is read once.
        target: an .mp4 file; without it, or of a camera, frames are shown in a window.
        source: the file of the video; None for a camera.

    Raises:
        ValueError: the target cannot be written, or a window not be opened.
    """

    def __init__(self, video: Video, target: Path | None, source: Path | None = None):
        self.video, self.target = video, target
        self.form = Form(video.height, video.width, round(video.rate, 3))
        if target is not None:
            check_target(target, self.form, source)
        self.window = Window(video.name) if target is None or video.live else None
        if self.window is not None:
            require_window()
        self._done, self._stopped, self._begin, self._said = 0, False, 0.0, 0.0

    def __str__(self) -> str:
        """Says in a line what comes in."""
        video = self.video
        of = f", {video.expected} frames" if video.expected else ""
        length = f", {video.seconds:.1f} s" if video.seconds else ""
        return f"{video.name}: {video.width}x{video.height}{of}, {video.rate:.4g} frames/s{length}"

    def segment(self, segment: Segment) -> int:
        """Segments all frames, and says how it goes: a line every ten seconds, and what was written at the end.

        Args:
            segment: from (h, w, 3) uint8 BGR to the picture that is shown, likewise.

        Returns:
            Exit code: 0, or 1 where frames of the video are missing (what came is written, and the rest is reported).

        Raises:
            ValueError: what `segment` raises; or a file that is none of ours has appeared at the target.
            OSError: the target cannot be written.
        """
        video = self.video
        self._begin = self._said = time.monotonic()
        try:
            with read_ahead(video.frames(), room=1 if video.live else 4, newest=video.live) as frames:
                pictures = self._live(frames, segment) if video.live else self._recorded(frames, segment)
                if self.target is None:
                    deque(pictures, maxlen=0)
                else:
                    self._say_written(write_video(self.target, self.form, pictures))
        finally:
            if self.window is not None:
                self.window.close()
        missing = None if self._stopped else video.shortfall()
        if missing:
            report(f"video: {video.name}: {missing}")
        return exit_codes.IN_PART if missing else exit_codes.DONE

    def progress(self) -> str:
        """Says how many frames are done, of how many."""
        return f"{self._done}{f' of {self.video.expected}' if self.video.expected else ''} frames"

    def _recorded(self, frames: Iterator[Frame], segment: Segment) -> Iterator[tuple[np.ndarray, int]]:
        behind = 0  # frames whose turn has come or gone: all that were taken but the last, until the end

        def taken() -> Iterator[Frame]:
            nonlocal behind
            for number, frame in enumerate(frames):
                behind = number
                yield frame
            behind += 1

        for pixels, times in paced(taken(), self.form.rate, self.video.end):
            picture = segment(pixels)
            self._count(behind)
            if not self._shown(picture):
                return
            yield picture, times

    def _live(self, frames: Iterator[Frame], segment: Segment) -> Iterator[tuple[np.ndarray, int]]:
        """Of a camera, a picture is shown at once, and how often it is written is known when the next one comes."""

        def pictures() -> Iterator[tuple[np.ndarray, float]]:
            for number, (pixels, seconds) in enumerate(frames, start=1):
                picture = segment(pixels)
                self._count(number)
                yield picture, seconds
                if not self._shown(picture):
                    return

        yield from paced(pictures(), self.form.rate, self.video.end)

    def _count(self, done: int) -> None:
        self._done, now = done, time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            seconds = ((self.video.expected or 0) - self._done) / self._speed()
            left = f", {seconds:.0f} s left" if seconds > 0 else ""
            say(f"      {self.progress()}, {self._speed():.2f} frames/s{left}")

    def _shown(self, picture: np.ndarray) -> bool:
        self._stopped = self.window is not None and not self.window.show(picture)
        return not self._stopped

    def _speed(self) -> float:
        return self._done / max(time.monotonic() - self._begin, 1e-9)

    def _say_written(self, count: int) -> None:
        height, width = self.form.padded
        padded = (
            ""
            if (height, width) == self.form[:2]
            else (f" ({self.form.width}x{self.form.height} with its border repeated: {CODEC} takes even sides)")
        )
        say(
            f"output      {shown(self.target)}: {width}x{height}{padded}, {count} frames, {self.form.rate:g} frames/s, "
            f"{count / self.form.rate:.1f} s, codec {CODEC} ({self._speed():.2f} frames/s)"
        )
