"""What the file of a video says of itself that OpenCV does not pass on: its true length, and whether its end is there.

OpenCV's number of frames is exact for MP4 and AVI, which list them, and elsewhere length times rate; its rate is a
guess where frames come at uneven times. So neither gives the length of an MP4 of variable rate.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # first boxes of MP4, MOV, 3GP
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_PARENTS = (b"moov", b"trak", b"mdia")
_UNKNOWN = 0xFFFFFFFF  # a length that was never filled in


@dataclass(frozen=True)
class Announced:
    """What a container announces.

    Attributes:
        listed: whether each frame is listed, so that OpenCV's number of frames is no estimate.
        seconds: length of the picture track; None where it does not say.
        missing: bytes that the file should have and has not, at least.
    """

    listed: bool
    seconds: float | None = None
    missing: int = 0


def announced(path: Path) -> Announced:
    """Reads the container of a video: MP4, MOV, AVI, Matroska and WebM; of others it knows nothing.

    Args:
        path: a regular file.

    Raises:
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[4:8] in _ISO:
            boxes = list(_boxes(file, 0, size))
            return Announced(True, _picture_seconds(file, boxes), max(0, max(box.end for box in boxes) - size))
        if head.startswith(b"RIFF"):
            announced_size = 8 + struct.unpack("<I", head[4:8])[0]
            known = announced_size < _UNKNOWN
            return Announced(True, missing=max(0, announced_size - size) if known else 0)
        if head.startswith(_EBML):
            return Announced(False, missing=max(0, _segment_end(file) - size))
    return Announced(False)


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int  # of what it holds
    end: int


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yields the boxes of an ISO file between two places, with those in `_PARENTS` followed by what they hold."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16)
        length, kind, first = *struct.unpack(">I4s", head[:8]), start + 8
        if length == 1 and len(head) == 16:  # a long one
            length, first = struct.unpack(">Q", head[8:])[0], start + 16
        elif length == 0:  # up to the end of the file
            length = end - start
        box = _Box(kind, first, start + length)
        if length < first - start:  # no box: what follows cannot be found
            return
        yield box
        if kind in _PARENTS:
            yield from _boxes(file, first, min(box.end, end))
        start = box.end


def _picture_seconds(file: BinaryIO, boxes: list[_Box]) -> float | None:
    """Finds how long the track of the pictures is shown: its header's length, in units of the movie's header."""
    scale = ticks = 0
    for box in boxes:
        file.seek(box.start)
        content = file.read(min(36, box.end - box.start))
        if box.kind == b"mvhd":
            scale = _number(content, ">I", 12, 20)
        elif box.kind == b"tkhd":
            ticks = _number(content, ">Q", 28, 28) if content[:1] == b"\1" else _number(content, ">I", 20, 20)
        elif box.kind == b"hdlr" and content[8:12] == b"vide":
            return ticks / scale if scale and 0 < ticks < _UNKNOWN else None
    return None


def _number(header: bytes, layout: str, at: int, at_in_version_1: int) -> int:
    at = at_in_version_1 if header[:1] == b"\1" else at
    return struct.unpack_from(layout, header, at)[0] if len(header) >= at + struct.calcsize(layout) else 0


def _segment_end(file: BinaryIO) -> int:
    """Gives where the segment of a Matroska file ends; 0 where it does not say (a live recording)."""
    file.seek(0)
    head = file.read(4096)
    at = head.find(_SEGMENT) + len(_SEGMENT)
    if at < len(_SEGMENT) or at >= len(head) or not head[at]:
        return 0
    width = 9 - head[at].bit_length()  # the first byte's leading zeros say how many bytes the number has
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return 0 if value == (1 << 7 * width) - 1 else min(at + width + value, os.fstat(file.fileno()).st_size << 16)
