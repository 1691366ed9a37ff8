"""Spatial regularisation of the word maps (arXiv 2201.03546, section 3.1): one 3x3 filter for every word alike.

Shape letters: T classes, H x W pixels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS = ("relu", "lrelu", "tanh")
KINDS = ("none", "bottleneck", "depthwise")


class SpatialRegularization(nn.Module):
    """A 3x3 filter with one weight and one bias for all words, so order and number of the words do not matter.

    Args:
        kind: "none"; "bottleneck", which adds the maximum over the words; "depthwise".
        depth: how often the same filter is applied, the last time without activation.
        activation: "relu", "lrelu" (slope 0.01) or "tanh".

    Raises:
        ValueError: an unknown kind or activation, or a depth that does not fit the kind.
    """

    def __init__(self, kind: str, depth: int, activation: str):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind: got {kind!r}, expected one of {KINDS} (MODEL.LSEG.REGULARIZATION)")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: got {activation!r}, expected one of {ACTIVATIONS} (MODEL.LSEG.ACTIVATION)")
        if (kind == "none") != (depth == 0) or depth < 0:
            raise ValueError(
                f"depth: got {depth} for {kind!r}, expected 0 for 'none' and at least 1 otherwise "
                "(MODEL.LSEG.BLOCK_DEPTH)"
            )
        self.kind, self.depth = kind, depth
        self.activation = {"relu": F.relu, "lrelu": F.leaky_relu, "tanh": F.tanh}[activation]
        self.filter = None if kind == "none" else nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Filters (T, H, W) to the same shape."""
        for step in range(self.depth):
            filtered = self.filter(maps[:, None])[:, 0]
            if self.kind == "bottleneck":
                filtered = filtered + maps.amax(dim=0)
            maps = filtered if step == self.depth - 1 else self.activation(filtered)
        return maps
