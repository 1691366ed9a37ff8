"""CAT-Seg, the whole model (arXiv 2303.11797): stages in the order of the paper's figure.

Shape letters: B images, V views, T classes, P templates, C joint width, H x W token grid, h x w image pixels.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn

from catseg.checkpoint import from_released, guess_config, to_released
from catseg.cost_volume import compute_cost
from catseg.losses import constant_loss, kept_loss, loss_count, segmentation_loss
from catseg.pruning import Pruning, competitive_classes
from openvocab.augmented_views import AugmentedViews
from openvocab.clip.build import Clip, build_clip
from openvocab.clip.fast_image_encoder import FastImageEncoder
from openvocab.clip.finetune import set_trainable
from openvocab.clip.image_encoder import check_taps
from openvocab.clip.text_encoder import TextEncoder
from openvocab.config_keys import check_model_keys
from openvocab.interfaces import KEPT_LOSS, ClipFeatures, KeptWords, TextFeatures
from openvocab.kernels.label_map import label_map
from openvocab.model import OpenVocabularyModel
from openvocab.vocab.options import VocabularyOptions
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.windows import make_views, merge_views, pad_to_multiple, resize, window_origins


@dataclass(frozen=True)
class SlidingWindow:
    """Sizes of the sliding-window evaluation in pixels; see `openvocab.windows`."""

    size: int
    kernel: int
    stride: int


@META_ARCH_REGISTRY.register()
class CATSeg(OpenVocabularyModel):
    """Open-vocabulary segmentation by cost aggregation.

    Args:
        clip: both towers of CLIP.
        sem_seg_head: turns their features into logits.
        taps: two 0-based CLIP blocks whose outputs guide the decoder.
        input_size: pixels; every view is resized to this square.
        vocabulary: default words and how words are used.
        ignore_label: of pixels without a class.
        ignored_pixels: what the loss does with them, "negative" or "masked".
        size_divisibility: pixels; without sliding window an image is padded to a multiple.
        sliding_window: its sizes, or None to evaluate the whole image at once.
        pruning: approximations of the evaluation.
        augmentation: views that evaluation averages; their sizes take the place of the sliding window's square.

    Raises:
        ValueError: taps that CLIP does not have, pruning by a global view without windows, or sizes of augmented views
            that windows do not fit or that change nothing.
    """

    similarity_is_clips = keeps_words = True

    @configurable
    def __init__(
        self,
        *,
        clip: Clip,
        sem_seg_head: nn.Module,
        taps: Sequence[int],
        input_size: int,
        vocabulary: VocabularyOptions,
        ignore_label: int,
        ignored_pixels: str,
        size_divisibility: int,
        sliding_window: SlidingWindow | None,
        pruning: Pruning,
        augmentation: AugmentedViews | None = None,
    ):
        super().__init__(vocabulary, ignore_label, augmentation)
        check_taps(taps, clip.spec)
        self.clip = clip
        self.sem_seg_head = sem_seg_head
        self.taps = tuple(taps)
        self.input_size = input_size
        self.ignored_pixels = ignored_pixels
        self.size_divisibility = size_divisibility
        self.sliding_window = sliding_window
        if pruning.per_pixel and sliding_window is None:
            raise ValueError(
                f"PER_PIXEL: got {pruning.per_pixel} without TEST.SLIDING_WINDOW, expected 0: there are "
                "no windows (MODEL.CATSEG.PRUNING)"
            )
        self.pruning = pruning
        if augmentation is not None:
            _check_sizes(augmentation, sliding_window)
        self._fast_visual = FastImageEncoder()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Builds the parts that a config describes.

        Args:
            cfg: with the keys of `openvocab.config` and `catseg.config`.

        Returns:
            Arguments of the constructor.

        Raises:
            ValueError: sizes that do not fit each other.
        """
        check_model_keys(cfg, get_cfg())
        # A checkpoint is loaded strictly and holds all of CLIP, so there is nothing to fetch beforehand.
        clip = build_clip(cfg.MODEL.CLIP.NAME, "" if cfg.MODEL.WEIGHTS else cfg.MODEL.CLIP.PRETRAINED)
        set_trainable(clip, cfg.MODEL.CLIP.FINETUNE, cfg.MODEL.CLIP.RANK)
        clip.visual.recompute = cfg.MODEL.CHECKPOINT_ACTIVATIONS
        side, rest = divmod(cfg.MODEL.CLIP.INPUT_SIZE, clip.spec.patch_size)
        if rest or not side:
            raise ValueError(
                f"MODEL.CLIP.INPUT_SIZE: got {cfg.MODEL.CLIP.INPUT_SIZE}, expected a multiple of "
                f"{clip.spec.patch_size} (patch size of {clip.spec.name})"
            )
        shape = {
            "dense": ShapeSpec(channels=clip.spec.embed_dim, height=side, width=side),
            "tap": ShapeSpec(channels=clip.spec.width),
        }
        window = cfg.TEST.SLIDING_WINDOW
        return {
            "clip": clip,
            "sem_seg_head": build_sem_seg_head(cfg, shape),
            "taps": cfg.MODEL.CATSEG.TAPS,
            "input_size": cfg.MODEL.CLIP.INPUT_SIZE,
            "vocabulary": VocabularyOptions.from_config(cfg),
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "ignored_pixels": cfg.MODEL.CATSEG.IGNORED_PIXELS,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "sliding_window": SlidingWindow(window.SIZE, window.KERNEL, window.STRIDE) if window.ENABLED else None,
            "pruning": Pruning.from_config(cfg),
            "augmentation": AugmentedViews.from_config(cfg),
        }

    def without_windows(self) -> "CATSeg":
        """Gives the same model, of the same parameters, that sees a picture once instead of in windows.

        Raises:
            ValueError: pruning by a global view, which needs windows.
        """
        if self.pruning.per_pixel:
            raise ValueError(f"PER_PIXEL: got {self.pruning.per_pixel}, expected 0 where there are no windows")
        twin = copy(self)
        twin.sliding_window = None
        return twin

    @property
    def text_encoder(self) -> TextEncoder:
        """CLIP's text tower."""
        return self.clip.text

    def train(self, mode: bool = True) -> "CATSeg":
        """Switches the mode and forgets what the fast path has derived; see `openvocab.versions`."""
        self._fast_visual.clear()
        return super().train(mode)

    def losses(
        self,
        images: Sequence[Tensor],
        labels: Sequence[Tensor],
        vocabularies: Sequence[Vocabulary],
        kept: Sequence[KeptWords] = (),
    ) -> dict[str, Tensor]:
        """Computes the training loss; see `Method.losses` for the arguments.

        Returns:
            {"loss_sem_seg": scalar}, and "loss_kept" where words are kept.

        Raises:
            ValueError: more than one vocabulary in the batch.
        """
        if len(set(vocabularies)) != 1:
            raise ValueError(f"vocabulary: got {len(set(vocabularies))} in one training batch, expected one")
        features = self._seen_in_training(images)
        logits = self.sem_seg_head(features, self.text_features(vocabularies[0]))
        losses = {"loss_sem_seg": segmentation_loss(logits, labels, self.ignore_label, self.ignored_pixels)}
        if kept:
            logits = self.sem_seg_head(features, self.text_features(kept[0].words))
            losses[KEPT_LOSS] = kept_loss(logits, torch.stack([each.probabilities for each in kept]))
        return losses

    def training_logits(self, images: Sequence[Tensor], text: TextFeatures) -> Tensor:
        """Computes the logits of words as training sees images: once, resized to a square.

        Args:
            images: B of (3, h, w), as for `losses`.
            text: T words.

        Returns:
            (B, T, 4H, 4W).
        """
        return self.sem_seg_head(self._seen_in_training(images), text)

    def constant_loss(self, shares: Tensor, ignored: float, named: Tensor) -> float:
        """Computes what a constant answer loses; see `Method.constant_loss`."""
        return constant_loss(shares, ignored, named, self.ignored_pixels)

    def loss_count(self, labels: Sequence[Tensor], vocabularies: Sequence[Vocabulary]) -> int:
        """Counts pairs of a pixel and a class; see `Method.loss_count`."""
        return loss_count(labels, list(map(len, vocabularies)), self.ignore_label, self.ignored_pixels)

    def predict(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        vocabularies: Sequence[Vocabulary],
        short_side: int | None = None,
    ) -> list[Tensor]:
        """Computes probabilities; see `Method.predict` for the arguments.

        The views of all images go through CLIP together, and those that are asked for the same words through the head.

        Returns:
            B maps (T, S, S), S being `short_side` where it is given, or (T, 4H, 4W) without sliding window, float32.
        """
        features, count = self._encoded_together(images, short_side)
        if self.pruning:
            texts = map(self.text_features, vocabularies)
            return [self._pruned_maps(*pair, short_side) for pair in zip(features.of_each(count), texts, strict=True)]
        results = {}
        for vocabulary in dict.fromkeys(vocabularies):
            members = [index for index, own in enumerate(vocabularies) if own == vocabulary]
            rows = [index * count + view for index in members for view in range(count)]
            logits = self.sem_seg_head(features.select(rows), self.text_features(vocabulary))
            merged = (self.merge_logits(part, short_side) for part in logits.split(count))
            results |= zip(members, merged, strict=True)
        return [results[index] for index in range(len(images))]

    def see(self, image: Tensor, short_side: int | None = None) -> ClipFeatures:
        """Runs CLIP's image tower on the views of an image; see `Method.see`."""
        return self.encode_images(self.make_views(image, short_side))

    def see_together(self, images: Sequence[Tensor]) -> list[ClipFeatures]:
        """Runs CLIP's image tower once; see `Method.see_together`."""
        features, count = self._encoded_together(images)
        return features.of_each(count)

    def seen_maps(
        self, seen: ClipFeatures, size: tuple[int, int], text: TextFeatures, short_side: int | None = None
    ) -> Tensor:
        """Computes probabilities; see `Method.seen_maps`, and `predict` for their size."""
        if self.pruning:
            return self._pruned_maps(seen, text, short_side)
        return self.merge_logits(self.sem_seg_head(seen, text), short_side)

    def seen_labels(self, seen: ClipFeatures, size: tuple[int, int], text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Finds the best channel of every pixel; see `Method.seen_labels`.

        On the fast path with a sliding window, T maps of the size of the square never exist, and classes that no view
        keeps are left out: their probability would be sigmoid(-100), below that of every other class.
        """
        window = self.sliding_window
        if window is None or torch.is_grad_enabled() or not self.sem_seg_head.is_fast:
            return super().seen_labels(seen, size, text)
        if self.pruning:
            logits, classes = self._pruned_logits(seen, text)
            index = classes.expand(len(logits), -1)
        else:
            logits, index = self.sem_seg_head.logits_of_kept(seen, text)
        return label_map(
            logits,
            window.kernel,
            window.size,
            window.stride,
            size,
            index,
            len(text.embeddings),
            self.sem_seg_head.kernels,
        )

    def similarity(self, seen: ClipFeatures, size: tuple[int, int], text: TextFeatures) -> Tensor:
        """Gives the cost volume before it is aggregated, mean over the templates, merged as logits are."""
        dense = seen.dense.to(torch.promote_types(seen.dense.dtype, torch.float32))
        cost = compute_cost(dense, text.embeddings.to(dense.dtype)).mean(dim=2)
        return resize(self._merged(cost)[None], size)[0]

    def encode_images(self, views: Tensor) -> ClipFeatures:
        """Runs CLIP's image tower.

        Args:
            views: (V, 3, h, w), normalised RGB of any size.

        Returns:
            Dense features and taps on the head's grid.
        """
        views = resize(views, (self.input_size, self.input_size))
        if torch.is_grad_enabled() or not self.sem_seg_head.is_fast:
            return self.clip.visual(views.to(self.clip.visual.proj.dtype), self.taps)
        return self._fast_visual.encode(self.clip.visual, views, self.taps)

    def make_views(self, image: Tensor, size: int | None = None) -> Tensor:
        """Cuts an image into the views of the evaluation protocol.

        Args:
            image: (3, h, w), RGB in 0..255.
            size: pixels; of the square that windows are cut from, instead of the config's.

        Returns:
            (V, 3, h', w'), normalised; V = 1 without sliding window.
        """
        image = self._normalized(image)
        if self.sliding_window is None:
            return pad_to_multiple(image, self.size_divisibility)[None]
        window = self.sliding_window
        return make_views(image, size or window.size, window.kernel, window.stride)

    def merge_logits(self, logits: Tensor, size: int | None = None) -> Tensor:
        """Merges the logits of one image's views.

        Args:
            logits: (V, T, 4H, 4W).
            size: as for `make_views`.

        Returns:
            Probabilities (T, S, S), or (T, 4H, 4W) without sliding window, float32.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.sliding_window is not None:  # probabilities are merged, not logits
            logits = resize(logits, (self.sliding_window.kernel,) * 2)
        return self._merged(logits.sigmoid(), size)

    def _merged(self, maps: Tensor, size: int | None = None) -> Tensor:
        """Merges maps (V, T, h, w) of one image's views."""
        window = self.sliding_window
        if window is None:
            return maps[0]
        return merge_views(resize(maps, (window.kernel, window.kernel)), size or window.size, window.stride)

    def _encoded_together(self, images: Sequence[Tensor], short_side: int | None = None) -> tuple[ClipFeatures, int]:
        """Encodes the views of all images; gives how many each has as well."""
        views = [self.make_views(image, short_side) for image in images]
        size = (self.input_size, self.input_size)
        return self.encode_images(torch.cat([resize(view, size) for view in views])), len(views[0])

    def _pruned_maps(self, features: ClipFeatures, text: TextFeatures, size: int | None) -> Tensor:
        logits, classes = self._pruned_logits(features, text)
        maps = self.merge_logits(logits, size)
        return maps.new_zeros(len(text.embeddings), *maps.shape[1:]).index_copy(0, classes, maps)

    def _pruned_logits(self, features: ClipFeatures, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Computes the logits of the classes that the views of one image keep: (V, U, 4H, 4W), and (U,) their numbers.

        A class that is left out has probability 0.
        """
        classes = torch.arange(len(text.embeddings), device=self.device)
        if self.pruning.per_token:
            similarity = compute_cost(features.dense, text.embeddings.to(features.dense.dtype)).mean(dim=2)
            classes = competitive_classes(similarity, self.pruning.per_token)
        if not self.pruning.per_pixel:
            return self.sem_seg_head(features, TextFeatures(text.embeddings[classes])), classes
        whole = self.sem_seg_head(features.select(slice(-1, None)), TextFeatures(text.embeddings[classes]))
        best = competitive_classes(whole, self.pruning.per_pixel)
        classes = classes[best]
        windows = self.sem_seg_head(features.select(slice(-1)), TextFeatures(text.embeddings[classes]))
        return torch.cat([windows, whole[:, best]]), classes

    def adapt_state(self, state: dict[str, Tensor], keep_unknown: bool = False) -> dict[str, Tensor]:
        """Renames the parameters of a released checkpoint; our own pass unchanged. See `catseg.checkpoint`."""
        return from_released(state, keep_unknown)

    def released_state(self) -> dict[str, Tensor]:
        """Gives all that a released checkpoint of this model holds, under its names. See `catseg.checkpoint`."""
        return to_released(self.state_dict(), self.sem_seg_head.attention_masks())

    def guess_config(self, state: dict[str, Tensor]) -> str | None:
        """Names the config that a checkpoint belongs to. See `catseg.checkpoint`."""
        return guess_config(state)

    def _seen_in_training(self, images: Sequence[Tensor]) -> ClipFeatures:
        size = (self.input_size, self.input_size)
        return self.encode_images(torch.cat([resize(self._normalized(image)[None], size) for image in images]))

    def _normalized(self, image: Tensor) -> Tensor:
        return self.clip.visual.normalize(image.to(self.device))


def _check_sizes(augmentation: AugmentedViews, window: SlidingWindow | None) -> None:
    if window is None and len(augmentation.sizes) > 1:
        raise ValueError(
            f"TEST.AUG.MIN_SIZES: got {augmentation.sizes}, expected one size: without "
            "TEST.SLIDING_WINDOW every view is resized to MODEL.CLIP.INPUT_SIZE"
        )
    for size in augmentation.sizes if window else ():
        try:
            window_origins(size, window.kernel, window.stride)
        except ValueError as error:
            raise ValueError(f"TEST.AUG.MIN_SIZES: got {size}: {error}") from error
