"""Window attention in eager PyTorch: the oracle of the kernel (Swin; arXiv 2303.11797, section 3.3)."""

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from openvocab.devices import to_device

SEPARATED = -100.0  # added to the logits of tokens that must not see each other, as in Swin


class Geometry(NamedTuple):
    """Where the tokens of each window lie after the cyclic shift: plain numbers, as they depend on sizes alone.

    Attributes:
        index: n windows of L places in the flattened map, -1 for padding.
        region: n windows of L numbers; tokens of a window with different numbers come from opposite sides of the map.
        order: for each of the H W tokens of the map its place in the flattened windows.
    """

    index: tuple[tuple[int, ...], ...]
    region: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]


@lru_cache(maxsize=64)
def window_geometry(height: int, width: int, window: int, shift: int) -> Geometry:
    """Lays windows over a map, once per size and on the host: a device never waits, and a tracer sees constants.

    Args:
        height: tokens of the map.
        width: likewise.
        window: side of a window in tokens.
        shift: in tokens.

    Returns:
        The geometry.
    """
    rows, columns = (_axis(side, window, shift) for side in (height, width))
    index, region = [], []
    for band in rows:
        for cut in columns:
            index.append(tuple(y * width + x if y >= 0 and x >= 0 else -1 for y, _ in band for x, _ in cut))
            region.append(tuple(2 * own + other for _, own in band for _, other in cut))
    place = {token: number for number, token in enumerate(token for tokens in index for token in tokens)}
    return Geometry(tuple(index), tuple(region), tuple(place[token] for token in range(height * width)))


def _axis(side: int, window: int, shift: int) -> list[list[tuple[int, int]]]:
    """For each window along an axis its tokens: place (-1 for padding), and 1 if the shift carried it around."""
    padded = side + -side % window
    tokens = [((shifted + shift) % padded, int(shifted >= padded - shift)) for shifted in range(padded)]
    tokens = [(place if place < side else -1, region) for place, region in tokens]
    return [tokens[first : first + window] for first in range(0, padded, window)]


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
    index, region, order = (to_device(part, device) for part in window_geometry(height, width, window, shift))
    mask = None
    if shift or height % window or width % window:
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
    mask = None if mask is None else mask[None].expand(q.shape[0], -1, -1, -1, -1).flatten(0, 1)
    split = (x.flatten(0, 1).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(*split, attn_mask=mask)  # (B * n, heads, L, D / heads)
    return mixed.transpose(1, 2).flatten(2).unflatten(0, q.shape[:2])


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_guidance: Tensor | None,
    k_guidance: Tensor | None,
    heads: int,
    window: int,
    shift: int,
) -> Tensor:
    """Attends; see `openvocab.kernels.window_attention.api.window_attention`. Every dtype computes in itself."""
    maps, height, width, _ = q.shape
    if q_guidance is not None:
        classes = maps // q_guidance.shape[0]
        q = (q.unflatten(0, (-1, classes)) + q_guidance.to(q.dtype)[:, None]).flatten(0, 1)
        k = (k.unflatten(0, (-1, classes)) + k_guidance.to(k.dtype)[:, None]).flatten(0, 1)
    windows = make_windows(height, width, window, shift, q.device, q.dtype)
    q, k, v = (x.flatten(1, 2)[:, windows.index] for x in (q, k, v))
    mixed = attend(q, k, v, heads, windows.mask).flatten(1, 2)
    return mixed[:, windows.order].unflatten(1, (height, width))
