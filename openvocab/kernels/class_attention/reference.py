"""Class attention in eager PyTorch: the oracle of the kernel (arXiv 2303.11797, section 3.3)."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # of the normaliser in linear attention


def feature_map(x: Tensor) -> Tensor:
    """The positive feature map of linear attention, elu(x) + 1."""
    return F.elu(x) + 1


def class_attention(
    q: Tensor, k: Tensor, v: Tensor, key_padding: Tensor, value_padding: Tensor, heads: int, copies: int
) -> Tensor:
    """Attends; see `openvocab.kernels.class_attention.api.class_attention`. Every dtype computes in itself."""
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (feature_map(q), feature_map(k), v))
    keys_values = torch.einsum("btlnd,btlne->blnde", k, v)
    keys = k.sum(dim=1)
    # With no copy as well, times 0: distributed training raises on trainable parameters without gradient.
    k_pad = feature_map(key_padding.to(q.dtype)).unflatten(-1, (heads, -1))
    v_pad = value_padding.to(q.dtype).unflatten(-1, (heads, -1))
    keys_values = keys_values + copies * torch.einsum("nd,ne->nde", k_pad, v_pad)
    keys = keys + copies * k_pad
    normaliser = torch.einsum("btlnd,blnd->btln", q, keys) + EPSILON
    return (torch.einsum("btlnd,blnde->btlne", q, keys_values) / normaliser[..., None]).flatten(-2)
