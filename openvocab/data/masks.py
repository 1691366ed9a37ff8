"""The one reader of masks: an index is the sample that the file stores, whatever Pillow makes of it."""

import os

import numpy as np

from openvocab.console import first_of
from openvocab.inference.decoding import Decoded, decode

INDEX_FORMATS = ("PNG", "TIFF")
_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
# Cityscapes' gtFine_color: road to bicycle, and what is not evaluated. Of the authors' published table.
_CITYSCAPES = (
    "804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98 4682b4 dc143c ff0000 00008e 000046 003c64 "
    "005064 0000e6 770b20 000000 6f4a00 510051 faaaa0 e6968c b4a5b4 966464 96785a 00005a 00006e"
).split()


def read_indices(path: str | os.PathLike) -> np.ndarray:
    """Reads an image whose pixels are class indices; see `read_indices_and_depth`."""
    return read_indices_and_depth(path)[0]


def read_indices_and_depth(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Reads an image whose pixels are class indices, and says how many bits an index may have.

    Pillow makes brightness of two and four bits (3 becomes 255), and inverts TIFFs whose zero is white; here both are
    undone. Palettes are not looked at. Where EXIF or a TIFF's Orientation turns the picture, the mask is turned.

    Args:
        path: PNG or TIFF, 1 to 16 bits (or 32, without fraction), grey or palette.

    Returns:
        (h, w) int32, and 8 (or less) or 16 (or more) as 8 or 16.

    Raises:
        ValueError: the file is missing, not an image, cut off, of another format, of several pages, or holds colours
            where indices belong; then the message says what the colours look like.
    """
    decoded = decode(path)
    if decoded.format not in INDEX_FORMATS:
        why = ", which changes values" if decoded.format in _LOSSY else ""
        raise ValueError(f"{decoded.name}: got a mask in the format {decoded.format}{why}, expected PNG or TIFF")
    if decoded.frames != 1:
        raise ValueError(f"{decoded.name}: got a mask of {decoded.frames} pages, expected one")
    kind = decoded.raw_mode.partition(";")[0]
    if kind not in ("1", "L", "P", "I"):
        raise ValueError(
            f"{decoded.name}: got a mask of mode {decoded.image.mode}, expected class indices (grey or "
            f"palette, 8 or 16 bits); {_look(decoded)}"
        )
    values = np.array(decoded.image).astype(np.int32)
    return values if kind in "PI" else _as_stored(values, decoded.raw_mode), 16 if kind == "I" else 8


def _as_stored(values: np.ndarray, raw_mode: str) -> np.ndarray:
    """Undoes what Pillow did to grey samples of up to 8 bits.

    Args:
        values: (h, w) int32 as decoded; of one bit 0 and 1.
        raw_mode: such as "L;4I": four bits, inverted.
    """
    kind, _, how = raw_mode.partition(";")
    largest = 2 ** int(how[0]) - 1 if how[:1].isdigit() else 1 if kind == "1" else 255
    samples = values if kind == "1" else values // (255 // largest)
    return largest - samples if "I" in how else samples


def _look(decoded: Decoded) -> str:
    """Says what a mask of colours looks like, and what to do."""
    if decoded.image.mode == "F":
        return "it holds numbers with a fraction: write integers"
    if decoded.image.mode in ("CMYK", "LAB", "HSV"):
        return "it is a picture for print, not a mask"
    pixels = np.array(decoded.image.convert("RGB")).reshape(-1, 3)
    if (pixels == pixels[:, :1]).all():
        return f"its channels are equal and hold {first_of(np.unique(pixels[:, 0]))}: save one channel"
    colours = np.unique(pixels, axis=0)
    found = {bytes(colour.tolist()).hex() for colour in colours}
    if found <= _voc_colours():
        return (
            "its colours are PASCAL VOC's, as CVAT and labelme export them: take the palette PNGs, "
            "or turn each colour into the number of its word"
        )
    if found <= set(_CITYSCAPES):
        return "its colours are those of Cityscapes' gtFine_color: take gtFine_labelTrainIds"
    many = f"{len(colours)} colours, such as {' '.join(str(tuple(colour.tolist())) for colour in colours[:3])}"
    if len(colours) <= 256:
        return f"it holds {many}: turn each colour into the number of its word"
    return f"it holds {many}: a photograph, or a lossy copy of a mask"


def _voc_colours() -> set[str]:
    """Returns the 256 colours of VOC's colour map: bit i of an index goes to channel i mod 3, highest bits first."""

    def channel(index: int, number: int) -> int:
        return sum((index >> (3 * place + number) & 1) << (7 - place) for place in range(3))

    return {bytes(channel(index, number) for number in range(3)).hex() for index in range(256)}
