"""Test-time augmentation: the mean of the probabilities over sizes and mirror images (Detectron2's keys TEST.AUG.*).

Shape letters: T classes, h x w image pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from fvcore.common.config import CfgNode
from torch import Tensor

from openvocab.windows import resize, resized_parts


@dataclass(frozen=True)
class AugmentedViews:
    """How an image is seen several times.

    Attributes:
        sizes: pixels; short side of the image in each view.
        max_size: pixels; limit of the long side.
        flip: whether the mirror image of each view is added.

    Raises:
        ValueError: no size, or one that is not positive.
    """

    sizes: tuple[int, ...]
    max_size: int
    flip: bool

    def __post_init__(self):
        if not self.sizes or min(self.sizes) < 1 or self.max_size < 1:
            raise ValueError(
                f"TEST.AUG: got MIN_SIZES {self.sizes} and MAX_SIZE {self.max_size}, expected at least "
                "one size, and positive numbers of pixels"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "AugmentedViews | None":
        """Reads TEST.AUG.

        Args:
            cfg: a Detectron2 config.

        Returns:
            The views; None where TEST.AUG.ENABLED is off.
        """
        own = cfg.TEST.AUG
        return cls(tuple(own.MIN_SIZES), own.MAX_SIZE, own.FLIP) if own.ENABLED else None

    def mean(self, image: Tensor, size: tuple[int, int], maps_of: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Averages the probabilities of all views.

        Besides the sum, only one view's maps exist at a time.

        Args:
            image: (3, h, w), uint8 or floating point.
            size: height and width of the answer in pixels.
            maps_of: maps a view (3, h', w') and the size it was made for to probabilities (T, h'', w''), a new tensor.

        Returns:
            (T, *size), dtype of the maps.
        """
        total = None
        for short_side in self.sizes:
            view = with_short_side(image, short_side, self.max_size)
            total = _plus(total, maps_of(view, short_side), size)  # no name may keep a view's maps
            if self.flip:
                total = _plus(total, maps_of(view.flip(-1), short_side).flip(-1), size)
        return total.div_(len(self.sizes) * (1 + self.flip))


def with_short_side(image: Tensor, short_side: int, max_size: int) -> Tensor:
    """Resizes an image with antialias, as Detectron2's `ResizeShortestEdge` does, up to a rounding of grey values.

    Args:
        image: (3, h, w), uint8 or floating point.
        short_side: pixels.
        max_size: pixels; limit of the long side.

    Returns:
        (3, h', w') of the same dtype; floating point where the device cannot resize integers.
    """
    height, width = image.shape[-2:]
    scale = min(short_side / min(height, width), max_size / max(height, width))
    size = tuple(max(1, int(scale * side + 0.5)) for side in (height, width))
    if size == (height, width):
        return image
    if not image.is_floating_point() and image.device.type != "cpu":
        image = image.float()
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def _plus(total: Tensor | None, maps: Tensor, size: tuple[int, int]) -> Tensor:
    if total is None:
        return resize(maps[None], size)[0]
    for start, part in resized_parts(maps, size):
        total[start : start + len(part)] += part
    return total
