"""Small videos, and what OpenCV cannot write: uneven times, rotation; by rebuilding the boxes of an MP4."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from openvocab.inference.video.logs import quiet

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def grey(value: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A frame that says which one it is; the upper left quarter is white, so that turning shows."""
    frame = np.full((*size, 3), value, np.uint8)
    frame[: size[0] // 2, : size[1] // 2] = 255
    return frame


def write_frames(path: Path, frames: Sequence[np.ndarray], rate: float = 10.0) -> Path:
    """Writes pictures of one size, (h, w, 3) uint8 in BGR."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    size = frames[0].shape[1::-1]
    with quiet():  # FFmpeg asks once in a process how much it may print, for the tests after this one as well
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write(path: Path, values: Sequence[int], rate: float = 10.0, size: tuple[int, int] = (48, 64)) -> Path:
    """Writes a frame of each grey value."""
    return write_frames(path, [grey(value, size) for value in values], rate)


def read(path: Path) -> tuple[list[np.ndarray], float]:
    """Reads all frames and the rate, by OpenCV alone."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return frames, rate


def values_of(path: Path) -> list[int]:
    """Grey values of the frames, of 20, 60, 100 ...; each pass through the codec darkens them by three."""
    return [round((float(frame[-8:, -8:].mean()) - 20) / 40) * 40 + 20 for frame in read(path)[0]]


def change(path: Path, edit: Callable[[bytes, bytes], bytes]) -> None:
    """Rebuilds an MP4 whose index is at its end, so that its frames stay where they are.

    Args:
        path: the file.
        edit: from the kind of a box and what it holds to what it shall hold.
    """
    path.write_bytes(_rebuilt(path.read_bytes(), edit))


def set_lengths(path: Path, seconds: Sequence[float]) -> Path:
    """Gives every frame a length of its own."""
    ticks = [round(1000 * each) for each in seconds]

    def edit(kind: bytes, body: bytes) -> bytes:
        if kind == b"stts":
            return struct.pack(">II", 0, len(ticks)) + b"".join(struct.pack(">II", 1, each) for each in ticks)
        if kind in (b"mvhd", b"mdhd"):
            return body[:12] + struct.pack(">II", 1000, sum(ticks)) + body[20:]
        if kind == b"tkhd":
            return body[:20] + struct.pack(">I", sum(ticks)) + body[24:]
        if kind == b"edts":
            return struct.pack(">I4sIIIII", 28, b"elst", 0, 1, sum(ticks), 0, 1 << 16)
        return body

    change(path, edit)
    return path


def turn(path: Path) -> Path:
    """Says that the picture is to be turned by 90 degrees clockwise before it is shown."""
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    change(path, lambda kind, body: body[:40] + matrix + body[76:] if kind == b"tkhd" else body)
    return path


def index_first(path: Path) -> Path:
    """Moves the index to the front, as for the web: a file that is cut can still be opened."""
    boxes = dict(_boxes(path.read_bytes()))
    before = 16 + len(boxes[b"ftyp"]) + len(boxes[b"free"])
    shift = 8 + len(boxes[b"moov"])

    def edit(kind: bytes, body: bytes) -> bytes:
        if kind != b"stco":
            return body
        places = struct.unpack_from(f">{len(body) // 4 - 2}I", body, 8)
        return body[:8] + b"".join(struct.pack(">I", place + shift) for place in places)

    moov = _rebuilt(_box(b"moov", boxes[b"moov"]), edit)
    content = path.read_bytes()
    path.write_bytes(content[:before] + moov + _box(b"mdat", boxes[b"mdat"]))
    return path


def _boxes(content: bytes) -> list[tuple[bytes, bytes]]:
    found, start = [], 0
    while start < len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        found.append((kind, content[start + 8 : start + length]))
        start += length
    return found


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _rebuilt(content: bytes, edit: Callable[[bytes, bytes], bytes]) -> bytes:
    return b"".join(
        _box(kind, _rebuilt(body, edit) if kind in PARENTS else edit(kind, body)) for kind, body in _boxes(content)
    )
