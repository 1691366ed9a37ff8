"""Class aggregation: linear attention over the classes at each location (arXiv 2303.11797, section 3.3).

Shape letters: B images, T classes, H x W grid, D hidden width, G guidance width, d = D / heads.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseg.guided_linear import GuidedLinear
from openvocab.kernels.class_attention import class_attention


class ClassAttention(nn.Module):
    """Linear attention over the class axis; queries and keys also see the text guidance.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        kernels: implementation, see `openvocab.kernels.dispatch`.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, kernels: str = "auto"):
        super().__init__()
        self.heads = heads
        self.kernels = kernels
        self.q = GuidedLinear(dim, guidance_dim, dim)
        self.k = GuidedLinear(dim, guidance_dim, dim)
        self.v = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor, key_padding: Tensor, value_padding: Tensor, copies: int) -> Tensor:
        """Attends.

        The padding classes are alike at every location and nobody reads their outputs: each only adds the same constant
        to both sums over the classes. So `copies` of them cost as much as one.

        Args:
            x: (B, T, H, W, D), normalised.
            guidance: (B or 1, T, G).
            key_padding: (D,) of a padding class, before the feature map; see `project_padding`.
            value_padding: (D,).
            copies: number of padding classes; 0 leaves the answer as it is.

        Returns:
            (B, T, H, W, D).
        """
        # Guidance is per class only: (B or 1, T, 1, 1, D) after its projection.
        q = self.q(x, self.q.project_guidance(guidance)[:, :, None, None])
        k = self.k(x, self.k.project_guidance(guidance)[:, :, None, None])
        q, k, v = (part.flatten(2, 3) for part in (q, k, self.v(x)))
        mixed = class_attention(q, k, v, key_padding, value_padding, self.heads, copies, self.kernels)
        return mixed.unflatten(2, x.shape[2:4])

    def project_padding(self, padding: Tensor, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Projects the padding class.

        Args:
            padding: (D,) its token, normalised.
            guidance: (G,).

        Returns:
            Key, before the feature map, and value; both (D,).
        """
        return self.k(padding, self.k.project_guidance(guidance)), self.v(padding)


class ClassAggregation(nn.Module):
    """A transformer block over the classes at each location of a pooled grid.

    Args:
        dim: D.
        guidance_dim: G.
        heads: attention heads.
        pad_len: the class axis acts as if padded to this length; 0 = no padding.
        kernels: see `ClassAttention`.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, pad_len: int, kernels: str = "auto"):
        super().__init__()
        self.pad_len = pad_len
        self.padding_tokens = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.padding_guidance = nn.Parameter(0.02 * torch.randn(1, 1, guidance_dim))
        self.norm1 = nn.LayerNorm(dim)
        self.attention = ClassAttention(dim, guidance_dim, heads, kernels)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        if not pad_len:  # unused then; distributed training raises on trainable parameters without gradient
            self.padding_tokens.requires_grad_(False)
            self.padding_guidance.requires_grad_(False)

    def forward(self, x: Tensor, guidance: Tensor, pooling: Sequence[int]) -> Tensor:
        """Aggregates over the classes.

        Args:
            x: (B, T, H, W, D).
            guidance: (B or 1, T, G) projected text embeddings.
            pooling: tokens that are averaged per axis before, for speed.

        Returns:
            (B, T, H, W, D): x plus the upsampled answer, which itself contains the pooled x.
        """
        pooled = self._pool(x, pooling)
        copies = torch.sym_max(0, self.pad_len - x.shape[1])
        mixed = self.attention(self.norm1(pooled), guidance, *self.padding(), copies)
        pooled = pooled + mixed
        pooled = pooled + self.mlp(self.norm2(pooled))
        return x + self._unpool(pooled, x.shape[2:4])

    def padding(self) -> tuple[Tensor, Tensor]:
        """Projects the padding class: key, before the feature map, and value; both (D,)."""
        return self.attention.project_padding(self.norm1(self.padding_tokens)[0, 0], self.padding_guidance[0, 0])

    def _pool(self, x: Tensor, pooling: Sequence[int]) -> Tensor:
        if tuple(pooling) == (1, 1):
            return x
        maps = F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), tuple(pooling))
        return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])

    def _unpool(self, x: Tensor, grid: Sequence[int]) -> Tensor:
        if x.shape[2:4] == tuple(grid):
            return x
        maps = F.interpolate(x.flatten(0, 1).permute(0, 3, 1, 2), size=tuple(grid), mode="bilinear", align_corners=True)
        return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
