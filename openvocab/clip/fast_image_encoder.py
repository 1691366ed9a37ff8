"""CLIP's image tower in evaluation: fast layers, made once per precision, and views that fit into a cache."""

from collections.abc import Sequence

import torch
from torch import Tensor

from openvocab.clip.blocks import SplitAttention
from openvocab.clip.fast_layers import FastValues, fast_copy
from openvocab.clip.image_encoder import ImageEncoder
from openvocab.interfaces import ClipFeatures
from openvocab.versions import FromWeights


class FastImageEncoder:
    """Runs an `ImageEncoder` in the precision of autocast.

    Keeps one copy of the tower in that precision. Autocast itself casts all weights for every call, and computes
    normalisation and activation in float32.
    """

    def __init__(self):
        self._tower = FromWeights[ImageEncoder]()

    def clear(self) -> None:
        """Forgets the copy."""
        self._tower.clear()

    def encode(self, visual: ImageEncoder, views: Tensor, taps: Sequence[int]) -> ClipFeatures:
        """Encodes views densely, without gradients.

        On a CPU the views go through one after the other: the activations of one fit into the cache, those of a batch
        do not.

        Args:
            visual: the tower.
            views: (V, 3, h, w), normalised; h and w multiples of the patch size.
            taps: 0-based blocks whose outputs are wanted as well.

        Returns:
            As `ImageEncoder.forward`.
        """
        device = views.device.type
        tower = self._tower.get([visual], device, lambda dtype: _fast_tower(visual, dtype))
        step = 1 if device == "cpu" else len(views)
        with torch.autocast(device, enabled=False):
            parts = [tower(part.to(tower.proj.dtype), taps) for part in views.split(step)]
        return ClipFeatures(
            torch.cat([part.dense for part in parts]),
            tuple(torch.cat(maps) for maps in zip(*(part.taps for part in parts))),
        )


def _fast_tower(visual: ImageEncoder, dtype: torch.dtype) -> ImageEncoder:
    instead = {part: FastValues(part, dtype) for part in visual.modules() if isinstance(part, SplitAttention)}
    return fast_copy(visual, dtype, instead)
