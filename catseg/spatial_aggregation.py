"""Spatial aggregation: shifted-window attention within each class slice (arXiv 2303.11797, section 3.3; Swin).

Shape letters: B images, T classes, H x W grid, D hidden width, G guidance width.
"""

from torch import Tensor, nn

from catseg.guided_linear import GuidedLinear
from openvocab.kernels.window_attention import window_attention
from openvocab.recompute import run_block


class WindowAttention(nn.Module):
    """Multi-head attention within windows; queries and keys also see the guidance.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        window: side of a window in tokens.
        shift: cyclic shift in tokens.
        kernels: implementation, see `openvocab.kernels.dispatch`.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, window: int, shift: int, kernels: str = "auto"):
        super().__init__()
        self.kernels = kernels
        self.heads = heads
        self.window = window
        self.shift = shift
        self.q = GuidedLinear(dim, guidance_dim, dim)
        self.k = GuidedLinear(dim, guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Attends.

        Args:
            x: (B, T, H, W, D).
            guidance: (B, H, W, G), normalised.

        Returns:
            (B, T, H, W, D).
        """
        q, k, v = (part.flatten(0, 1) for part in (self.q.project_tokens(x), self.k.project_tokens(x), self.v(x)))
        mixed = window_attention(
            q,
            k,
            v,
            self.heads,
            self.window,
            self.shift,
            self.q.project_guidance(guidance),
            self.k.project_guidance(guidance),
            self.kernels,
        )
        return self.proj(mixed).unflatten(0, x.shape[:2])


class SwinBlock(nn.Module):
    """A Swin block with guidance.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        grid: H and W in tokens.
        window: side of a window in tokens; a smaller grid is one window, without shift.
        shift: cyclic shift in tokens.
        kernels: see `WindowAttention`.
    """

    def __init__(
        self,
        dim: int,
        guidance_dim: int,
        heads: int,
        grid: tuple[int, int],
        window: int,
        shift: int,
        kernels: str = "auto",
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(
            dim, guidance_dim, heads, min(window, *grid), 0 if min(grid) <= window else shift, kernels
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Applies the block.

        Args:
            x: (B, T, H, W, D).
            guidance: (B, H, W, G), normalised.

        Returns:
            (B, T, H, W, D).
        """
        x = x + self.attn(self.norm1(x), guidance)
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    """Two Swin blocks, the second one shifted by half a window.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        grid: H and W in tokens.
        window: side of a window in tokens.
        kernels: see `WindowAttention`.
        recompute: see `openvocab.recompute`.
    """

    def __init__(
        self,
        dim: int,
        guidance_dim: int,
        heads: int,
        grid: tuple[int, int],
        window: int,
        kernels: str = "auto",
        recompute: bool = False,
    ):
        super().__init__()
        self.recompute = recompute
        self.block_1 = SwinBlock(dim, guidance_dim, heads, grid, window, shift=0, kernels=kernels)
        self.block_2 = SwinBlock(dim, guidance_dim, heads, grid, window, shift=window // 2, kernels=kernels)
        self.guidance_norm = nn.LayerNorm(guidance_dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Aggregates within each class slice.

        Args:
            x: (B, T, H, W, D).
            guidance: (B, H, W, G) projected image features.

        Returns:
            (B, T, H, W, D).
        """
        guidance = self.guidance_norm(guidance)
        for block in (self.block_1, self.block_2):
            x = run_block(block, x, guidance, recompute=self.recompute)
        return x
