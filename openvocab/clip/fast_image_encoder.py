"""CLIP's image tower in evaluation: low precision without casting weights each time, views that fit into a cache."""

import copy
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from openvocab.clip.image_encoder import ImageEncoder
from openvocab.interfaces import ClipFeatures
from openvocab.versions import weights_key


class FastImageEncoder:
    """Runs an `ImageEncoder` in the precision of autocast.

    Keeps one copy of the tower in that precision where it is not that of the weights. Autocast casts all weights for
    every call, and computes normalisation and activation in float32.
    """

    def __init__(self):
        self._cast: tuple[Hashable, ImageEncoder] | None = None

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
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else visual.proj.dtype
        with torch.autocast(device, enabled=False):
            tower = self._in_precision(visual, dtype)
            parts = [tower(part.to(dtype), taps) for part in views.split(len(views) if views.is_cuda else 1)]
        return ClipFeatures(torch.cat([part.dense for part in parts]),
                            tuple(torch.cat(maps) for maps in zip(*(part.taps for part in parts))))

    def _in_precision(self, visual: ImageEncoder, dtype: torch.dtype) -> ImageEncoder:
        if visual.proj.dtype == dtype:
            self._cast = None
            return visual
        key = dtype, torch.is_inference_mode_enabled(), weights_key(visual)
        if self._cast is None or self._cast[0] != key:
            self._cast = key, copy.deepcopy(visual).to(dtype)
        return self._cast[1]
