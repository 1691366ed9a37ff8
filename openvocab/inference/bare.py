"""Picture files without their metadata: the last resort of a reader for which pixels count and metadata are advice."""

import struct
import zlib
from pathlib import Path

from openvocab.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE

TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
# How pixels are stored, and the frames of animations, of which the first may not be the default picture.
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
_ORIENTATION = 274
# Tags of TIFF that say how pixels are stored: size, bits, compression, strips, tiles, colour map, JPEG tables.
_TIFF_KEPT = {*range(254, 267), 273, 277, 278, 279, 284, 292, 293, 317, 320, *range(322, 326), 330, 332, 334, 338, 339,
              347, *range(512, 522), *range(529, 533)}  # fmt: skip


def without_metadata(path: Path) -> bytes | None:
    """Reads a PNG, JPEG or TIFF file without what Pillow may stumble over before it comes to the pixels.

    What says how pixels are stored, and which way is up, stays.

    Args:
        path: an existing file.

    Returns:
        The bytes of a file, or None for other formats and files that cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(len(PNG_SIGNATURE))
            for signatures, bare in ((PNG_SIGNATURE, _bare_png), (JPEG_SIGNATURE, _bare_jpeg),
                                     (TIFF_SIGNATURES, _bare_tiff)):  # fmt: skip
                if head.startswith(signatures):
                    return bare(head + file.read())
    except OSError:  # the error that brought us here says it better
        return None
    return None  # whatever it is, and however large, it is not read


def _bare_png(data: bytes) -> bytes:
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at:end]
        whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind in _PNG_KEPT or (kind == b"eXIf" and whole):  # EXIF says which way is up
            kept.append(chunk)
        at = end
    return b"".join(kept)


def _bare_jpeg(data: bytes) -> bytes:
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # up to the first scan
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end < at + 4:
            break
        marker, content = data[at + 1], data[at + 4 : end]
        said = {
            0xE0: content.startswith(b"JFIF\0") and len(content) >= 14,
            0xE1: content.startswith(b"Exif\0\0"),
            0xEE: content.startswith(b"Adobe"),
        }  # colour, orientation, colour
        if said.get(marker, not (0xE0 <= marker <= 0xEF or marker == 0xFE)):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _bare_tiff(data: bytes) -> bytes:
    """Makes every other entry of the first directory one of a tag that nobody knows."""
    if len(data) < 8:
        return data
    order, bare = "<" if data.startswith(b"II") else ">", bytearray(data)
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return data
    (count,) = struct.unpack_from(order + "H", data, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag not in _TIFF_KEPT and not (tag == _ORIENTATION and kind in (3, 4)):
            struct.pack_into(order + "HHII", bare, at, 65000, 1, 1, 0)
    return bytes(bare)
