"""Memory for time: a block's activations are computed again in the backward pass instead of being kept until then."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def run_block(block: Callable[..., Tensor], *inputs: Tensor | Sequence[int], recompute: bool) -> Tensor:
    """Calls a block, whose gradients are the same either way (MODEL.CHECKPOINT_ACTIVATIONS).

    Args:
        block: a module or method without state that a call changes: batch normalisation would count its batch twice.
        inputs: of the block; they are what is kept.
        recompute: whether to compute it again in the backward pass; without gradients nothing is kept anyway.

    Returns:
        The block's answer.
    """
    if not (recompute and torch.is_grad_enabled()):
        return block(*inputs)
    return checkpoint(block, *inputs, use_reentrant=False)
