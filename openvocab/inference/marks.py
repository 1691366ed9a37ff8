"""Marks in files that say which of our programs wrote them: only such files are ever replaced."""

import os
import re
import stat
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from openvocab.console import counted
from openvocab.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE
from openvocab.vocab.embedded import MARK

SEGMENTATION = "segmentation"
PREDICTION = "prediction"
SCENE = "drawn scene"
SHEET = "sheet"
TABLE = "table"
RUN = "run"
WEIGHTS = "weights"
EXPORT = "exported model"
EMBEDDINGS = "file of word embeddings"
CURVES = "file of curves of absent words"
TEXTS = {
    SEGMENTATION: "openvocab-seg: segmentation",
    PREDICTION: "openvocab-seg: prediction",
    SCENE: "openvocab-seg: drawn scene",
    SHEET: "openvocab-seg: sheet",
    TABLE: "<!-- openvocab-seg: table -->",
    RUN: "openvocab-seg: run that is not done",
    EXPORT: "openvocab-seg: exported model",
    EMBEDDINGS: MARK,
    CURVES: "openvocab-seg: curves of absent words",
    WEIGHTS: "see THIRD_PARTY.md of openvocab-seg.",  # the end of a notice that all shipped weights hold
}
"""Kind -> the text that stands in a file of this kind."""

JSON_KEY = "written_by"
_PNG_TEXT = 33  # where the first chunk behind a PNG's header begins
_ZIP = b"PK\x03\x04"
_RIFF = b"RIFF"  # WebP
_FTYP = b"ftyp"  # MP4
_OURS = b"openvocab-seg"  # in all texts
_ZIP_NAME = 30  # where the name of the first member begins
_FIRST = 1024  # bytes that hold every mark, but that of weights: of a hundred thousand photographs no more is read
_HEAD = 1 << 16  # bytes; a small model's names, which torch puts first, take half of it
_TAIL = 256  # bytes; a WebP has its EXIF behind the picture
# Opens no link, and does not wait for the other end of a pipe that has taken a file's place.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_SOFTWARE = 0x0131  # EXIF: which program made the picture


def png(kind: str) -> PngInfo:
    """Gives what Pillow's `save` takes as `pnginfo`.

    Args:
        kind: of `TEXTS`.
    """
    info = PngInfo()
    info.add_text("Software", TEXTS[kind])
    return info


def exif(kind: str) -> bytes:
    """Gives what Pillow's `save` takes as `exif`, for JPEG and WebP.

    Args:
        kind: of `TEXTS`.
    """
    text = TEXTS[kind].encode() + b"\0"
    # Little-endian; one directory, at byte 8, of one entry; 2: text; the text follows at byte 26.
    return b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, _SOFTWARE, 2, len(text), 26, 0) + text


def mp4(kind: str) -> bytes:
    """Gives what is put behind the end of an MP4: a box of free space, which players pass over.

    Args:
        kind: of `TEXTS`.
    """
    text = TEXTS[kind].encode()
    return struct.pack(">I4s", 8 + len(text), b"free") + text


def kind_of(path: Path) -> str | None:
    """Tells what one of our programs wrote into a file; reads its first bytes and its last ones only.

    Args:
        path: anything; pipes, sockets, devices and links are not opened.

    Returns:
        A kind of `TEXTS`; None for every other file, broken ones too, and for what cannot be read.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        number = os.open(path, _READ)
        try:
            head = os.read(number, _FIRST)
            head += os.read(number, _HEAD) if head.startswith(_ZIP) else b""
            tail = b""
            if head.startswith((_RIFF, _ZIP)) or head[4:8] == _FTYP:
                os.lseek(number, max(0, os.fstat(number).st_size - _TAIL), os.SEEK_SET)
                tail = os.read(number, _TAIL)
        finally:
            os.close(number)
    except (OSError, ValueError):  # what cannot be read, or has no possible name, is none of ours
        return None
    if _OURS not in head and _OURS not in tail:
        return None
    return next((kind for kind in TEXTS if _carries(head, tail, kind)), None)


def refuse_foreign(paths: Iterable[Path], kind: str) -> None:
    """Refuses to write where something lies that is not an earlier output of the same program.

    Args:
        paths: that will be written.
        kind: what a file must be to be replaced.

    Raises:
        ValueError: files, folders or links that this program did not write; the first ones are named.
    """
    foreign = [path for path in paths if os.path.lexists(path) and kind_of(path) != kind]
    if foreign:
        raise ValueError(
            f"output: expected nothing or an earlier {kind} by this program, got "
            f"{counted(foreign, 'others')} (left as it is; move it away, or write somewhere else)"
        )


def _carries(head: bytes, tail: bytes, kind: str) -> bool:
    text = TEXTS[kind].encode()
    if head.startswith(PNG_SIGNATURE):
        return head.startswith(_png_chunk(text), _PNG_TEXT)
    if head.startswith(JPEG_SIGNATURE):
        block = exif(kind)
        return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block in head[:_FIRST]
    if head.startswith(_RIFF):
        block = exif(kind).removeprefix(b"Exif\0\0")
        return tail.rstrip(b"\0").endswith((b"EXIF" + struct.pack("<I", len(block)) + block).rstrip(b"\0"))
    if head[4:8] == _FTYP:
        return tail.endswith(mp4(kind))
    if head.startswith(_ZIP):
        npz = head.startswith(f"{JSON_KEY}.npy".encode(), _ZIP_NAME)
        if npz:
            return text in head[:_FIRST]
        return tail.endswith(text) if kind == EXPORT else kind == WEIGHTS and text in head
    if head[4:].startswith(text):  # of ONNX the name of the producer, behind the number of the format
        return kind == EXPORT
    if head[8:].startswith(b'{"__metadata__"'):
        return kind == EMBEDDINGS and text in head
    return bool(re.match(rb'\{\s*"%s":\s*"%s"' % (JSON_KEY.encode(), re.escape(text)), head)) or (
        kind == TABLE and head.startswith(text + b"\n")
    )


def _png_chunk(text: bytes) -> bytes:
    body = b"tEXtSoftware\0" + text
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
