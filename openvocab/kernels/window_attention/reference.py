"""Window attention in eager PyTorch: the oracle of the kernel (Swin; arXiv 2303.11797, section 3.3)."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from openvocab.devices import to_device

SEPARATED = -100.0  # added to the logits of tokens that must not see each other, as in Swin


class Geometry(NamedTuple):
    """Where the tokens of each window lie after the cyclic shift; on the host, because it depends on sizes alone.

    Attributes:
        index: (n, L) int64 into the flattened map, -1 for padding.
        region: (n, L) int64; tokens of a window with different numbers come from opposite sides of the map.
        order: (H * W) int64, for each token of the map its place in the flattened windows.
    """

    index: np.ndarray
    region: np.ndarray
    order: np.ndarray


@lru_cache(maxsize=64)
def window_geometry(height: int, width: int, window: int, shift: int) -> Geometry:
    """Lays windows over a map, once per size.

    Args:
        height: tokens of the map.
        width: likewise.
        window: side of a window in tokens.
        shift: in tokens.

    Returns:
        The geometry; not to be written to.
    """
    axes = []
    for side in (height, width):
        padded = side + -side % window
        shifted = np.arange(padded)
        place = (shifted + shift) % padded
        axes.append((np.where(place < side, place, -1).reshape(-1, window),
                     (shifted >= padded - shift).astype(np.int64).reshape(-1, window)))
    (y, y_region), (x, x_region) = axes
    y, y_region = (rows[:, None, :, None] for rows in (y, y_region))  # (rows, columns, window, window) when broadcast
    x, x_region = (columns[None, :, None, :] for columns in (x, x_region))
    index, region = np.broadcast_arrays(np.where((y < 0) | (x < 0), -1, y * width + x), 2 * y_region + x_region)
    index, region = (part.reshape(-1, window * window) for part in (index, region))
    tokens = index.flatten()  # every token of the map lies in exactly one window
    order = np.empty(height * width, dtype=np.int64)
    order[tokens[tokens >= 0]] = np.flatnonzero(tokens >= 0)
    return Geometry(index, region, order)


class Windows(NamedTuple):
    """Which tokens a map's windows hold, and which of them see each other.

    Attributes:
        index: (n, L) int64 into the flattened map; padding points at token 0 and is never seen.
        order: (H * W) int64, for each token of the map its place in the flattened windows.
        mask: (n, 1, L, L), added to the logits; None where all see all.
    """

    index: Tensor
    order: Tensor
    mask: Tensor | None


def make_windows(height: int, width: int, window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Windows:
    """Brings the windows of a map to a device; see `window_geometry` for the sizes.

    Args:
        height: tokens of the map.
        width: likewise.
        window: side of a window in tokens.
        shift: in tokens.
        device: of the answer.
        dtype: of the mask.

    Returns:
        The windows.
    """
    geometry = window_geometry(height, width, window, shift)
    index, region, order = (to_device(part, device) for part in geometry)
    padded, split = bool((geometry.index < 0).any()), bool((geometry.region != geometry.region[:, :1]).any())
    mask = None
    if padded or split:
        mask = torch.where(region[:, :, None] == region[:, None, :], 0.0, SEPARATED)
        mask = mask.masked_fill((index < 0)[:, None, :], float("-inf"))[:, None].to(dtype)
    return Windows(index.clamp(min=0), order, mask)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Attends within windows.

    Args:
        q: (B, n, L, D): B maps cut into n windows, guidance included. Any strides.
        k: likewise.
        v: likewise.
        heads: divides D.
        mask: (n, 1, L, L), see `Windows`.

    Returns:
        (B, n, L, D).
    """
    mask = None if mask is None else mask[None].expand(len(q), -1, -1, -1, -1).flatten(0, 1)
    split = (x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(*split, attn_mask=mask)  # (B * n, heads, L, D / heads)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, q.shape[:2])


def window_attention(q: Tensor, k: Tensor, v: Tensor, q_guidance: Tensor | None, k_guidance: Tensor | None, heads: int,
                     window: int, shift: int) -> Tensor:
    """Attends; see `openvocab.kernels.window_attention.api.window_attention`. Every dtype computes in itself."""
    maps, height, width, _ = q.shape
    if q_guidance is not None:
        classes = maps // len(q_guidance)
        q = (q.unflatten(0, (-1, classes)) + q_guidance.to(q.dtype)[:, None]).flatten(0, 1)
        k = (k.unflatten(0, (-1, classes)) + k_guidance.to(k.dtype)[:, None]).flatten(0, 1)
    windows = make_windows(height, width, window, shift, q.device, q.dtype)
    q, k, v = (x.flatten(1, 2)[:, windows.index] for x in (q, k, v))
    mixed = attend(q, k, v, heads, windows.mask).flatten(1, 2)
    return mixed[:, windows.order].unflatten(1, (height, width))
