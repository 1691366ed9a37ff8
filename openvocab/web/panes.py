"""What a browser draws an answer from: small pictures, and numbers for the legend."""

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from openvocab.inference.look import Heatmap
from openvocab.inference.result import Result

SHOWN_SIDE = 1600  # pixels; what is drawn on a screen need not be larger. Downloads have the picture's own size
_ANCHOR_SIDE = 256  # pixels; where a number is written need not be known better


def shown_picture(pixels: np.ndarray) -> bytes:
    """Encodes a picture for the screen.

    Args:
        pixels: (h, w, 3) uint8 RGB.

    Returns:
        A JPEG, its longer side at most `SHOWN_SIDE`.
    """
    size = _fitting(pixels.shape[:2], SHOWN_SIDE)
    small = pixels if size == pixels.shape[:2] else cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    return _encoded(small, "JPEG", quality=90)


def shown_map(result: Result) -> bytes:
    """Encodes labels and scores for the screen.

    Args:
        result: of a picture.

    Returns:
        A PNG of the size of `shown_picture`: red and green are the low and the high byte of the label (65535 for "none
        of these"), blue is the score, 255 for 1.
    """
    size = _fitting(result.labels.shape, SHOWN_SIDE)
    labels = _nearest(result.labels, size).astype(np.uint16)  # -1 becomes 65535
    scores = np.round(255 * _nearest(result.scores, size)).astype(np.uint8)
    return _encoded(np.dstack([labels & 255, labels >> 8, scores]).astype(np.uint8), "PNG", compress_level=1)


def shown_heat(values: np.ndarray, low: float, high: float) -> bytes:
    """Encodes a heat map for the screen, in colours that grow lighter throughout (viridis).

    Args:
        values: (h, w) float.
        low: drawn darkest.
        high: drawn lightest.

    Returns:
        A PNG of the size of `shown_picture`.
    """
    size = _fitting(values.shape, SHOWN_SIDE)
    small = values if size == values.shape else cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
    scaled = np.clip((small - low) / max(high - low, 1e-12), 0, 1)
    coloured = cv2.applyColorMap(np.round(255 * scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return _encoded(np.ascontiguousarray(coloured[..., ::-1]), "PNG", compress_level=1)


def label_numbers(result: Result) -> dict[str, dict[str, float]]:
    """Says of every word that occurs what the legend says, and where its number is written.

    Args:
        result: of a picture.

    Returns:
        label -> "share" and "score" (0..1), "x" and "y" (0..1, of width and height) of the point of its mask that is
        farthest from any other, and "room" (0..1 of the longer side), how far that is. -1 is "none of these".
    """
    size = _fitting(result.labels.shape, _ANCHOR_SIDE)
    small = _nearest(result.labels, size)
    numbers = {}
    for area in (*result.occurring(), result.none_area):
        if not area.pixels:
            continue
        x, y, room = _anchor(small == area.label)
        numbers[str(area.label)] = {"share": area.share, "score": area.mean_score, "x": (x + 0.5) / size[1],
                               "y": (y + 0.5) / size[0], "room": room / max(size)}  # fmt: skip
    return numbers


def heat_range(heat: Heatmap) -> tuple[float, float]:
    """Gives the range of a heat map's cosines, which fill a small part of -1..1.

    Args:
        heat: of one word.
    """
    return float(heat.cosine.min()), float(heat.cosine.max())


def _anchor(mask: np.ndarray) -> tuple[int, int, float]:
    padded = np.pad(mask.astype(np.uint8), 1)  # the edge of the picture is an edge as well
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y), float(distance[y, x])


def _fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def _nearest(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if array.shape == size:
        return array
    rows, columns = ((np.arange(new) + 0.5) * old / new for new, old in zip(size, array.shape, strict=True))
    return array[rows.astype(int)[:, None], columns.astype(int)]


def _encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
