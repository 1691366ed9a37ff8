"""GroupNorm and ReLU in eager PyTorch: the oracle of the kernel."""

import torch.nn.functional as F
from torch import Tensor


def group_norm_relu(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, shared: Tensor | None, epsilon: float
) -> Tensor:
    """Normalises; see `openvocab.kernels.group_norm_relu.api.group_norm_relu`. Every dtype computes in itself."""
    if shared is not None:
        x = (x.unflatten(0, (shared.shape[0], -1)) + shared.to(x.dtype)[:, None]).flatten(0, 1)
    return F.relu(F.group_norm(x, groups, weight.to(x.dtype), bias.to(x.dtype), epsilon)).to(x.dtype)
