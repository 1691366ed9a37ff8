"""Videos that are written whole or not at all, and known again as ours."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from openvocab.console import shown
from openvocab.files import replace_together
from openvocab.inference import marks
from openvocab.inference.result import prepare_folder
from openvocab.inference.video.logs import quiet

SUFFIX, CODEC = ".mp4", "mp4v"
_refuse_foreign = partial(marks.refuse_foreign, kind=marks.SEGMENTATION)


class Form(NamedTuple):
    """What all frames of a video have in common.

    Attributes:
        height: pixels.
        width: pixels.
        rate: frames per second; three decimals, as the codec keeps them.
    """

    height: int
    width: int
    rate: float

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width that are written. The codec takes even sides; OpenCV would cut a row without a word."""
        return self.height + self.height % 2, self.width + self.width % 2


def check_target(path: Path, form: Form, source: Path | None = None) -> None:
    """Refuses what could not be written in the end, before any long work.

    Args:
        path: the video to write.
        form: of its frames.
        source: the video that is read.

    Raises:
        ValueError: another suffix than .mp4, a folder, a file that is none of ours, the source itself, a folder that
            cannot be written to, or a form that the installed OpenCV cannot write.
    """
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"output: expected a file that ends in {SUFFIX}, got {shown(path)}")
    if source is not None and path.exists() and path.samefile(source):
        raise ValueError(f"output: expected another file than the video that is read, got {shown(path)}")
    _refuse_foreign([path])
    prepare_folder(path.parent)
    with tempfile.TemporaryDirectory() as folder:
        _opened(Path(folder) / f"trial{SUFFIX}", form).release()


def write_video(path: Path, form: Form, pictures: Iterable[tuple[np.ndarray, int]]) -> int:
    """Writes a video beside its place, and renames it once it is whole and has been read back.

    Args:
        path: ends in .mp4; its folder exists.
        form: of the frames.
        pictures: (h, w, 3) uint8 BGR, and how many times in a row each is shown. Others than the form's size are
            resized to it.

    Returns:
        The number of frames.

    Raises:
        ValueError: there are no pictures, or a file that is none of ours lies there.
        OSError: it cannot be written.
    """
    count = 0

    def write(file: BinaryIO) -> None:
        nonlocal count
        count = _encode(Path(file.name), form, pictures)
        file.seek(0, os.SEEK_END)
        file.write(marks.mp4(marks.SEGMENTATION))

    replace_together({path: write}, _refuse_foreign)
    return count


def _encode(path: Path, form: Form, pictures: Iterable[tuple[np.ndarray, int]]) -> int:
    with _as_mp4(path) as link:  # which goes as soon as the file is open: a kill leaves no folder behind
        writer = _opened(link, form)
    count = 0
    try:
        for picture, times in pictures:
            pixels = _fitted(picture, form)
            for _ in range(times):
                with quiet():
                    written = writer.write(pixels)
                if written is False:  # OpenCV 4 returns nothing, so the file is read back, too
                    raise OSError(errno.EIO, f"OpenCV could not write frame {count + 1} (is the disk full?)")
                count += 1
    finally:
        writer.release()
    if not count:
        raise ValueError("video: no frames to write")
    _check_written(path, form, count)
    return count


@contextmanager
def _as_mp4(path: Path) -> Iterator[Path]:
    """Gives a file another name: FFmpeg wants a suffix that what is not whole must not have, OpenCV one in UTF-8."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"video{SUFFIX}"
        link.symlink_to(path.absolute())
        yield link


def _opened(path: Path, form: Form) -> cv2.VideoWriter:
    height, width = form.padded
    with quiet():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*CODEC), form.rate, (width, height))
    if not writer.isOpened():
        raise ValueError(
            f"output: the installed OpenCV {cv2.__version__} cannot write {CODEC} of {width}x{height} at "
            f"{form.rate:g} frames per second"
        )
    return writer


def _fitted(picture: np.ndarray, form: Form) -> np.ndarray:
    if picture.shape[:2] != (form.height, form.width):
        picture = cv2.resize(picture, (form.width, form.height), interpolation=cv2.INTER_AREA)
    bottom, right = (padded - side for padded, side in zip(form.padded, (form.height, form.width), strict=True))
    if bottom or right:
        picture = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(picture)


def _check_written(path: Path, form: Form, count: int) -> None:
    with _as_mp4(path) as link, quiet():
        capture = cv2.VideoCapture(str(link), cv2.CAP_FFMPEG)
        size = tuple(int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH))
        there = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
    if there != count or size != form.padded:
        raise OSError(errno.EIO, f"of {count} frames {max(0, there)} were written (is the disk full?)")
