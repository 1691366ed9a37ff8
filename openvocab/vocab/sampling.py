"""Training on part of a large vocabulary: the words that are in the batch, and random others."""

from collections.abc import Iterable

import torch
from torch import Tensor


def sample_vocabulary(present: Iterable[int], size: int, n: int, generator: torch.Generator | None = None) -> list[int]:
    """Draws the classes of one training batch.

    Args:
        present: classes that the labels of the batch hold, each in 0..size - 1.
        size: number of classes T.
        n: classes wanted; where more are present, all of those are kept.
        generator: source of randomness; None is torch's global one on the CPU.

    Returns:
        Classes in ascending order: those present, filled up to min(n, size) with others drawn without replacement.

    Raises:
        ValueError: `n` is not positive, or a class is outside 0..size - 1.
    """
    kept = set(present)
    if n < 1:
        raise ValueError(f"n: got {n}, expected at least 1")
    wrong = sorted(index for index in kept if not 0 <= index < size)
    if wrong:
        raise ValueError(f"present: got {wrong}, expected classes in 0..{size - 1}")
    for index in torch.randperm(size, generator=generator).tolist():
        if len(kept) >= n:
            break
        kept.add(index)
    return sorted(kept)


def chance_to_be_named(in_batch: Tensor, n: int) -> Tensor:
    """Gives how often each class is among the words of a training batch.

    Args:
        in_batch: (T,), how often the labels of a batch hold a class, 0..1.
        n: classes wanted, see `sample_vocabulary`; 0 = all.

    Returns:
        (T,) 0..1: of the classes that are absent, those that fill up are drawn alike.
    """
    if not 0 < n < len(in_batch):
        return torch.ones_like(in_batch)
    present = in_batch.sum()
    filled = ((n - present) / (len(in_batch) - present).clamp(min=1)).clamp(0, 1)
    return in_batch + (1 - in_batch) * filled
