"""LSeg's head: decoder, word-pixel correlation, spatial regularisation (arXiv 2201.03546, section 3.1).

Shape letters: B images, T classes, C joint width, h x w image pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from lseg.dpt_decoder import DPTDecoder
from lseg.pixel_text import correlation, normalize_pixels
from lseg.spatial_regularization import SpatialRegularization
from openvocab.interfaces import TextFeatures


@SEM_SEG_HEADS_REGISTRY.register()
class LSegHead(nn.Module):
    """From four feature maps and words to logits.

    Args:
        decoder: maps to pixel embeddings.
        regularization: of the word maps.
    """

    @configurable
    def __init__(self, *, decoder: DPTDecoder, regularization: SpatialRegularization):
        super().__init__()
        self.decoder = decoder
        self.regularization = regularization

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Reads MODEL.LSEG.

        Args:
            cfg: with the keys of `lseg.config`.
            input_shape: "map0" to "map3" with the channels of the maps, "text" with C.

        Returns:
            Arguments of the constructor.

        Raises:
            ValueError: options of the regularisation that do not fit each other.
        """
        own = cfg.MODEL.LSEG
        dims = [input_shape[f"map{level}"].channels for level in range(len(input_shape) - 1)]
        return {
            "decoder": DPTDecoder(dims, own.FEATURES, input_shape["text"].channels),
            "regularization": SpatialRegularization(own.REGULARIZATION, own.BLOCK_DEPTH, own.ACTIVATION),
        }

    def pixel_embeddings(self, maps: Sequence[Tensor]) -> Tensor:
        """Embeds every second pixel in each direction.

        Args:
            maps: four maps of B images, see `DPTDecoder`.

        Returns:
            (B, C, h / 2, w / 2), L2-normalised along C.
        """
        if not maps[0].is_cuda:  # oneDNN's weight gradients take up to 3 times as long in a transformer's channels last
            maps = [x.contiguous() for x in maps]
        return normalize_pixels(self.decoder(maps))

    def forward(self, pixels: Tensor, text: TextFeatures) -> Tensor:
        """Compares the pixels of one image with words.

        Args:
            pixels: (C, h / 2, w / 2) from `pixel_embeddings`.
            text: T words.

        Returns:
            Logits (T, h, w).
        """
        return upsample(self.word_maps(pixels, text))

    def word_maps(self, pixels: Tensor, text: TextFeatures) -> Tensor:
        """Compares the pixels of one image with words, at the resolution of the pixels.

        Args:
            pixels: (C, h / 2, w / 2) from `pixel_embeddings`.
            text: T words.

        Returns:
            Logits (T, h / 2, w / 2).
        """
        return self.regularization(correlation(pixels, text.embeddings))


def upsample(maps: Tensor) -> Tensor:
    """Doubles the resolution of word maps: (T, h / 2, w / 2) to (T, h, w), bilinear with align_corners=True."""
    return F.interpolate(maps[None], scale_factor=2, mode="bilinear", align_corners=True)[0]
