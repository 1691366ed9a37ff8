"""A result in COCO's form: one mask per word as a run-length code, which most tools for annotations read."""

from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as rle

from openvocab.inference import marks

if TYPE_CHECKING:
    from openvocab.inference.result import Result


def coco_of(result: "Result", file_name: str = "") -> dict[str, Any]:
    """Describes a result as COCO's "instances" files do, one annotation per word that occurs.

    Args:
        result: of one picture.
        file_name: of the picture.

    Returns:
        "info" (model, weights, notice), "images", "categories" (all words, numbered from 1) and "annotations" with
        "segmentation" {"size": [h, w], "counts": text}, "area" and "bbox" [x, y, w, h] in pixels, and "score" 0..1, the
        mean over the mask.
    """
    height, width = result.labels.shape
    annotations = []
    for area in result.occurring():
        code = rle.encode(np.asfortranarray(result.labels == area.label, np.uint8))
        annotations.append({
            "id": len(annotations) + 1,
            "image_id": 1,
            "category_id": area.label + 1,
            "segmentation": {"size": [height, width], "counts": code["counts"].decode("ascii")},
            "area": area.pixels,
            "bbox": [float(side) for side in rle.toBbox(code)],
            "iscrowd": 0,
            "score": round(area.mean_score, 6),
        })  # fmt: skip
    return {
        marks.JSON_KEY: marks.TEXTS[marks.SEGMENTATION],
        "info": {"description": "Written by openvocab-seg", "model": result.model, "weights": result.weights,
                 "notice": result.notice},
        "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(result.names, 1)],
        "annotations": annotations,
    }  # fmt: skip
