"""CAT-Seg's head: cost volume, aggregation, decoder (arXiv 2303.11797, section 3).

Shape letters: B images, T classes, K <= T kept classes, P templates, C joint width, D hidden width, H x W grid.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from catseg.class_aggregation import ClassAggregation
from catseg.cost_volume import CostEmbedding, compute_cost, keep_most_similar
from catseg.decoder import Decoder
from catseg.fast_head import FastHead
from catseg.spatial_aggregation import SpatialAggregation
from openvocab.interfaces import ClipFeatures, TextFeatures
from openvocab.kernels.dispatch import IMPLEMENTATIONS
from openvocab.kernels.window_attention.reference import make_windows
from openvocab.recompute import run_block
from openvocab.versions import FromWeights
from openvocab.vocab.templates import templates

LOGIT_OF_DROPPED = -100.0  # of classes that the cut to MAX_CLASSES leaves out


class AggregationLayer(nn.Module):
    """One round of aggregation: within each class slice, then over the classes at each location.

    Args:
        spatial: the first half.
        classes: the second half.
        recompute: of the second half; see `openvocab.recompute`.
    """

    def __init__(self, spatial: SpatialAggregation, classes: ClassAggregation, recompute: bool = False):
        super().__init__()
        self.recompute = recompute
        self.spatial = spatial
        self.classes = classes

    def forward(self, x: Tensor, image_guidance: Tensor, text_guidance: Tensor, pooling: Sequence[int]) -> Tensor:
        """Aggregates: (B, K, H, W, D) to the same shape; see the halves for the other arguments."""
        x = self.spatial(x, image_guidance)
        return run_block(self.classes, x, text_guidance, pooling, recompute=self.recompute)


@SEM_SEG_HEADS_REGISTRY.register()
class CATSegHead(nn.Module):
    """Turns CLIP's features of images and words into logits.

    Args:
        prompts: P.
        joint_dim: C.
        tap_dim: channels of the tapped CLIP blocks.
        grid: H and W in tokens.
        hidden_dim: D; a multiple of `num_heads`.
        num_layers: aggregation layers.
        num_heads: attention heads.
        window_size: side of an attention window in tokens.
        pooling_sizes: tokens averaged per axis before class aggregation, in training.
        test_pooling_sizes: the same in evaluation.
        pad_len: length that the class axis acts as if padded to; 0 = no padding.
        max_classes: an image keeps this many of the most similar classes; 0 = all.
        fast: whether evaluation without gradients takes the fast path (`catseg.fast_head`).
        kernels: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.
        guidance_dim: channels of the projected guidance.
        decoder_dims: channels after the two decoder stages.
        decoder_guidance_dims: channels of the upsampled taps.
        decoder_guidance_proj_dims: channels of their projections.
        recompute: whether the blocks are computed again in the backward pass, see `openvocab.recompute`.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    @configurable
    def __init__(
        self,
        *,
        prompts: int,
        joint_dim: int,
        tap_dim: int,
        grid: tuple[int, int],
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        window_size: int,
        pooling_sizes: Sequence[int],
        test_pooling_sizes: Sequence[int],
        pad_len: int,
        max_classes: int,
        fast: bool,
        kernels: str,
        guidance_dim: int,
        decoder_dims: Sequence[int],
        decoder_guidance_dims: Sequence[int],
        decoder_guidance_proj_dims: Sequence[int],
        recompute: bool = False,
    ):
        super().__init__()
        for name, sizes in (("POOLING_SIZES", pooling_sizes), ("TEST_POOLING_SIZES", test_pooling_sizes)):
            if len(sizes) != 2 or not all(1 <= size <= side for size, side in zip(sizes, grid)):
                raise ValueError(f"{name}: got {list(sizes)}, expected two sizes in 1..grid {tuple(grid)} tokens")
        if kernels not in IMPLEMENTATIONS:
            raise ValueError(f"KERNELS: got {kernels!r}, expected one of {IMPLEMENTATIONS}")
        if hidden_dim % num_heads:
            raise ValueError(f"HIDDEN_DIM: got {hidden_dim}, expected a multiple of NUM_HEADS {num_heads}")
        self.pooling = {True: tuple(pooling_sizes), False: tuple(test_pooling_sizes)}  # by `self.training`
        self.max_classes = max_classes
        self.fast = fast
        self.kernels = kernels
        self._fast = FromWeights[FastHead]()
        self.grid = tuple(grid)
        self.cost_embedding = CostEmbedding(prompts, hidden_dim)
        self.image_guidance = nn.Conv2d(joint_dim, guidance_dim, kernel_size=3, padding=1)
        self.text_guidance = nn.Linear(joint_dim, guidance_dim)
        self.layers = nn.ModuleList(
            AggregationLayer(
                SpatialAggregation(hidden_dim, guidance_dim, num_heads, self.grid, window_size, kernels, recompute),
                ClassAggregation(hidden_dim, guidance_dim, num_heads, pad_len, kernels),
                recompute,
            )
            for _ in range(num_layers)
        )
        self.decoder = Decoder(
            hidden_dim, decoder_dims, tap_dim, decoder_guidance_dims, decoder_guidance_proj_dims, kernels, recompute
        )

    def attention_masks(self) -> dict[int, Tensor]:
        """Gives what the original keeps beside the parameters: per layer the mask of its shifted windows.

        Returns:
            For each layer with shifted windows (n, L, L) float32 on the CPU: 0 where two of a window's L tokens see
            each other, -100 where they do not.
        """
        shifted = {number: layer.spatial.block_2.attn for number, layer in enumerate(self.layers)}
        return {
            number: make_windows(*self.grid, own.window, own.shift, torch.device("cpu"), torch.float32).mask[:, 0]
            for number, own in shifted.items()
            if own.shift
        }

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads the arguments from a config.

        Args:
            cfg: with `MODEL.CATSEG`.
            input_shape: "dense" (channels, height, width of the dense features) and "tap" (channels).

        Returns:
            Arguments of the constructor.
        """
        own, dense = cfg.MODEL.CATSEG, input_shape["dense"]
        return {
            "prompts": len(templates(cfg.MODEL.VOCABULARY.TEMPLATES)),
            "joint_dim": dense.channels,
            "tap_dim": input_shape["tap"].channels,
            "grid": (dense.height, dense.width),
            "hidden_dim": own.HIDDEN_DIM,
            "num_layers": own.NUM_LAYERS,
            "num_heads": own.NUM_HEADS,
            "window_size": own.WINDOW_SIZE,
            "pooling_sizes": own.POOLING_SIZES,
            "test_pooling_sizes": own.TEST_POOLING_SIZES,
            "pad_len": own.PAD_LEN,
            "max_classes": own.MAX_CLASSES,
            "fast": cfg.MODEL.FAST,
            "kernels": own.KERNELS,
            "guidance_dim": own.GUIDANCE_DIM,
            "decoder_dims": own.DECODER_DIMS,
            "decoder_guidance_dims": own.DECODER_GUIDANCE_DIMS,
            "decoder_guidance_proj_dims": own.DECODER_GUIDANCE_PROJ_DIMS,
            "recompute": cfg.MODEL.CHECKPOINT_ACTIVATIONS,
        }

    def forward(self, features: ClipFeatures, text: TextFeatures) -> Tensor:
        """Computes logits.

        Args:
            features: dense (B, C, H, W) and two taps (B, tap_dim, H, W).
            text: embeddings (T, P, C).

        Returns:
            Logits (B, T, 4H, 4W). Where T > max_classes > 0, the classes that an image is least similar to get -100.

        Raises:
            ValueError: the features' grid is not the one that the head was built for.
        """
        if features.dense.shape[-2:] != self.grid:
            raise ValueError(f"features: got a grid of {tuple(features.dense.shape[-2:])}, expected {self.grid}")
        classes = text.embeddings.shape[0]  # not `len`, which a tracer takes for a constant
        self._announce_cut(classes)
        if torch.is_grad_enabled() or not self.is_fast:
            return self._logits(features, text.embeddings)
        logits, index = self._fast_logits(features, text)
        return logits if index is None else _spread(logits, index, classes)

    @property
    def is_fast(self) -> bool:
        """Whether evaluation without gradients takes the fast path, which knows no pooling."""
        return self.fast and self.pooling[self.training] == (1, 1)

    def logits_of_kept(self, features: ClipFeatures, text: TextFeatures) -> tuple[Tensor, Tensor | None]:
        """Computes the logits of the classes that each image keeps, on the fast path.

        Args:
            features: as in `forward`.
            text: embeddings (T, P, C).

        Returns:
            Logits (B, K, 4H, 4W) and (B, K) indices into T, or None where all classes are kept.
        """
        self._announce_cut(len(text.embeddings))
        return self._fast_logits(features, text)

    def _announce_cut(self, classes: int) -> None:
        if not torch.compiler.is_exporting() and 0 < self.max_classes < classes:  # the graph is for any number
            warnings.warn(
                f"of {classes} words, every view keeps the {self.max_classes} that it is most similar to, as "
                "the original does; MODEL.CATSEG.MAX_CLASSES 0 keeps all",
                stacklevel=3,
            )

    def _fast_logits(self, features: ClipFeatures, text: TextFeatures) -> tuple[Tensor, Tensor | None]:
        device = features.dense.device.type
        fast = self._fast.get([self], device, lambda dtype: FastHead(self, dtype))
        with torch.autocast(device, enabled=False):
            return fast(features, text.embeddings)

    def train(self, mode: bool = True) -> "CATSegHead":
        """Switches the mode and forgets the composed weights: a write through `.data` leaves no other trace."""
        self._fast.clear()
        return super().train(mode)

    def _logits(self, features: ClipFeatures, text: Tensor) -> Tensor:
        kept = keep_most_similar(compute_cost(features.dense, text), text, self.max_classes)
        x = self.cost_embedding(kept.cost)
        image_guidance = F.relu(self.image_guidance(features.dense)).permute(0, 2, 3, 1)
        text_guidance = F.relu(self.text_guidance(F.normalize(kept.text.mean(dim=2), dim=-1)))
        for layer in self.layers:
            x = layer(x, image_guidance, text_guidance, self.pooling[self.training])
        logits = self.decoder(x, self.decoder.guidance(features.taps))
        return logits if kept.index is None else _spread(logits, kept.index, text.shape[0])


def _spread(logits: Tensor, index: Tensor, classes: int) -> Tensor:
    everything = logits.new_full((len(logits), classes, *logits.shape[2:]), LOGIT_OF_DROPPED)
    batch = torch.arange(len(logits), device=logits.device)[:, None]
    return everything.index_put((batch, index), logits)
