"""A result in the form of the library supervision, whose annotators and trackers take it."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import supervision

    from openvocab.inference.result import Result


def detections_of(result: "Result") -> "supervision.Detections":
    """Describes a result as detections, one per word that occurs.

    Args:
        result: of one picture.

    Returns:
        The largest first: masks, boxes, `class_id` (index into `Result.names`), `confidence` (mean score of the mask),
        and the names in `data["class_name"]`.

    Raises:
        ImportError: supervision is not installed.
    """
    try:
        import supervision
    except ModuleNotFoundError as error:
        if error.name != "supervision":
            raise
        raise ImportError(
            "to_supervision: supervision is not installed, expected it: "
            'python -m pip install "openvocab-seg[formats]" (or supervision)'
        ) from error
    areas = result.occurring()
    masks = np.zeros((len(areas), *result.labels.shape), bool)
    for mask, area in zip(masks, areas, strict=True):
        np.equal(result.labels, area.label, out=mask)
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        confidence=np.array([area.mean_score for area in areas], np.float32),
        class_id=np.array([area.label for area in areas], int),
        data={"class_name": np.array([area.name for area in areas], str)},
    )
