"""What an evaluation of one dataset says: scores, the IoU of each class, and how they were measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class ClassResult(NamedTuple):
    """One row of the table of classes.

    Attributes:
        name: of the class.
        iou: percent; NaN where neither the ground truth nor the predictions show the class.
        pixels: of the class in the ground truth; 0 leaves it out of the mean.
        seen: whether one of its words is a training word; None where these are not known.
    """

    name: str
    iou: float
    pixels: int
    seen: bool | None


@dataclass(frozen=True)
class Result:
    """The result of one dataset.

    Attributes:
        dataset: its name.
        samples: images, or episodes.
        statement: how it was measured: protocol, denominator, vocabulary, model, weights.
        scores: percent by name; NaN where there is nothing to take a mean of.
        classes: in the order of the labels.
    """

    dataset: str
    samples: int
    statement: Mapping[str, Any]
    scores: Mapping[str, float]
    classes: tuple[ClassResult, ...]
