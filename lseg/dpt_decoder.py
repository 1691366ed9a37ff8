"""DPT decoder (arXiv 2103.13413, section 3.1; LSeg's section 3.1): four maps become one embedding per pixel.

Shape letters: B images, C joint width, h x w image pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualConvUnit(nn.Module):
    """Two pre-activated 3x3 convolutions with batch normalisation, and a shortcut.

    Args:
        features: channels.
    """

    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, features, H, W) to the same shape."""
        y = self.bn1(self.conv1(F.relu(x)))
        return x + self.bn2(self.conv2(F.relu(y)))


class FusionBlock(nn.Module):
    """Adds a finer map to what came from below, refines the sum and doubles its resolution.

    Args:
        features: channels.
        deepest: whether nothing comes from below.
    """

    def __init__(self, features: int, deepest: bool):
        super().__init__()
        self.lateral = None if deepest else ResidualConvUnit(features)
        self.refine = ResidualConvUnit(features)
        self.project = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor, below: Tensor | None = None) -> Tensor:
        """Fuses.

        Args:
            x: (B, features, H, W).
            below: the same shape; None for the deepest map.

        Returns:
            (B, features, 2H, 2W).
        """
        y = x if below is None else below + self.lateral(x)
        y = self.refine(y)
        # A 1x1 convolution and a bilinear resize commute, and before it there are four times fewer pixels.
        y = self.project(y)
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=True)


class DPTDecoder(nn.Module):
    """Fuses four maps from coarse to fine and projects them into the joint image-text space.

    Args:
        dims: channels of the four maps, fine to coarse.
        features: channels inside.
        embed_dim: C.
    """

    def __init__(self, dims: Sequence[int], features: int, embed_dim: int):
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(dim, features, 3, padding=1, bias=False) for dim in dims)
        self.fusion = nn.ModuleList(FusionBlock(features, deepest=level == len(dims) - 1) for level in range(len(dims)))
        self.head = nn.Conv2d(features, embed_dim, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decodes.

        Args:
            maps: at 1/4, 1/8, 1/16 and 1/32 of the resolution, (B, dims[i], h / 4 / 2**i, w / 4 / 2**i).

        Returns:
            (B, C, h / 2, w / 2), not normalised.
        """
        return self.head(self.fuse(maps))

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """Fuses the maps, see `forward`: (B, features, h / 2, w / 2), before the projection into the joint space."""
        y = None
        for x, reduce, fusion in reversed(list(zip(maps, self.reduce, self.fusion, strict=True))):
            y = fusion(reduce(x), y)
        return y
