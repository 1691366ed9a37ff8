"""LSeg, the whole model (arXiv 2201.03546): stages in the order of the paper's figure.

Shape letters: B images, T classes, C joint width, h x w image pixels.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn

from lseg.checkpoint import from_released, guess_config, to_released
from lseg.fast_stages import FastStages
from lseg.head import upsample
from lseg.image_encoder import STRIDE, ViTEncoder, build_image_encoder
from lseg.losses import constant_loss, loss_count, segmentation_loss
from lseg.multi_scale import MultiScale, multi_scale_scores
from lseg.pixel_text import TEMPERATURE, correlation, normalize_pixels
from openvocab.augmented_views import AugmentedViews
from openvocab.clip.build import build_text_encoder
from openvocab.clip.text_encoder import TextEncoder
from openvocab.config_keys import check_model_keys
from openvocab.interfaces import TextFeatures
from openvocab.model import OpenVocabularyModel
from openvocab.tracing import computed
from openvocab.vocab.options import VocabularyOptions
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.windows import best_by_softmax, resize

_MOST_STRIDES = 256  # of an exported graph: along sides of 8192 pixels
WORDS_PER_CHUNK = {"cpu": 8, "cuda": 64}  # upsampled at a time for a label map: memory against launches


class SeenPixels(NamedTuple):
    """What LSeg has seen of an image.

    Attributes:
        features: (C, h' / 2, w' / 2) pixel embeddings; or, where fused, (F, h' / 2, w' / 2) of the fast path, before
            the last projection; with several scales the image.
        fused: which of them.
    """

    features: Tensor
    fused: bool


@META_ARCH_REGISTRY.register()
class LSeg(OpenVocabularyModel):
    """Open-vocabulary segmentation by pixel embeddings in CLIP's text space.

    Every pixel gets one of the given words: the scores are a softmax over them. A word such as "other" stands for the
    rest only as well as CLIP's text encoder understands it.

    Args:
        backbone: images to four feature maps.
        sem_seg_head: feature maps and words to logits.
        text: CLIP's text encoder; frozen.
        vocabulary: default words and how words are used.
        ignore_label: of pixels without a class.
        input_size: pixels; every image is resized to this square, 0 keeps its size.
        multi_scale: scales and crops of the evaluation, or None for a single view.
        fast: whether evaluation without gradients takes the fast path (`lseg.fast_stages`).
        augmentation: views that evaluation averages, each with its own size.

    Raises:
        ValueError: a size that is not a multiple of 32, or augmentation beside several scales or with sizes that change
            nothing.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        sem_seg_head: nn.Module,
        text: TextEncoder,
        vocabulary: VocabularyOptions,
        ignore_label: int,
        input_size: int,
        multi_scale: MultiScale | None,
        fast: bool,
        augmentation: AugmentedViews | None = None,
    ):
        super().__init__(vocabulary, ignore_label, augmentation)
        if input_size % STRIDE:
            raise ValueError(f"input_size: got {input_size}, expected a multiple of {STRIDE} (MODEL.LSEG.INPUT_SIZE)")
        if augmentation is not None and multi_scale is not None:
            raise ValueError("TEST.AUG and TEST.MULTI_SCALE: expected one of them, got both")
        if augmentation is not None and input_size and len(augmentation.sizes) > 1:
            raise ValueError(
                f"TEST.AUG.MIN_SIZES: got {augmentation.sizes}, expected one size: every image is resized "
                f"to {input_size} (MODEL.LSEG.INPUT_SIZE)"
            )
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.text = text.requires_grad_(False).eval()
        self.input_size = input_size
        self.multi_scale = multi_scale
        self.fast = fast
        self._fast_stages = FastStages()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds the parts that a config describes.

        Args:
            cfg: with the keys of `openvocab.config` and `lseg.config`.

        Returns:
            Arguments of the constructor.

        Raises:
            ValueError: names, sizes or options that do not fit each other.
        """
        check_model_keys(cfg, get_cfg())
        if cfg.MODEL.CLIP.RANK:
            raise ValueError(
                f"MODEL.CLIP.RANK: got {cfg.MODEL.CLIP.RANK}, expected 0: LSeg trains all of its image encoder"
            )
        # A checkpoint is loaded strictly and holds all of the model, so there is nothing to fetch beforehand.
        fetch = not cfg.MODEL.WEIGHTS
        own, scale = cfg.MODEL.LSEG, cfg.TEST.MULTI_SCALE
        backbone = build_image_encoder(own.BACKBONE, own.BACKBONE_PRETRAINED if fetch else "", own.TAPS, own.TAP_DIMS)
        if cfg.MODEL.CHECKPOINT_ACTIVATIONS:
            _recompute(backbone)
        text = build_text_encoder(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED if fetch else "")
        shape = {f"map{level}": ShapeSpec(channels=channels) for level, channels in enumerate(own.TAP_DIMS)}
        multi_scale = (
            MultiScale(tuple(scale.SCALES), scale.BASE_SIZE, scale.CROP, scale.STRIDE, scale.FLIP)
            if scale.ENABLED
            else None
        )
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, shape | {"text": ShapeSpec(channels=text.spec.embed_dim)}),
            "text": text,
            "vocabulary": VocabularyOptions.from_config(cfg),
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "input_size": own.INPUT_SIZE,
            "multi_scale": multi_scale,
            "fast": cfg.MODEL.FAST,
            "augmentation": AugmentedViews.from_config(cfg),
        }

    @property
    def text_encoder(self) -> TextEncoder:
        """CLIP's text tower, frozen."""
        return self.text

    def train(self, mode: bool = True) -> "LSeg":
        """Switches the mode; the text encoder is frozen and keeps the words it has encoded."""
        self._fast_stages.clear()
        self.training = mode
        self.backbone.train(mode)
        self.sem_seg_head.train(mode)
        return self

    def pixel_embeddings(self, images: Tensor) -> Tensor:
        """Embeds pixels in the space of `text_features`.

        Args:
            images: (B, 3, h, w), RGB in 0..255; any size.

        Returns:
            (B, C, h' / 2, w' / 2), L2-normalised along C; h' and w' are the multiples of 32 nearest to h and w, or
            MODEL.LSEG.INPUT_SIZE.
        """
        images = self._resized(images)
        if not self._is_fast:
            return self.sem_seg_head.pixel_embeddings(self.backbone(images))
        return normalize_pixels(self._fast_stages.pixel_embeddings(self.backbone, self.sem_seg_head.decoder, images))

    def text_features(self, vocabulary: Vocabulary) -> TextFeatures:
        """Encodes words without gradients, as the text encoder is frozen; see `Method.text_features`."""
        with torch.no_grad():
            return super().text_features(vocabulary)

    def see(self, image: Tensor, short_side: int | None = None) -> SeenPixels:
        """Encodes and decodes an image; see `Method.see`.

        With several scales nothing of it is common to all, and the image is kept as it is.
        """
        if self.multi_scale is not None:
            return SeenPixels(image.to(self.device).float(), False)
        return self._see([image])[0]

    def see_together(self, images: Sequence[Tensor]) -> list[SeenPixels]:
        """Encodes and decodes images of one size in one pass; see `Method.see_together`."""
        if self.multi_scale is not None:
            return super().see_together(images)
        resized = [self._resized(image[None])[0] for image in images]
        members: dict[torch.Size, list[int]] = {}
        for index, image in enumerate(resized):
            members.setdefault(image.shape, []).append(index)
        found = {}
        for indices in members.values():
            found |= zip(indices, self._see([resized[index] for index in indices]), strict=True)
        return [found[index] for index in range(len(images))]

    def _see(self, images: Sequence[Tensor]) -> list[SeenPixels]:
        """Sees images of one size."""
        if not self._is_fast:
            return [SeenPixels(part, False) for part in self.pixel_embeddings(torch.stack(tuple(images)))]
        batch = self._resized(torch.stack(tuple(images)))
        fused = self._fast_stages.features(self.backbone, self.sem_seg_head.decoder, batch)
        return [SeenPixels(part, True) for part in fused]

    def correlation(self, seen: SeenPixels, text: TextFeatures) -> Tensor:
        """Correlates the pixels of an image with words, before regularisation.

        Args:
            seen: of the image, from `see`.
            text: T words.

        Returns:
            (T, h' / 2, w' / 2), cosine / 0.07; see `pixel_embeddings` for h' and w'.
        """
        if not seen.fused:
            return correlation(seen.features, text.embeddings)
        return self._fast_stages.correlation(self.backbone, self.sem_seg_head.decoder, seen.features, text.embeddings)

    def word_maps(self, seen: SeenPixels, text: TextFeatures) -> Tensor:
        """Compares the pixels of an image with words.

        Args:
            seen: of the image, from `see`.
            text: T words.

        Returns:
            Logits (T, h' / 2, w' / 2); see `pixel_embeddings` for h' and w'.
        """
        return self.sem_seg_head.regularization(self.correlation(seen, text))

    def losses(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], vocabularies: Sequence[Vocabulary]
    ) -> dict[str, Tensor]:
        """Computes the training loss; see `Method.losses` for the arguments.

        The images of a batch may have words of their own (zero-shot benchmarks), but not sizes of their own.

        Returns:
            {"loss_sem_seg": scalar}.

        Raises:
            ValueError: images of different sizes.
        """
        sizes = {tuple(image.shape[-2:]) for image in images}
        if len(sizes) != 1 and not self.input_size:
            raise ValueError(f"image: got sizes {sorted(sizes)} in one training batch, expected one (INPUT.CROP)")
        pixels = self.pixel_embeddings(torch.cat([self._resized(image[None]) for image in images]))
        logits = [
            resize(self.sem_seg_head(each, self.text_features(words))[None], tuple(label.shape))[0]
            for each, words, label in zip(pixels, vocabularies, labels)
        ]
        return {"loss_sem_seg": segmentation_loss(logits, labels, self.ignore_label)}

    def constant_loss(self, shares: Tensor, ignored: float, named: Tensor) -> float:
        """Computes what a constant answer loses; see `Method.constant_loss`."""
        return constant_loss(shares, named)

    def loss_count(self, labels: Sequence[Tensor], vocabularies: Sequence[Vocabulary]) -> int:
        """Counts labelled pixels; see `Method.loss_count`."""
        return loss_count(labels, self.ignore_label)

    def seen_maps(
        self, seen: SeenPixels, size: tuple[int, int], text: TextFeatures, short_side: int | None = None
    ) -> Tensor:
        """Computes probabilities; see `Method.seen_maps`.

        Returns:
            (T, *size): the softmax over the words, float32.
        """
        if self.multi_scale is None:
            scores = upsample(self.word_maps(seen, text))
        else:
            scores = multi_scale_scores(
                lambda crop: upsample(self.word_maps(self._see([crop])[0], text)), seen.features, self.multi_scale
            )
        return resize(scores[None].float(), size)[0].softmax(dim=0)

    def seen_labels(self, seen: SeenPixels, size: tuple[int, int], text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Finds the best channel of every pixel; see `Method.seen_labels`.

        With a single view, a few words at a time are upsampled: T x height x width floats never exist.
        """
        if self.multi_scale is not None:
            return super().seen_labels(seen, size, text)
        maps = self.word_maps(seen, text).float()
        words = WORDS_PER_CHUNK.get(self.device.type, WORDS_PER_CHUNK["cpu"])
        return best_by_softmax(resize(upsample(part)[None], size)[0] for part in maps.split(words))

    def similarity(self, seen: SeenPixels, size: tuple[int, int], text: TextFeatures) -> Tensor:
        """Gives the cosines of pixels and words, before regularisation; see `Method.similarity`."""
        return resize(upsample(TEMPERATURE * self.correlation(seen, text).float())[None], size)[0]

    def check_seen_once(self) -> None:
        """Makes sure that one look at an image is all that evaluation takes; see `OpenVocabularyModel`."""
        super().check_seen_once()
        if self.multi_scale is not None:
            raise ValueError(
                "look: got TEST.MULTI_SCALE, which sees a picture at several sizes, expected "
                "TEST.MULTI_SCALE.ENABLED False (or ask with the picture itself)"
            )

    def adapt_state(self, state: dict[str, Tensor], keep_unknown: bool = False) -> dict[str, Tensor]:
        """Renames the parameters of a released checkpoint; our own pass unchanged. See `lseg.checkpoint`."""
        return from_released(state, keep_unknown)

    def released_state(self) -> dict[str, Tensor]:
        """Gives what takes part of a released checkpoint, under its names. See `lseg.checkpoint.to_released`."""
        return to_released(self.state_dict())

    def guess_config(self, state: dict[str, Tensor]) -> str | None:
        """Names the config that a checkpoint belongs to. See `lseg.checkpoint`."""
        return guess_config(state)

    @property
    def _is_fast(self) -> bool:
        return self.fast and not self.training and not torch.is_grad_enabled()

    def _resized(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        images = images if images.is_floating_point() else images.float()
        return resize(images, self._working_size(*images.shape[-2:]))

    def _working_size(self, height: int, width: int) -> tuple[int, int]:
        if self.input_size:
            return self.input_size, self.input_size
        if torch.compiler.is_exporting():  # the same, by the graph: grids are whole multiples of what it computes
            sides = (torch.scalar_tensor(side, dtype=torch.float64) / STRIDE for side in (height, width))
            return tuple(STRIDE * computed(side.round().clamp(min=1), 1, _MOST_STRIDES) for side in sides)
        return tuple(max(STRIDE, STRIDE * round(side / STRIDE)) for side in (height, width))


def _recompute(backbone: nn.Module) -> None:
    if not isinstance(backbone, ViTEncoder):
        raise ValueError(
            f"MODEL.CHECKPOINT_ACTIVATIONS: got True with {type(backbone).__name__}, expected False, or a "
            "vision transformer as MODEL.LSEG.BACKBONE: batch normalisation would count every batch twice"
        )
    backbone.vit.set_grad_checkpointing()
