"""Sizes in a graph that is exported: what the tracer may compare, and numbers that the graph itself computes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def surely_equal(sizes: Sequence[int], others: Sequence[int]) -> bool:
    """Compares sizes; of those that a graph is exported for, says whether they are equal for every picture.

    Args:
        sizes: of one tensor.
        others: of another one, as many.
    """
    if not torch.compiler.is_exporting():
        return tuple(sizes) == tuple(others)
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # takes a while to import

    return all(statically_known_true(one == other) for one, other in zip(sizes, others, strict=True))


def computed(number: Tensor, low: int, high: int) -> int:
    """Gives a whole number that the graph computes from sizes; the tracer knows its bounds alone.

    Args:
        number: (), on the CPU.
        low: the smallest that it can be.
        high: the largest.
    """
    value = number.to(torch.int64).item()
    torch._check(value >= low)
    torch._check(value <= high)
    return value
