"""Window attention in eager PyTorch: the oracle of the kernel (Swin; arXiv 2303.11797, section 3.3)."""

import torch
from torch import Tensor

SEPARATED = -100.0  # added to the logits of tokens that must not see each other, as in Swin


def window_tokens(height: int, width: int, window: int, shift: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lists the tokens of each window after the cyclic shift.

    Args:
        height: tokens of the map.
        width: likewise.
        window: side of a window in tokens.
        shift: in tokens.
        device: of the answer.

    Returns:
        (n, L) int64 index into the flattened map, -1 for padding; (n, L) int64 number of the region: tokens of a window
        with different numbers come from opposite sides of the map.
    """
    axes = []
    for side in (height, width):
        padded = side + -side % window
        shifted = torch.arange(padded, device=device)
        place = (shifted + shift) % padded
        axes.append((torch.where(place < side, place, -1).unflatten(0, (-1, window)),
                     (shifted >= padded - shift).long().unflatten(0, (-1, window))))
    (y, y_region), (x, x_region) = axes
    y, y_region = (rows[:, None, :, None] for rows in (y, y_region))  # (rows, columns, window, window) when broadcast
    x, x_region = (columns[None, :, None, :] for columns in (x, x_region))
    index = torch.where((y < 0) | (x < 0), -1, y * width + x)
    return index.flatten(0, 1).flatten(1), (2 * y_region + x_region).flatten(0, 1).flatten(1)


def window_attention(q: Tensor, k: Tensor, v: Tensor, q_guidance: Tensor | None, k_guidance: Tensor | None, heads: int,
                     window: int, shift: int) -> Tensor:
    """Attends; see `openvocab.kernels.window_attention.api.window_attention`. Every dtype computes in itself."""
    maps, height, width, dim = q.shape
    if q_guidance is not None:
        classes = maps // len(q_guidance)
        q = (q.unflatten(0, (-1, classes)) + q_guidance.to(q.dtype)[:, None]).flatten(0, 1)
        k = (k.unflatten(0, (-1, classes)) + k_guidance.to(k.dtype)[:, None]).flatten(0, 1)
    index, region = window_tokens(height, width, window, shift, q.device)
    mask = torch.where(region[:, :, None] == region[:, None, :], 0.0, SEPARATED)
    mask = mask.masked_fill((index < 0)[:, None, :], float("-inf")).to(q.dtype)
    q, k, v = (x.flatten(1, 2)[:, index.clamp(min=0)].unflatten(-1, (heads, -1)).transpose(2, 3) for x in (q, k, v))
    logits = q @ k.transpose(-1, -2) * (dim // heads) ** -0.5 + mask[:, None]  # (maps, n, heads, L, L)
    mixed = (logits.softmax(-1) @ v).transpose(2, 3).flatten(-2)
    # Every token of the map lies in exactly one window.
    order = torch.empty(height * width, dtype=torch.long, device=q.device)
    tokens = index.flatten()
    order[tokens[tokens >= 0]] = torch.arange(tokens.numel(), device=q.device)[tokens >= 0]
    return mixed.flatten(1, 2)[:, order].unflatten(1, (height, width))
