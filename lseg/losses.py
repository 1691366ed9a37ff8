"""Training loss: softmax cross-entropy over the words (arXiv 2201.03546, section 3.1).

Shape letters: T classes, h x w pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openvocab.labels import check_labels


def segmentation_loss(logits: Sequence[Tensor], labels: Sequence[Tensor], ignore_label: int) -> Tensor:
    """Computes the mean cross-entropy over all labelled pixels of a batch.

    Args:
        logits: one map (T, h, w) per image; T may differ between images.
        labels: one map (h, w) int64 per image, 0..T - 1 or `ignore_label`.
        ignore_label: value of pixels that do not count.

    Returns:
        Scalar; 0 where no pixel counts.

    Raises:
        ValueError: a label on the host that is outside the range.
    """
    total, pixels = torch.zeros((), device=labels[0].device, dtype=logits[0].dtype), 0
    for maps, label in zip(logits, labels, strict=True):
        if not label.is_cuda:  # the model has checked them where they came from; a GPU would have to wait
            check_labels(label, len(maps), ignore_label)
        total = total + F.cross_entropy(maps[None], label[None], ignore_index=ignore_label, reduction="sum")
        pixels = pixels + (label != ignore_label).sum()
    return total / pixels.clamp(min=1)


def constant_loss(shares: Tensor, named: Tensor) -> float:
    """Computes what the best answer loses that ignores the picture: the frequencies of the classes everywhere.

    Args:
        shares: (T,) of each class among the pixels that have one.
        named: (T,) how often a class is among a batch's words, 0..1; where words are sampled, this is a bound from
            above, for the frequencies among them add up to 1 on average only.

    Returns:
        The entropy of the classes, in nats.
    """
    shares = shares.double()
    return float((torch.xlogy(shares, named.clamp(min=1e-12)) - torch.xlogy(shares, shares)).sum())


def loss_count(labels: Sequence[Tensor], ignore_label: int) -> int:
    """Counts what the mean of `segmentation_loss` goes over: the labelled pixels.

    Args:
        labels: maps (h, w) int64 on the host.
        ignore_label: value of pixels that do not count.
    """
    return sum(int((label != ignore_label).sum()) for label in labels)
