"""A corpus of odd pictures, written anew for each test: every format and mode that Pillow writes, whole and broken."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from openvocab.inference.formats import picture_formats

SIZE = (24, 16)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Sample:
    """A file.

    Attributes:
        path: of it.
        kind: "whole", "broken" (somewhere in the file) or "metadata" (whose pixels are whole).
        pixels: (h, w, 3) uint8 that must come out; None where only Pillow can say.
        warns: whether metadata are broken.
    """

    path: Path
    kind: str
    pixels: np.ndarray | None = None
    warns: bool = False


def picture(mode: str = "RGB") -> Image.Image:
    """Draws something with edges, ramps and, where the mode has it, transparency."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    rgba = np.stack([x * 10, y * 15, (x * y) % 256, (x * 11) % 256], axis=-1).astype(np.uint8)
    if mode in ("I", "I;16", "I;16B"):
        return Image.fromarray((x * 2000 + y * 1000).astype(np.int32 if mode == "I" else np.uint16)).convert(mode)
    if mode == "F":
        return Image.fromarray((x / width).astype(np.float32))
    image = Image.fromarray(rgba)
    if mode in ("LA", "RGBA"):
        return image.convert(mode)
    if mode == "PA":
        return image.convert("P").convert("PA")
    rgb = image.convert("RGB")
    return Image.merge("LAB", rgb.split()) if mode == "LAB" else rgb.convert(mode)


def write(folder: Path) -> Iterator[Sample]:
    """Writes the corpus.

    Args:
        folder: exists and is empty.

    Yields:
        What was written.
    """
    Image.init()
    suffixes = {name: suffix for suffix, name in reversed(Image.registered_extensions().items())}
    for name in sorted(set(Image.SAVE) & set(picture_formats())):
        for mode in MODES:
            data = _encoded(name, mode)
            if data is None:
                continue
            suffix, stem = suffixes.get(name, ".img"), f"{name}_{mode.replace(';', '')}"
            yield _put(folder, f"{stem}{suffix}", data, "whole")
            for what, broken in _broken(data):
                yield _put(folder, f"{stem}_{what}{suffix}", broken, "broken")
    yield from _metadata(folder)


def _put(
    folder: Path, name: str, data: bytes, kind: str, pixels: np.ndarray | None = None, warns: bool = False
) -> Sample:
    path = folder / name
    path.write_bytes(data)
    return Sample(path, kind, pixels, warns)


def _encoded(name: str, mode: str, **options) -> bytes | None:
    """Returns the file, or None where Pillow cannot write this mode in this format."""
    file = io.BytesIO()
    try:
        picture(mode).save(file, name, **options)
    except (OSError, ValueError, KeyError):
        return None
    return file.getvalue()


def _broken(data: bytes) -> Iterator[tuple[str, bytes]]:
    for share in (2, 50, 90):
        yield f"cut{share}", data[: len(data) * share // 100]
    middle = len(data) // 2
    yield "noise", data[:middle] + bytes(255 - value for value in data[middle : middle + 9]) + data[middle + 9 :]
    yield "zeros", data[: len(data) // 3] + bytes(len(data) - len(data) // 3)


def _exif(tiff: bytes) -> bytes:
    return b"Exif\0\0" + tiff


def _orientation_as(kind: int, value: bytes) -> bytes:
    """One directory entry, little endian: tag, type, count and the value itself."""
    entry = struct.pack("<HHI", ORIENTATION, kind, len(value) if kind == 2 else 1) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


EXIFS = {
    "noise": (_exif(b"no tiff header"), True),
    "cut": (_exif(b"II*\0\x08\0"), True),
    "text": (_exif(_orientation_as(2, b"6\0")), True),
    "nine": (_exif(_orientation_as(3, b"\x09\0")), True),
    "zero": (_exif(_orientation_as(3, b"\0\0")), False),
    "empty": (_exif(b""), False),
}
"""What stands where EXIF belongs, and whether it is worth a warning. None of these turns a picture."""


def _metadata(folder: Path) -> Iterator[Sample]:
    """Pictures whose pixels are whole, and whose metadata are not, or are unusual."""
    upright = np.asarray(picture())
    for name, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {}), ("AVIF", {})):
        expected = None if name in ("JPEG", "AVIF") else upright
        for what, (exif, warns) in EXIFS.items() if name not in ("TIFF", "AVIF") else ():  # whose writers parse EXIF
            data = _encoded(name, "RGB", exif=exif, **options)
            yield _put(folder, f"exif_{what}.{name.lower()}", data, "metadata", expected, warns)
        for value in range(1, 9):
            exif = Image.Exif()
            exif[ORIENTATION] = value
            data = _encoded(name, "RGB", exif=exif, **options)
            yield _put(folder, f"turned_{value}.{name.lower()}", data, "metadata", expected if value == 1 else None)
    yield from _odd_png(folder, upright)
    yield from _odd_jpeg(folder)


def chunk(kind: bytes, content: bytes, spoil: int = 0) -> bytes:
    """Builds a PNG chunk; `spoil` changes its check sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content) ^ spoil)


def _odd_png(folder: Path, upright: np.ndarray) -> Iterator[Sample]:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("workflow", "x" * 1_200_000, zip=True)
    plain = _encoded("PNG", "RGB")
    long_text = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"z" * 1_200_000))
    for what, data in {
        "itxt": _encoded("PNG", "RGB", pnginfo=text),
        "icc_long": _encoded("PNG", "RGB", icc_profile=bytes(1_200_000)),
        "ztxt_behind": plain[:-12] + long_text + plain[-12:],
        "icc_no_end": plain[:33] + chunk(b"iCCP", b"name") + plain[33:],
        "icc_method": plain[:33] + chunk(b"iCCP", b"name\0\7abc") + plain[33:],
        "phys_short": plain[:33] + chunk(b"pHYs", b"\0") + plain[33:],
        "gama_short": plain[:33] + chunk(b"gAMA", b"") + plain[33:],
        "text_sum": plain[:33] + chunk(b"tEXt", b"a\0b", spoil=1) + plain[33:],
        "exif_sum": plain[:33] + chunk(b"eXIf", _orientation_as(3, b"\6\0"), spoil=1) + plain[33:],
    }.items():
        yield _put(folder, f"odd_{what}.png", data, "metadata", upright, warns=True)


def _odd_jpeg(folder: Path) -> Iterator[Sample]:
    plain = _encoded("JPEG", "RGB", quality=95)
    with Image.open(io.BytesIO(plain)) as image:
        pixels = np.asarray(image.convert("RGB"))

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    for what, extra, warns in (
        ("photoshop", segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"), True),
        ("icc_parts", segment(0xE2, b"ICC_PROFILE\0\7\1abc"), False),
        ("jfif_short", segment(0xE0, b"JFIF\0"), True),
        ("mpf", segment(0xE2, b"MPF\0II*\0\x08\0\0\0"), True),
        ("comment", segment(0xFE, b"\xff\xff not UTF-8 \xe9"), False),
        ("adobe_short", segment(0xEE, b"Ado"), False),
    ):
        yield _put(folder, f"odd_{what}.jpg", plain[:2] + extra + plain[2:], "metadata", pixels, warns)
