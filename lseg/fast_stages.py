"""LSeg's image encoder and decoder in evaluation: BatchNorm folded into convolutions, low precision by copies."""

import copy

import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lseg.dpt_decoder import DPTDecoder, ResidualConvUnit
from openvocab.versions import FromWeights


class FastStages:
    """Copies of encoder and decoder that are folded, and cast to the precision of autocast.

    Autocast itself casts all weights for every call, and computes normalisation and activation in float32.
    """

    def __init__(self):
        self._stages = FromWeights[tuple[nn.Module, nn.Module]]()

    def clear(self) -> None:
        """Forgets the copies."""
        self._stages.clear()

    def pixel_embeddings(self, encoder: nn.Module, decoder: DPTDecoder, images: Tensor) -> Tensor:
        """Encodes and decodes, without gradients.

        Args:
            encoder: of `lseg.image_encoder`.
            decoder: likewise in evaluation mode.
            images: (B, 3, h, w), RGB in 0..255.

        Returns:
            (B, C, h / 2, w / 2), not normalised, in the precision of autocast.
        """
        encoder, decoder = self.stages(encoder, decoder, images.device.type)
        with torch.autocast(images.device.type, enabled=False):
            return decoder([maps.contiguous(memory_format=torch.channels_last) for maps in encoder(images)])

    def stages(self, encoder: nn.Module, decoder: DPTDecoder, device: str) -> tuple[nn.Module, nn.Module]:
        """Gives the copies for the present weights and precision.

        Args:
            encoder: as for `pixel_embeddings`.
            decoder: likewise.
            device: type of the device whose autocast counts.

        Returns:
            Encoder (itself, where nothing is cast) and decoder.
        """
        def make(dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
            folded = _folded(decoder).to(dtype, memory_format=torch.channels_last)
            return encoder if decoder.head.weight.dtype == dtype else _cast(encoder, dtype), folded

        return self._stages.get([decoder, encoder], device, make)


def _cast(encoder: nn.Module, dtype: torch.dtype) -> nn.Module:
    cast = copy.deepcopy(encoder).to(dtype)
    cast.mean, cast.std = encoder.mean, encoder.std  # pixels are normalised before they are rounded
    for module in cast.modules():
        if isinstance(module, Attention) and encoder.mean.device.type == "cpu" and dtype == torch.bfloat16:
            module.fused_attn = False  # torch's own attention is slower than its two products there
    return cast


def _folded(decoder: DPTDecoder) -> DPTDecoder:
    folded = copy.deepcopy(decoder)
    for module in folded.modules():
        if isinstance(module, ResidualConvUnit):
            for number in (1, 2):
                conv, norm = getattr(module, f"conv{number}"), getattr(module, f"bn{number}")
                setattr(module, f"conv{number}", fuse_conv_bn_eval(conv, norm))
                setattr(module, f"bn{number}", nn.Identity())
    return folded
