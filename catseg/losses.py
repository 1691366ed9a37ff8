"""Training loss: binary cross-entropy of every pixel and class (arXiv 2303.11797, section 3.5).

Shape letters: B images, T classes, h x w label pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openvocab.labels import check_labels

IGNORED_PIXELS = ("negative", "masked")


def segmentation_loss(logits: Tensor, labels: Sequence[Tensor], ignore_label: int, ignored_pixels: str) -> Tensor:
    """Computes the mean binary cross-entropy at label resolution.

    Args:
        logits: (B, T, h', w'), upsampled bilinearly to the size of each label map.
        labels: B maps (h, w) int64 with classes 0..T - 1 or `ignore_label`; sizes may differ.
        ignore_label: value of pixels without a class.
        ignored_pixels: "negative" counts such a pixel as negative for every class, as the original does; "masked"
            leaves it out.

    Returns:
        Scalar, mean over all counted pixels and classes; 0 where no pixel counts.

    Raises:
        ValueError: a label on the host that is outside the range, or an unknown rule.
    """
    if ignored_pixels not in IGNORED_PIXELS:
        raise ValueError(
            f"ignored_pixels: got {ignored_pixels!r}, expected one of {IGNORED_PIXELS} (MODEL.CATSEG.IGNORED_PIXELS)"
        )
    total, pixels = logits.new_zeros(()), 0
    for maps, label in zip(logits, labels, strict=True):
        if not label.is_cuda:  # the model has checked them where they came from; a GPU would have to wait
            check_labels(label, len(maps), ignore_label)
        maps = F.interpolate(maps[None], size=label.shape, mode="bilinear", align_corners=False)[0]
        known = label != ignore_label
        # bce(x, t) = softplus(x) - t x, and the one-hot target picks one x per pixel; -logsigmoid(-x) is softplus
        # without the shortcut that F.softplus takes for large x.
        negative = -F.logsigmoid(-maps)
        positive = maps.gather(0, torch.where(known, label, 0)[None])[0]
        counted = known if ignored_pixels == "masked" else torch.ones_like(known)
        total = total + (negative.sum(dim=0) * counted).sum() - (positive * known).sum()
        pixels = pixels + counted.sum()
    return total / (pixels * logits.shape[1]).clamp(min=1)


def kept_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Computes how far words have moved from what they were at the start of a training.

    Args:
        logits: (B, K, h', w').
        probabilities: the same shape, at the start, 0..1, float32 or float64.

    Returns:
        Scalar, mean over all of the Kullback-Leibler divergence between two yes-or-no answers, in nats; 0 at the start.
    """
    crossed = F.binary_cross_entropy_with_logits(logits.to(probabilities.dtype), probabilities)
    return crossed - _entropy(probabilities).mean()


def constant_loss(shares: Tensor, ignored: float, named: Tensor, ignored_pixels: str) -> float:
    """Computes what the best answer loses that ignores the picture: of each class, its frequency everywhere.

    Args:
        shares: (T,) of each class among the pixels that have one.
        ignored: share of the pixels that have none.
        named: (T,) how often a class is among a batch's words, 0..1; where it is not, it is not in the labels either.
        ignored_pixels: as for `segmentation_loss`.

    Returns:
        The mean over classes of the entropy of "this pixel is of the class", in nats.
    """
    frequency = shares.double() * (1 if ignored_pixels == "masked" else 1 - ignored)
    chance = (frequency / named.clamp(min=1e-12)).clamp(0, 1)
    return float((named * _entropy(chance)).sum() / named.sum())


def loss_count(labels: Sequence[Tensor], classes: Sequence[int], ignore_label: int, ignored_pixels: str) -> int:
    """Counts what the mean of `segmentation_loss` goes over: pairs of a counted pixel and a class.

    Args:
        labels: maps (h, w) int64 on the host.
        classes: T, for each map.
        ignore_label: value of pixels without a class.
        ignored_pixels: as for `segmentation_loss`.
    """
    return sum(
        count * (int((label != ignore_label).sum()) if ignored_pixels == "masked" else label.numel())
        for label, count in zip(labels, classes, strict=True)
    )


def _entropy(chance: Tensor) -> Tensor:
    """Of answers that are yes with this probability, in nats; the same shape."""
    return -torch.xlogy(chance, chance) - torch.xlogy(1 - chance, 1 - chance)
