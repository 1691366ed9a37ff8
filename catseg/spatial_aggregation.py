"""Spatial aggregation: shifted-window attention within each class slice (arXiv 2303.11797, section 3.3; Swin).

Shape letters: B images, T classes, H x W grid, D hidden width, G guidance width, n windows, L tokens of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseg.guided_linear import GuidedLinear

SEPARATED = -100.0  # added to the attention logits of tokens that must not see each other, as in Swin


def region_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Says which tokens of a window may see each other.

    Args:
        height: tokens of the grid, before padding to a multiple of the window.
        width: likewise.
        window: side of a window in tokens.
        shift: of the cyclic shift in tokens.

    Returns:
        (n, L, L) float32, 0 within a region and -100 between regions. Regions are the pieces that the shift brings
        together in one window from opposite sides of the grid, and the padding.
    """
    padded = [side + (-side % window) for side in (height, width)]
    regions = torch.zeros(padded, dtype=torch.long, device="cpu")
    if shift:
        strips = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for row, rows in enumerate(strips):
            for column, columns in enumerate(strips):
                regions[rows, columns] = 3 * row + column
    outside = torch.ones(padded, dtype=torch.bool, device="cpu")
    outside[:height, :width] = False
    regions[outside.roll((-shift, -shift), (0, 1))] = -1
    tokens = partition(regions[None, :, :, None], window)[..., 0]
    return (tokens[:, :, None] != tokens[:, None, :]).float() * SEPARATED


def partition(x: Tensor, window: int) -> Tensor:
    """Cuts maps into windows: (m, H, W, c) to (m * n, L, c), windows of a map together in row-major order."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (m, rows, window, columns, window, c)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def unpartition(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Reverses `partition`: (m * n, L, c) to (m, H, W, c)."""
    x = windows.unflatten(1, (window, window)).unflatten(0, (-1, height // window, width // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


class WindowAttention(nn.Module):
    """Multi-head attention within windows; queries and keys also see the guidance.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q = GuidedLinear(dim, guidance_dim, dim)
        self.k = GuidedLinear(dim, guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor, mask: Tensor | None) -> Tensor:
        """Attends.

        Args:
            x: (B, T, n, L, D) tokens in windows.
            guidance: (B, 1, n, L, G), normalised.
            mask: (n, L, L), added to the attention logits; None where every token of a window sees every other.

        Returns:
            (B, T, n, L, D).
        """
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(-3, -2).flatten(0, 1)  # (B * T, n, heads, L, D / heads)
            for part in (
                self.q(x, self.q.project_guidance(guidance)), self.k(x, self.k.project_guidance(guidance)), self.v(x))
        )
        mask = None if mask is None else mask[:, None].to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(mixed.transpose(-3, -2).flatten(-2).unflatten(0, x.shape[:2]))


class SwinBlock(nn.Module):
    """A Swin block with guidance.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        grid: H and W in tokens.
        window: side of a window in tokens; a smaller grid is one window, without shift.
        shift: cyclic shift in tokens.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, grid: tuple[int, int], window: int, shift: int):
        super().__init__()
        self.grid = grid
        self.window = min(window, *grid)
        self.shift = 0 if min(grid) <= window else shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, guidance_dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        mask = region_mask(*grid, self.window, self.shift)
        # A function of the sizes, so it is no part of a checkpoint.
        self.register_buffer("mask", mask.to(self.norm1.weight.device) if mask.any() else None, persistent=False)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: (B, T, H, W, D).
            guidance: (B, 1, H, W, G), normalised.

        Returns:
            (B, T, H, W, D).
        """
        mixed = self.attn(self._to_windows(self.norm1(x)), self._to_windows(guidance), self.mask)
        x = x + self._from_windows(mixed)
        return x + self.mlp(self.norm2(x))

    def _to_windows(self, x: Tensor) -> Tensor:
        height, width = self.grid
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        x = x.roll((-self.shift, -self.shift), (2, 3)) if self.shift else x
        batch, classes = x.shape[:2]
        return partition(x.flatten(0, 1), self.window).unflatten(0, (batch, classes, -1))

    def _from_windows(self, windows: Tensor) -> Tensor:
        height, width = self.grid
        padded = [side + (-side % self.window) for side in self.grid]
        x = unpartition(windows.flatten(0, 2), self.window, *padded).unflatten(0, windows.shape[:2])
        x = x.roll((self.shift, self.shift), (2, 3)) if self.shift else x
        return x[:, :, :height, :width]


class SpatialAggregation(nn.Module):
    """Two Swin blocks, the second one shifted by half a window.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        grid: H and W in tokens.
        window: side of a window in tokens.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, grid: tuple[int, int], window: int):
        super().__init__()
        self.block_1 = SwinBlock(dim, guidance_dim, heads, grid, window, shift=0)
        self.block_2 = SwinBlock(dim, guidance_dim, heads, grid, window, shift=window // 2)
        self.guidance_norm = nn.LayerNorm(guidance_dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Aggregates within each class slice.

        Args:
            x: (B, T, H, W, D).
            guidance: (B, H, W, G) projected image features.

        Returns:
            (B, T, H, W, D).
        """
        guidance = self.guidance_norm(guidance)[:, None]
        return self.block_2(self.block_1(x, guidance), guidance)
