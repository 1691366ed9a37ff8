"""Any picture that people have becomes (h, w, 3) uint8 RGB, upright; or one ValueError that names the picture.

The one reader of pictures: of the demo, of training, of evaluation and of every check.
"""

import os

import numpy as np
from PIL import Image

from openvocab.inference.decoding import Decoded, decode

ImageLike = str | os.PathLike | Image.Image | np.ndarray

_SMALL_RANGE = 1 / 4
"""Of 16 bits: values that use no more are said. Cameras store 12 or 14 bits in 16, and such pictures come out dark."""


def read_image(image: ImageLike) -> np.ndarray:
    """Reads a picture as RGB.

    The EXIF orientation is applied, transparency is composited on white, palettes are resolved, CMYK is converted,
    16-bit values are scaled (65535 becomes 255) and not clipped; of an animation the first frame is taken. Metadata are
    advice: broken ones are a warning that names the file, as are 16-bit values that use a small part of their range.

    Args:
        image: a path, a PIL image, or an (h, w, 3) uint8 RGB array.

    Returns:
        (h, w, 3) uint8 RGB, 0..255, C-contiguous; an array that has this form already is returned as it is.

    Raises:
        ValueError: the file is missing, a folder, not a picture, truncated, too large (more than 178,956,970 pixels),
            or of an unknown form; or the array has another dtype or shape. The message names the file.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if not isinstance(image, (str, os.PathLike, Image.Image)):
        kind = f"{type(image).__module__}.{type(image).__qualname__}"
        raise ValueError(f"image: expected a path, a PIL image or an (h, w, 3) uint8 RGB array, got {kind}")
    decoded = decode(image)
    rgb = _to_rgb(decoded)
    if rgb.size == 0:
        raise ValueError(f"image: expected at least 1 x 1 pixels, got {rgb.shape[1]} x {rgb.shape[0]}: {decoded.name}")
    return rgb


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ValueError(f"image: expected an array of dtype uint8 (RGB, 0..255), got dtype {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"image: expected an array of shape (h, w, 3) with h, w >= 1, got shape {array.shape}")
    return np.ascontiguousarray(array)


def _to_rgb(decoded: Decoded) -> np.ndarray:
    image = decoded.image
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_deep_grey(decoded)[..., None], 3, axis=2)
    try:
        if (image.mode != "P" or image.palette is not None) and image.has_transparency_data:
            layer = _with_alpha(decoded)
            canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            canvas.alpha_composite(layer)
            image = canvas
        rgb = np.array(image.convert("RGB"))
    except Exception as error:  # noqa: BLE001 - modes such as LAB, palettes that are missing, transparency of no sense
        raise ValueError(f"image: no conversion to RGB from mode {image.mode!r}: {decoded.name} ({error})") from error
    if ";16" in decoded.raw_mode and rgb.size:  # of which Pillow has kept the upper bytes
        _say_small_range(decoded, 256 * int(rgb.min()), 256 * int(rgb.max()) + 255)
    return rgb


def _with_alpha(decoded: Decoded) -> Image.Image:
    image, transparent = decoded.image, decoded.image.info.get("transparency")
    if decoded.format == "PNG" and isinstance(transparent, (int, tuple)) and image.mode in ("L", "RGB"):
        image = image.copy()
        image.info["transparency"] = _as_decoded(transparent, decoded.raw_mode)
    return image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")


def _as_decoded(transparent: int | tuple[int, ...], raw_mode: str) -> int | tuple[int, ...]:
    """Converts PNG's one transparent colour, which Pillow hands on as stored, the way Pillow has converted pixels."""
    if isinstance(transparent, tuple):
        return tuple(value >> 8 for value in transparent) if raw_mode == "RGB;16B" else transparent
    return transparent * {"L;2": 85, "L;4": 17}.get(raw_mode, 1)


def _deep_grey(decoded: Decoded) -> np.ndarray:
    """Scales greyscale of more than 8 bits (PIL modes I, I;16 and F) to uint8; Pillow's own conversion clips at 255."""
    image, values = decoded.image, np.asarray(decoded.image)
    if not values.size:
        return values.astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and 1 < high <= 255 and low >= 0:
        decoded.remark(f"fractions in {low:g}..{high:g} are taken as brightness of 0..255, not of 0..1")
        return np.array(image.convert("L"))
    top = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= top):  # so written, NaN is refused as well
        expected = "0..1 or 0..255" if image.mode == "F" else "0..65535"
        raise ValueError(f"image: expected {image.mode!r} values in {expected}, got {low:g}..{high:g}: {decoded.name}")
    if image.mode != "F":
        _say_small_range(decoded, int(low), int(high))
    grey = np.round(values.astype(np.float32) * (255.0 / top)).astype(np.uint8)
    transparent = image.info.get("transparency")
    return np.where(values == transparent, np.uint8(255), grey) if isinstance(transparent, int) else grey


def _say_small_range(decoded: Decoded, low: int, high: int) -> None:
    if high <= _SMALL_RANGE * 65535:
        decoded.remark(
            f"16-bit values use {low}..{high} of 0..65535, the picture comes out dark; of fewer bits, scale them first"
        )
