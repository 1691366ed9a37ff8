"""From a file to decoded pixels: what Pillow raises becomes one line that names the file, and metadata are only advice.

A picture whose text, colour profile or EXIF is broken is whole: a warning names the file, once, and the pixels count.
"""

import io
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from openvocab.console import shown
from openvocab.inference.bare import without_metadata
from openvocab.inference.formats import picture_formats

logger = logging.getLogger(__name__)

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = threading.Lock()  # catch_warnings changes filters of the whole process


@dataclass(frozen=True)
class Decoded:
    """A picture as a file holds it.

    Attributes:
        image: the first frame, loaded; turned upright as EXIF (or XMP) asks.
        raw_mode: how samples are stored, in Pillow's terms: "L;4" where `image.mode` "L" are four bits made brightness.
        format: such as "PNG".
        frames: number of pictures in the file.
        name: for messages.
    """

    image: Image.Image
    raw_mode: str
    format: str
    frames: int
    name: str

    def remark(self, text: str) -> None:
        """Warns of something about this file, once in a process."""
        _warn_once(f"{self.name}: {text}")


def decode(source: str | os.PathLike | Image.Image) -> Decoded:
    """Decodes a picture.

    Args:
        source: a path, or an image that Pillow has opened.

    Returns:
        The decoded picture.

    Raises:
        ValueError: no such file, a folder, nothing that Pillow decodes without another program, damaged, more pixels
            than Pillow allows (178,956,970), or more than memory holds. The message names the file.
    """
    if isinstance(source, Image.Image):
        return _decode(source, "a PIL image")
    path, name = Path(source), shown(source)
    if path.is_dir():
        raise ValueError(f"image: expected a picture, got the folder {name}")
    if not path.exists():
        raise ValueError(f"image: no such file: {name}")
    if not path.is_file():
        raise ValueError(f"image: expected a regular file, got a device or pipe: {name}")
    try:
        with open(path, "rb") as file:  # given a path, Pillow maps some TIFFs into memory, and turns those twice
            return _decode(file, name)
    except Exception as error:  # decoders raise what they like; what is theirs becomes ours, with the cause kept
        bare = without_metadata(path)
        if bare is None or isinstance(error, Image.DecompressionBombError):
            raise _unreadable(error, name) from error
        try:
            decoded = _decode(io.BytesIO(bare), name)
        except Exception:  # noqa: BLE001 - the first error is the telling one
            raise _unreadable(error, name) from error
        cause = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"  # which says nothing
        decoded.remark(f"broken metadata are passed over{cause}")
        return decoded


def _decode(source: BinaryIO | Image.Image, name: str) -> Decoded:
    remarks: list[str] = []
    with _warnings_of_pillow(remarks):
        opened = source if isinstance(source, Image.Image) else Image.open(source, formats=picture_formats())
    raw_mode = _raw_mode(opened)
    with _warnings_of_pillow(remarks) if opened.format == "TIFF" else nullcontext():  # EXIF is read at its end
        opened.load()
    with _warnings_of_pillow(remarks):
        orientation = _orientation(opened, remarks)
    image = opened.transpose(_TURNS[orientation]) if orientation in _TURNS else opened
    decoded = Decoded(image, raw_mode, opened.format or "", getattr(opened, "n_frames", 1), name)
    if remarks:
        decoded.remark("; ".join(dict.fromkeys(remarks)))
    return decoded


@contextmanager
def _warnings_of_pillow(remarks: list[str]) -> Iterator[None]:
    """Collects what Pillow warns of without naming the file; many pixels are no reason for one, there is a limit."""
    with _FILTERS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            remarks += [
                str(warning.message)
                for warning in caught
                if not issubclass(warning.category, Image.DecompressionBombWarning)
            ]


@lru_cache(maxsize=1 << 16)
def _warn_once(text: str) -> None:
    """Passes the same words on once: an epoch reads a file again and again."""
    logger.warning("%s", text)


def _raw_mode(image: Image.Image) -> str:
    arguments = image.tile[0][3] if getattr(image, "tile", None) else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else image.mode


def _orientation(image: Image.Image, remarks: list[str]) -> int:
    try:
        if isinstance(image.info.get("exif"), bytes):
            Image.Exif().load(image.info["exif"])  # of JPEG files, Pillow has looked before, and hides what it found
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # noqa: BLE001 - Pillow's readers of EXIF and XMP raise what they like, too
        remarks.append(f"malformed EXIF, the picture is taken as stored: {error}")
        return 1
    if value in _TURNS:
        return int(value)
    if value not in (0, 1):  # cameras write 0 where they do not know
        remarks.append(f"EXIF orientation {value!r}, expected 1 to 8; the picture is taken as stored")
    return 1


def _unreadable(error: Exception, name: str) -> ValueError:
    if isinstance(error, UnidentifiedImageError):
        return ValueError(f"image: not a picture that can be read: {name}")
    if isinstance(error, Image.DecompressionBombError):
        return ValueError(f"image: {name} is too large: {error}")
    if isinstance(error, MemoryError):
        return ValueError(f"image: not enough memory for {name}")
    if isinstance(error, PermissionError):
        return ValueError(f"image: no permission to read {name}")
    text = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"image: damaged or truncated: {name} ({text})")
