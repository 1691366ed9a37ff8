"""Any picture that people have becomes (h, w, 3) uint8 RGB, upright; or one ValueError that names the picture."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ImageLike = str | os.PathLike | Image.Image | np.ndarray

# What Pillow's decoders raise on broken files, beside UnidentifiedImageError (an OSError).
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error)


def read_image(image: ImageLike) -> np.ndarray:
    """Reads a picture as RGB.

    The EXIF orientation is applied, transparency is composited on white, palettes are resolved, CMYK is converted,
    16-bit values are scaled (65535 becomes 255) and not clipped; of an animation the first frame is taken.

    Args:
        image: a path, a PIL image, or an (h, w, 3) uint8 RGB array.

    Returns:
        (h, w, 3) uint8 RGB, 0..255, C-contiguous; an array that has this form already is returned as it is.

    Raises:
        ValueError: the file is missing, a folder, not a picture, truncated, or of an unknown form; or the array has
            another dtype or shape. The message names the file.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image)
    if isinstance(image, Image.Image):
        return _decode(image, "a PIL image")
    if not isinstance(image, (str, os.PathLike)):
        kind = f"{type(image).__module__}.{type(image).__qualname__}"
        raise ValueError(f"image: expected a path, a PIL image or an (h, w, 3) uint8 RGB array, got {kind}")
    path = Path(image)
    if path.is_dir():
        raise ValueError(f"image: expected a picture, got the folder {path}")
    if not path.exists():
        raise ValueError(f"image: no such file: {path}")
    try:
        with Image.open(path) as opened:
            return _decode(opened, str(path))
    except UnidentifiedImageError as error:
        raise ValueError(f"image: not a picture that can be read: {path}") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"image: {path} is too large: {error}") from error
    except PermissionError as error:
        raise ValueError(f"image: no permission to read {path}") from error
    except OSError as error:
        raise ValueError(f"image: cannot read {path}: {error}") from error


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise ValueError(f"image: expected an array of dtype uint8 (RGB, 0..255), got dtype {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"image: expected an array of shape (h, w, 3) with h, w >= 1, got shape {array.shape}")
    return np.ascontiguousarray(array)


def _decode(image: Image.Image, name: str) -> np.ndarray:
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
    except Image.DecompressionBombError:
        raise
    except _DECODER_ERRORS as error:
        raise ValueError(f"image: damaged or truncated: {name} ({error})") from error
    rgb = _to_rgb(upright, name)
    if rgb.size == 0:
        raise ValueError(f"image: expected at least 1 x 1 pixels, got {upright.width} x {upright.height}: {name}")
    return rgb


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_deep_grey(image, name)[..., None], 3, axis=2)
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    try:
        if has_alpha:
            layer = image.convert("RGBA")
            canvas = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            canvas.alpha_composite(layer)
            image = canvas
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ValueError(f"image: no conversion to RGB from mode {image.mode!r}: {name}") from error


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    """Scales greyscale of more than 8 bits (PIL modes I, I;16 and F) to uint8; Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    top = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= top):  # so written, NaN is refused as well
        raise ValueError(f"image: expected {image.mode!r} values in 0..{top:g}, got {low:g}..{high:g}: {name}")
    return np.round(values.astype(np.float32) * (255.0 / top)).astype(np.uint8)
