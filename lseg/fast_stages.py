"""LSeg in evaluation: fast layers, BatchNorm folded into convolutions, low precision by copies.

Shape letters: B images, T classes, C joint width, F decoder width, h x w image pixels.
"""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lseg.dpt_decoder import DPTDecoder, ResidualConvUnit
from lseg.image_encoder import Readout
from lseg.pixel_text import word_vectors
from openvocab.clip.fast_layers import FastAttention, FastLinear, fast_copy, fast_linear
from openvocab.versions import FromWeights

PIXELS_PER_CHUNK = 4096  # whose features are in float32 at a time: 4 MB


class Stages(NamedTuple):
    """The copies for one precision.

    Attributes:
        encoder: images to four maps.
        decoder: these to pixel embeddings.
        correlation: what the decoder fuses to word maps.
    """

    encoder: nn.Module
    decoder: DPTDecoder
    correlation: "FastCorrelation"


class FastStages:
    """Copies of encoder and decoder that are folded, and cast to the precision of autocast.

    Autocast itself casts all weights for every call, and computes normalisation and activation in float32.
    """

    def __init__(self):
        self._stages = FromWeights[Stages]()

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
        stages = self.stages(encoder, decoder, images.device.type)
        with torch.autocast(images.device.type, enabled=False):
            return stages.decoder.head(self.fused(stages, images))

    def features(self, encoder: nn.Module, decoder: DPTDecoder, images: Tensor) -> Tensor:
        """Encodes and fuses, without gradients; arguments as for `pixel_embeddings`.

        Returns:
            (B, F, h / 2, w / 2), what the decoder projects to pixel embeddings, in the precision of autocast.
        """
        stages = self.stages(encoder, decoder, images.device.type)
        with torch.autocast(images.device.type, enabled=False):
            return self.fused(stages, images)

    def correlation(self, encoder: nn.Module, decoder: DPTDecoder, features: Tensor, text: Tensor) -> Tensor:
        """Correlates the pixels of one image with words, as `lseg.pixel_text.correlation` does with their embeddings.

        Args:
            encoder: as for `pixel_embeddings`.
            decoder: likewise.
            features: (F, h / 2, w / 2), of one image.
            text: (T, P, C), L2-normalised.

        Returns:
            (T, h / 2, w / 2), cosine / 0.07, float32 at least.
        """
        stages = self.stages(encoder, decoder, features.device.type)
        with torch.autocast(features.device.type, enabled=False):
            return stages.correlation(features, text)

    def fused(self, stages: Stages, images: Tensor) -> Tensor:
        """Encodes and fuses: (B, 3, h, w) to (B, F, h / 2, w / 2), channels last."""
        return stages.decoder.fuse(
            [maps.contiguous(memory_format=torch.channels_last) for maps in stages.encoder(images)]
        )

    def stages(self, encoder: nn.Module, decoder: DPTDecoder, device: str) -> Stages:
        """Gives the copies for the present weights and precision.

        Args:
            encoder: as for `pixel_embeddings`.
            decoder: likewise.
            device: type of the device whose autocast counts.

        Returns:
            The copies.
        """

        def make(dtype: torch.dtype) -> Stages:
            return Stages(_fast_encoder(encoder, dtype), _folded(decoder, dtype), FastCorrelation(decoder.head, dtype))

        return self._stages.get([decoder, encoder], device, make)


class FastCorrelation:
    """The last projection and the correlation with words, without the embedding of a pixel between them.

    With the projection `W f + b` of a pixel's features and a word e, `e . (W f + b) = (e W) f + e b`. The length of
    `W f + b` is that of `R [f ; 1]`, where `[W b] = Q R` with orthonormal columns of Q. R is triangular and has F + 1
    rows at most, not C; the last one is a constant.

    Args:
        head: the projection, a convolution with kernel 1.
        dtype: that lengths are computed in; products with words are float32 at least.
    """

    def __init__(self, head: nn.Conv2d, dtype: torch.dtype):
        exact = torch.promote_types(head.weight.dtype, torch.float32)
        self.weight, self.bias = head.weight.detach().flatten(1).to(exact), head.bias.detach().to(exact)
        width = self.weight.shape[1]
        rows = torch.linalg.qr(torch.cat([self.weight, self.bias[:, None]], dim=1).double(), mode="r").R
        self.constant = rows[width:, width].square().sum().to(exact)  # no such row where C <= F
        rows = rows[:width].to(dtype)
        self.projection = FastLinear(rows[:, :width].contiguous(), rows[:, width].contiguous())

    def __call__(self, features: Tensor, text: Tensor) -> Tensor:
        """Correlates (F, H, W) with (T, P, C): (T, H, W)."""
        pixels, words = features.permute(1, 2, 0).flatten(0, 1), word_vectors(text).to(self.weight.dtype)
        weight, bias = words @ self.weight, (words @ self.bias)[:, None]
        maps = weight.new_empty(len(words), len(pixels))
        for part, out in zip(pixels.split(PIXELS_PER_CHUNK), maps.split(PIXELS_PER_CHUNK, dim=1)):
            squares = self.projection(part).to(weight.dtype).square_().sum(dim=1).add_(self.constant)
            torch.mm(weight, part.to(weight.dtype).T, out=out)
            out.add_(bias).div_(squares.sqrt_().clamp_(min=1e-12))
        return maps.unflatten(1, features.shape[1:])


class FastReadout(nn.Module):
    """`lseg.image_encoder.Readout` with fast layers.

    Args:
        readout: with the weights.
        dtype: that is computed in.
    """

    def __init__(self, readout: Readout, dtype: torch.dtype):
        super().__init__()
        own, shared = readout.project.weight.to(dtype).chunk(2, dim=1)
        self.own, self.shared = FastLinear(own, None), FastLinear(shared, readout.project.bias.to(dtype))

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (B, 1 + N, D), class token first, to (B, N, D)."""
        return F.gelu(self.own(tokens[:, 1:]).add_(self.shared(tokens[:, :1])))


class FastViTAttention(FastAttention):
    """timm's `Attention`, which its blocks also hand a mask."""

    def forward(self, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        """Attends: (n, N, D) to (n, N, D), without mask."""
        return super().forward(x)


def _fast_encoder(encoder: nn.Module, dtype: torch.dtype) -> nn.Module:
    instead = {}
    for part in encoder.modules():
        if isinstance(part, Readout):
            instead[part] = FastReadout(part, dtype)
        elif (
            type(part) is Attention
            and part.gate is None
            and all(isinstance(norm, nn.Identity) for norm in (part.q_norm, part.k_norm, part.norm))
        ):
            bias = None if part.qkv.bias is None else part.qkv.bias.to(dtype)
            instead[part] = FastViTAttention(
                part.qkv.weight.to(dtype), bias, fast_linear(part.proj, dtype), part.num_heads
            )
        elif type(part) is Mlp and type(part.act) is nn.GELU:
            instead[part.fc1], instead[part.act] = fast_linear(part.fc1, dtype, part.act), nn.Identity()
    fast = fast_copy(encoder, dtype, instead)
    fast.mean, fast.std = encoder.mean, encoder.std  # pixels are normalised before they are rounded
    return fast


def _folded(decoder: DPTDecoder, dtype: torch.dtype) -> DPTDecoder:
    """Copies the decoder with each BatchNorm in the convolution before it."""
    instead = {}
    for module in decoder.modules():
        if isinstance(module, ResidualConvUnit):
            for conv, norm in ((module.conv1, module.bn1), (module.conv2, module.bn2)):
                folded = copy.copy(conv)
                folded._parameters = dict(
                    zip(
                        ("weight", "bias"),
                        fuse_conv_bn_weights(
                            conv.weight,
                            conv.bias,
                            norm.running_mean,
                            norm.running_var,
                            norm.eps,
                            norm.weight,
                            norm.bias,
                        ),
                    )
                )
                instead[conv] = fast_copy(folded, dtype, memory_format=torch.channels_last)
                instead[norm] = nn.Identity()
    return fast_copy(decoder, dtype, instead, torch.channels_last)
