"""Keys for what is derived from weights: they change whenever a weight does."""

from collections.abc import Hashable
from itertools import chain

from torch import nn


def weights_key(module: nn.Module) -> Hashable:
    """Identifies the present weights of a module.

    Args:
        module: with parameters, and buffers.

    Returns:
        Address, version, dtype and device of each of them. A write through `.data` leaves no trace in it; caches are
        therefore dropped by `train()` as well.
    """
    return tuple((p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype, p.device)
                 for p in chain(module.parameters(), module.buffers()))
