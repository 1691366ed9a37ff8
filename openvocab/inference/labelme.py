"""A result in labelme's form: one shape of type "mask" per word, which holds pixels exactly, holes and islands too.

Its polygons have no holes, and would round every edge; masks are shown and edited by labelme 5.3 and newer.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from openvocab.inference import marks

if TYPE_CHECKING:
    from openvocab.inference.result import Result

_VERSION = "5.5.0"  # of the form; labelme warns of another first number only


def labelme_of(result: "Result", image_path: str = "") -> dict[str, Any]:
    """Describes a result as labelme's files do.

    Args:
        result: of one picture.
        image_path: of the picture, seen from the folder of the file.

    Returns:
        What goes into the JSON: a shape per word that occurs, the largest first. Its mask is a PNG of zeros and ones in
        base64, which covers the rectangle from the first point to the last one, both included.
    """
    height, width = result.labels.shape
    return {
        marks.JSON_KEY: marks.TEXTS[marks.SEGMENTATION],
        "version": _VERSION,
        "flags": {},
        "shapes": [_shape(area.name, result.labels == area.label) for area in result.occurring()],
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _shape(name: str, mask: np.ndarray) -> dict[str, Any]:
    (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
    file = io.BytesIO()
    Image.fromarray(mask[top : bottom + 1, left : right + 1].astype(np.uint8)).save(file, format="PNG")
    return {
        "label": name,
        "points": [[left, top], [right, bottom]],
        "group_id": None,
        "description": "",
        "shape_type": "mask",
        "flags": {},
        "mask": base64.b64encode(file.getvalue()).decode("ascii"),
    }
