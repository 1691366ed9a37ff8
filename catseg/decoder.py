"""Decoder: two upsampling stages per class slice, guided by CLIP's inner features (arXiv 2303.11797, section 3.4).

Shape letters: B images, T classes, D hidden width, H x W grid.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from openvocab.kernels.group_norm_relu import group_norm_relu
from openvocab.recompute import run_block


class NormReLU(nn.GroupNorm):
    """Group normalisation and ReLU: groups of 16 channels, at least one group.

    Args:
        channels: C.
        kernels: implementation, see `openvocab.kernels.dispatch`.
    """

    def __init__(self, channels: int, kernels: str):
        super().__init__(max(1, channels // 16), channels)
        self.kernels = kernels

    def forward(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Normalises and activates `x + shared`: x (n, C, h, w), shared (images, C, h, w), images dividing n."""
        return group_norm_relu(x, self.weight, self.bias, self.num_groups, shared, self.eps, self.kernels)


class UpBlock(nn.Module):
    """Upsamples by 2, joins the guidance, and convolves twice.

    Args:
        in_dim: channels before.
        out_dim: channels after.
        guidance_dim: channels of the guidance; the upsampled map has `in_dim - guidance_dim`.
        kernels: see `NormReLU`.
    """

    def __init__(self, in_dim: int, out_dim: int, guidance_dim: int, kernels: str = "auto"):
        super().__init__()
        self.up_dim = in_dim - guidance_dim
        self.up = nn.ConvTranspose2d(in_dim, self.up_dim, kernel_size=2, stride=2)
        self.conv1 = nn.Conv2d(in_dim, out_dim, kernel_size=3, padding=1, bias=False)
        self.norm1 = NormReLU(out_dim, kernels)
        self.conv2 = nn.Conv2d(out_dim, out_dim, kernel_size=3, padding=1, bias=False)
        self.norm2 = NormReLU(out_dim, kernels)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Applies the stage.

        Args:
            x: (B, T, in_dim, h, w).
            guidance: (B, guidance_dim, 2h, 2w).

        Returns:
            (B, T, out_dim, 2h, 2w).
        """
        up = self.up(x.flatten(0, 1))
        # conv([up ; guidance]) is the sum of two convolutions, of which the second one is the same for all classes.
        shared = F.conv2d(guidance, self.conv1.weight[:, self.up_dim :], padding=1)
        y = self.norm1(F.conv2d(up, self.conv1.weight[:, : self.up_dim], padding=1), shared)
        return self.norm2(self.conv2(y)).unflatten(0, x.shape[:2])


class Decoder(nn.Module):
    """Turns aggregated cost maps into logits at four times the grid's resolution.

    Args:
        hidden_dim: D.
        dims: channels after the two stages.
        tap_dim: channels of the tapped CLIP blocks.
        guidance_dims: channels of the two upsampled taps.
        guidance_proj_dims: channels of their projections.
        kernels: see `NormReLU`.
        recompute: see `openvocab.recompute`.
    """

    def __init__(
        self,
        hidden_dim: int,
        dims: Sequence[int],
        tap_dim: int,
        guidance_dims: Sequence[int],
        guidance_proj_dims: Sequence[int],
        kernels: str = "auto",
        recompute: bool = False,
    ):
        super().__init__()
        self.recompute = recompute
        # The stages work at two and four times the grid, so the taps are brought there.
        self.tap_upsample = nn.ModuleList(
            nn.ConvTranspose2d(tap_dim, dim, kernel_size=factor, stride=factor)
            for dim, factor in zip(guidance_dims, (2, 4), strict=True)
        )
        self.guidance_projection = nn.ModuleList(
            nn.Conv2d(dim, projected, kernel_size=3, padding=1)
            for dim, projected in zip(guidance_dims, guidance_proj_dims, strict=True)
        )
        in_dims = (hidden_dim, dims[0])
        self.up = nn.ModuleList(
            UpBlock(before, after, guidance, kernels)
            for before, after, guidance in zip(in_dims, dims, guidance_proj_dims, strict=True)
        )
        self.head = nn.Conv2d(dims[1], 1, kernel_size=3, padding=1)

    def guidance(self, taps: Sequence[Tensor]) -> list[Tensor]:
        """Prepares the guidance, once per image.

        Args:
            taps: two (B, tap_dim, H, W) maps.

        Returns:
            (B, guidance_proj_dims[0], 2H, 2W) and (B, guidance_proj_dims[1], 4H, 4W).
        """
        return [
            F.relu(project(upsample(tap)))
            for tap, upsample, project in zip(taps, self.tap_upsample, self.guidance_projection, strict=True)
        ]

    def forward(self, x: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        """Decodes each class slice on its own.

        Args:
            x: (B, T, H, W, D).
            guidance: as `guidance` returns it.

        Returns:
            Logits (B, T, 4H, 4W).
        """
        y = x.permute(0, 1, 4, 2, 3)
        for stage, maps in zip(self.up, guidance, strict=True):
            y = run_block(stage, y, maps, recompute=self.recompute)
        return self.head(y.flatten(0, 1)).squeeze(1).unflatten(0, x.shape[:2])
