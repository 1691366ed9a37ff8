"""Multi-scale evaluation with overlapping crops and flips, LSeg's protocol on ADE20K (summed logits).

Shape letters: T classes, h x w image pixels.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class MultiScale:
    """Sizes of the protocol.

    Attributes:
        scales: factors of the image's size.
        base_size: pixels; long side at scale 1.
        crop: pixels; side of a crop.
        stride: pixels between crops.
        flip: whether the mirrored crop is added.

    Raises:
        ValueError: no scale, or a size that is not positive or leaves gaps.
    """

    scales: tuple[float, ...]
    base_size: int
    crop: int
    stride: int
    flip: bool

    def __post_init__(self):
        if not self.scales or min(self.scales) <= 0 or self.base_size < 1 or not 0 < self.stride <= self.crop:
            raise ValueError(
                f"multi_scale: got {self}, expected positive scales and sizes and a stride of at most the "
                "crop (TEST.MULTI_SCALE)"
            )


def multi_scale_scores(score: Callable[[Tensor], Tensor], image: Tensor, sizes: MultiScale) -> Tensor:
    """Sums logits over scales.

    At each scale the long side is `ceil(base_size * scale)`. An image within one crop is padded with black and seen at
    once; a larger one is covered by crops, whose logits are averaged where they overlap.

    Args:
        score: maps (3, crop, crop) to (T, crop, crop).
        image: (3, h, w), RGB in 0..255, floating point.
        sizes: of the protocol.

    Returns:
        (T, h, w), the sum over all scales.
    """
    height, width = image.shape[-2:]
    total = None
    for scale in sizes.scales:
        long_side = math.ceil(sizes.base_size * scale)
        size = _scaled(height, width, long_side)
        scores = _cover(score, _resize(image, size), sizes)
        scores = _resize(scores, (height, width))
        total = scores if total is None else total.add_(scores)
    return total


def crop_origins(side: int, crop: int, stride: int) -> list[int]:
    """Places crops along one axis.

    Args:
        side: pixels of the axis.
        crop: pixels of a crop.
        stride: pixels between crops; the last one may reach over the edge.

    Returns:
        First pixel of each crop.
    """
    count = 1 if side <= crop else math.ceil((side - crop) / stride) + 1
    return [index * stride for index in range(count)]


def _scaled(height: int, width: int, long_side: int) -> tuple[int, int]:
    if height > width:
        return long_side, int(width * long_side / height + 0.5)
    return int(height * long_side / width + 0.5), long_side


def _cover(score: Callable[[Tensor], Tensor], image: Tensor, sizes: MultiScale) -> Tensor:
    height, width = image.shape[-2:]
    total, count = None, image.new_zeros(height, width)
    for top, left in _origins(height, width, sizes):
        piece = image[:, top : top + sizes.crop, left : left + sizes.crop]
        rows, columns = piece.shape[-2:]
        padded = F.pad(piece, (0, sizes.crop - columns, 0, sizes.crop - rows))
        scores = score(padded)
        if sizes.flip:
            scores = scores + score(padded.flip(-1)).flip(-1)
        if total is None:
            total = scores.new_zeros(len(scores), height, width)
        total[:, top : top + rows, left : left + columns] += scores[:, :rows, :columns]
        count[top : top + rows, left : left + columns] += 1
    return total / count


def _origins(height: int, width: int, sizes: MultiScale) -> Iterator[tuple[int, int]]:
    for top in crop_origins(height, sizes.crop, sizes.stride):
        for left in crop_origins(width, sizes.crop, sizes.stride):
            yield top, left


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=True)[0]
