"""CAT-Seg's head in evaluation: the function of `catseg.head` with composed weights, by chunks that fit into a cache.

Window attention and decoder treat classes on their own and run over chunks of classes; class aggregation treats
locations on their own and runs over chunks of locations.

Shape letters: V views, T classes, K <= T kept classes, P templates, C joint width, D hidden width, H x W grid,
m slices (a class in a view).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseg.composed import (
    ComposedClassAggregation,
    ComposedGuidance,
    ComposedOutput,
    ComposedSwinBlock,
    ComposedUpBlock,
)
from catseg.cost_volume import KeptClasses, compute_cost, keep_most_similar
from openvocab.clip.fast_layers import FastLinear, attend, fast_copy
from openvocab.interfaces import ClipFeatures
from openvocab.kernels.class_attention import class_attention
from openvocab.kernels.dispatch import use_triton
from openvocab.kernels.window_attention import window_attention


class Chunks(NamedTuple):
    """How much is computed at a time.

    Attributes:
        views: of an image.
        slices: in window attention.
        decoded: slices in the decoder.
        tokens: (class, location) pairs in class aggregation.
    """

    views: int
    slices: int
    decoded: int
    tokens: int


CACHE_CHUNKS = Chunks(views=1, slices=8, decoded=4, tokens=8 * 576)  # intermediate results of a few MB: a CPU's cache
GPU_CHUNKS = Chunks(views=64, slices=1024, decoded=512, tokens=1 << 20)  # launches are dear, memory is large


class FastHead:
    """The composed head.

    Args:
        head: a `catseg.head.CATSegHead` without pooling in evaluation. Its weights are copied: make a new one when they
            change.
        dtype: that is computed in. Cost volume and logits are float32 at least.
    """

    def __init__(self, head: nn.Module, dtype: torch.dtype):
        fast, grid = fast_copy(head, dtype), head.grid
        self.head, self.source, self.dtype = fast, head, dtype  # settings are read from the source
        self.layers = [
            (
                [
                    ComposedSwinBlock(block, copied, grid)
                    for block, copied in (
                        (own.spatial.block_1, other.spatial.block_1),
                        (own.spatial.block_2, other.spatial.block_2),
                    )
                ],
                ComposedClassAggregation(own.classes, other.classes),
                other.spatial.guidance_norm,
            )
            for own, other in zip(head.layers, fast.layers)
        ]
        self.stages = [
            ComposedUpBlock(stage, copied, (factor * grid[0], factor * grid[1]))
            for stage, copied, factor in zip(head.decoder.up, fast.decoder.up, (1, 2))
        ]
        self.guides = [
            ComposedGuidance(up, project, grid, dtype)
            for up, project in zip(head.decoder.tap_upsample, head.decoder.guidance_projection)
        ]
        self.output = ComposedOutput(head.decoder.head, dtype)
        embedding = head.cost_embedding
        self.embed = FastLinear(embedding.weight.flatten(1).to(dtype), embedding.bias.to(dtype))

    def __call__(self, features: ClipFeatures, text: Tensor) -> tuple[Tensor, Tensor | None]:
        """Computes the logits of the kept classes.

        Args:
            features: dense (V, C, H, W) and two taps (V, tap_dim, H, W).
            text: (T, P, C), L2-normalised.

        Returns:
            Logits (V, K, 4H, 4W), float32 at least, and (V, K) indices into T, or None where all are kept.
        """
        chunks = GPU_CHUNKS if features.dense.is_cuda else CACHE_CHUNKS
        classes = min(len(text), self.source.max_classes or len(text))
        step = max(1, min(chunks.views, chunks.slices // classes))
        parts = zip(features.dense.split(step), *(tap.split(step) for tap in features.taps))
        answers = [self._views(dense, taps, text, chunks) for dense, *taps in parts]
        logits = torch.cat([logits for logits, _ in answers])
        return logits, None if answers[0][1] is None else torch.cat([index for _, index in answers])

    def _views(
        self, dense: Tensor, taps: Sequence[Tensor], text: Tensor, chunks: Chunks
    ) -> tuple[Tensor, Tensor | None]:
        head, exact = self.head, torch.promote_types(self.dtype, torch.float32)
        kept = keep_most_similar(compute_cost(dense.to(exact), text.to(exact)), text.to(exact), self.source.max_classes)
        dense, taps = dense.to(self.dtype), [tap.to(self.dtype) for tap in taps]
        guidance = F.relu(head.image_guidance(dense)).permute(0, 2, 3, 1)
        text_guidance = F.relu(head.text_guidance(F.normalize(kept.text.mean(dim=2), dim=-1).to(self.dtype)))
        x = self._embedded(kept, chunks)
        for blocks, classes, guidance_norm in self.layers:
            normalized = guidance_norm(guidance)
            shares = [block.project_guidance(normalized) for block in blocks]
            for part in _slices(x, chunks.slices):
                y = part.flatten(0, 1)
                for block, share in zip(blocks, shares):
                    y = self._swin(y, block, share)
                part.copy_(y.view_as(part))
            self._mix_classes(x, classes, text_guidance, chunks.tokens)
        shared = [stage.project_guidance(guide(tap)) for stage, guide, tap in zip(self.stages, self.guides, taps)]
        logits = [self._decode(part, shared) for part in _slices(x, chunks.decoded)]
        return torch.cat(logits, dim=1), kept.index

    def _embedded(self, kept: KeptClasses, chunks: Chunks) -> Tensor:
        """Embeds the cost of each class (convolution as a product): (V, K, H * W, D)."""
        side, dim = self.head.cost_embedding.kernel_size[0], self.head.cost_embedding.out_channels
        cost = F.pad(kept.cost.to(self.dtype), 4 * (side // 2,))
        x = cost.new_empty(*kept.cost.shape[:2], self.head.grid[0] * self.head.grid[1], dim)
        for part, out in zip(_slices(cost, chunks.slices), _slices(x, chunks.slices)):
            patches = part.unfold(3, side, 1).unfold(4, side, 1).permute(0, 1, 3, 4, 2, 5, 6)  # (V, k, H, W, P, 7, 7)
            out.copy_(self.embed(patches.flatten(4).flatten(2, 3)))
        return x

    def _swin(self, x: Tensor, composed: ComposedSwinBlock, share: Tensor) -> Tensor:
        """Applies a Swin block to (m, H * W, D); share: (V, H, W, 2D) of the guidance in query and key."""
        block, attn = composed.block, composed.block.attn
        h = block.norm1(x)
        if x.is_cuda or use_triton(attn.kernels, x):
            maps = composed.qkv(h).unflatten(1, self.head.grid).chunk(3, dim=-1)
            mixed = window_attention(
                *maps, attn.heads, attn.window, attn.shift, *share.chunk(2, dim=-1), attn.kernels
            ).flatten(1, 2)
            x = x + attn.proj(mixed)
        else:
            mixed = [self._attend_regions(h, composed, share, index) for index in composed.regions]
            x = x + attn.proj(torch.cat(mixed, dim=1)).index_select(1, composed.order)
        return x.add_(block.mlp(block.norm2(x)))

    def _attend_regions(self, x: Tensor, composed: ComposedSwinBlock, share: Tensor, index: Tensor) -> Tensor:
        """Attends within n regions of L tokens each: (m, H * W, D) to (m, n * L, D)."""
        tokens = index.flatten()
        qkv = composed.qkv(x.index_select(1, tokens))
        own = qkv[..., : share.shape[-1]].unflatten(0, (len(share), -1))
        own += share.flatten(1, 2).index_select(1, tokens)[:, None]
        heads = composed.block.attn.heads
        q, k, v = qkv.view(-1, index.shape[1], 3, heads, x.shape[-1] // heads).permute(2, 0, 3, 1, 4)
        return attend(q, k, v).transpose(1, 2).reshape(len(x), len(tokens), -1)

    def _mix_classes(self, x: Tensor, composed: ComposedClassAggregation, guidance: Tensor, tokens: int) -> None:
        """Applies class aggregation to (V, K, H * W, D) in place; guidance: (V or 1, K, G)."""
        layer = composed.layer
        attention = layer.attention
        q_share, k_share = (part.project_guidance(guidance)[:, :, None] for part in (attention.q, attention.k))
        copies = max(0, composed.source.pad_len - x.shape[1])
        for part in x.split(max(1, tokens // (len(x) * x.shape[1])), dim=2):
            h = layer.norm1(part)
            q, k, v = composed.qkv(h).chunk(3, dim=-1)
            y = class_attention(
                q.add_(q_share),
                k.add_(k_share),
                v,
                composed.key_padding,
                composed.value_padding,
                attention.heads,
                copies,
                attention.kernels,
            ).add_(part)
            part.add_(y.add_(layer.mlp(layer.norm2(y))))

    def _decode(self, x: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """Decodes (V, k, H * W, D) to logits (V, k, 4H, 4W)."""
        y = x.flatten(0, 1).unflatten(1, self.head.grid).permute(0, 3, 1, 2)  # channels last, as it lies in memory
        for composed, maps in zip(self.stages, shared):
            stage = composed.stage
            y = F.conv_transpose2d(y, composed.weight, stride=2, padding=1)
            y = stage.norm2(stage.conv2(stage.norm1(y, maps)))
        return self.output(y).unflatten(0, x.shape[:2])


def _slices(x: Tensor, count: int) -> Sequence[Tensor]:
    """Cuts (V, K, ...) along its classes, so that a part has at most `count` slices."""
    return x.split(max(1, count // len(x)), dim=1)
