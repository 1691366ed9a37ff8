"""CLIP's image tower in evaluation: low precision without casting weights each time, views that fit into a cache."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from openvocab.clip.image_encoder import ImageEncoder
from openvocab.interfaces import ClipFeatures
from openvocab.versions import FromWeights


class FastImageEncoder:
    """Runs an `ImageEncoder` in the precision of autocast.

    Keeps one copy of the tower in that precision where it is not that of the weights. Autocast casts all weights for
    every call, and computes normalisation and activation in float32.
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
        tower = self._tower.get([visual], device, lambda dtype: _in_precision(visual, dtype))
        step = 1 if device == "cpu" else len(views)
        with torch.autocast(device, enabled=False):
            parts = [tower(part.to(tower.proj.dtype), taps) for part in views.split(step)]
        return ClipFeatures(torch.cat([part.dense for part in parts]),
                            tuple(torch.cat(maps) for maps in zip(*(part.taps for part in parts))))


def _in_precision(visual: ImageEncoder, dtype: torch.dtype) -> ImageEncoder:
    return visual if visual.proj.dtype == dtype else copy.deepcopy(visual).to(dtype)
