"""CAT-Seg, the whole model (arXiv 2303.11797): stages in the order of the paper's figure.

Shape letters: B images, V views, T classes, P templates, C joint width, H x W token grid, h x w image pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn

from catseg.checkpoint import from_released, guess_config
from catseg.losses import check_labels, segmentation_loss
from openvocab.clip.build import Clip, build_clip
from openvocab.clip.finetune import set_trainable
from openvocab.clip.image_encoder import check_taps
from openvocab.inference.sliding_window import best_channel, make_views, merge_views, pad_to_multiple, resize
from openvocab.interfaces import ClipFeatures
from openvocab.vocab.sampling import sample_vocabulary
from openvocab.vocab.templates import templates
from openvocab.vocab.vocabulary import Vocabulary, as_vocabulary, named_vocabulary

OUTPUTS = ("sem_seg", "labels")


@dataclass(frozen=True)
class SlidingWindow:
    """Sizes of the sliding-window evaluation in pixels; see `openvocab.inference.sliding_window`."""

    size: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class VocabularyOptions:
    """Where words come from when an input brings none, and what is done with them.

    Attributes:
        train: words of training, or None.
        test: words of evaluation, or None.
        templates: P prompt templates.
        synonyms: rule for vocabularies that are not given with the input.
        train_sample: words per training batch; 0 = all.
    """

    train: Vocabulary | None
    test: Vocabulary | None
    templates: tuple[str, ...]
    synonyms: str
    train_sample: int


@META_ARCH_REGISTRY.register()
class CATSeg(nn.Module):
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
        output: "sem_seg" for probabilities, "labels" for label maps.

    Raises:
        ValueError: unknown output, or taps that CLIP does not have.
    """

    @configurable
    def __init__(self, *, clip: Clip, sem_seg_head: nn.Module, taps: Sequence[int], input_size: int,
                 vocabulary: VocabularyOptions, ignore_label: int, ignored_pixels: str, size_divisibility: int,
                 sliding_window: SlidingWindow | None, output: str):
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output: got {output!r}, expected one of {OUTPUTS} (TEST.OUTPUT)")
        check_taps(taps, clip.spec)
        self.clip = clip
        self.sem_seg_head = sem_seg_head
        self.taps = tuple(taps)
        self.input_size = input_size
        self.vocabulary = vocabulary
        self.ignore_label = ignore_label
        self.ignored_pixels = ignored_pixels
        self.size_divisibility = size_divisibility
        self.sliding_window = sliding_window
        self.output = output

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
        # A checkpoint is loaded strictly and holds all of CLIP, so there is nothing to fetch beforehand.
        clip = build_clip(cfg.MODEL.CLIP.NAME, "" if cfg.MODEL.WEIGHTS else cfg.MODEL.CLIP.PRETRAINED)
        set_trainable(clip, cfg.MODEL.CLIP.FINETUNE)
        side, rest = divmod(cfg.MODEL.CLIP.INPUT_SIZE, clip.spec.patch_size)
        if rest or not side:
            raise ValueError(f"MODEL.CLIP.INPUT_SIZE: got {cfg.MODEL.CLIP.INPUT_SIZE}, expected a multiple of "
                             f"{clip.spec.patch_size} (patch size of {clip.spec.name})")
        shape = {"dense": ShapeSpec(channels=clip.spec.embed_dim, height=side, width=side),
                 "tap": ShapeSpec(channels=clip.spec.width)}
        words, window = cfg.MODEL.VOCABULARY, cfg.TEST.SLIDING_WINDOW
        train, test = (named_vocabulary(name).with_synonyms(words.SYNONYMS) if name else None
                       for name in (words.TRAIN, words.TEST))
        return {
            "clip": clip,
            "sem_seg_head": build_sem_seg_head(cfg, shape),
            "taps": cfg.MODEL.CATSEG.TAPS,
            "input_size": cfg.MODEL.CLIP.INPUT_SIZE,
            "vocabulary": VocabularyOptions(
                train, test, templates(words.TEMPLATES), words.SYNONYMS, words.TRAIN_SAMPLE),
            "ignore_label": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "ignored_pixels": cfg.MODEL.CATSEG.IGNORED_PIXELS,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "sliding_window": SlidingWindow(window.SIZE, window.KERNEL, window.STRIDE) if window.ENABLED else None,
            "output": cfg.TEST.OUTPUT,
        }

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.clip.visual.proj.device

    def set_default_vocabulary(self, vocabulary: Vocabulary | Sequence[str], training: bool = False) -> None:
        """Sets the words for inputs that bring none; they take precedence over the config's.

        Args:
            vocabulary: of a dataset; the config's synonym rule is applied to it.
            training: whether it is for training or for evaluation. They are kept apart, so that an evaluation in
                between does not change what is trained.
        """
        words = as_vocabulary(vocabulary).with_synonyms(self.vocabulary.synonyms)
        self.vocabulary = replace(self.vocabulary, **{"train" if training else "test": words})

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Segments images, or computes the training loss.

        Args:
            batched_inputs: B dicts with "image" (3, h, w), RGB in 0..255, uint8 or floating point; optional "height"
                and "width" of the answer in pixels; optional "vocabulary", a `Vocabulary` or a sequence of words;
                in training "sem_seg" (h, w) int64.

        Returns:
            In training {"loss_sem_seg": scalar}. In evaluation one dict per image: "sem_seg" (T, height, width)
            probabilities in 0..1, or "labels" (height, width) int64 class indices and "scores" (height, width)
            probabilities of the chosen channel. Both float32.

        Raises:
            ValueError: an input of another shape, no vocabulary, more than one in a training batch, or labels that no
                word stands for.
        """
        if self.training:
            return self._losses(batched_inputs)
        return self._predict(batched_inputs)

    def encode_images(self, views: Tensor) -> ClipFeatures:
        """Runs CLIP's image tower.

        Args:
            views: (V, 3, h, w), normalised RGB of any size.

        Returns:
            Dense features and taps on the head's grid.
        """
        views = resize(views, (self.input_size, self.input_size))
        return self.clip.visual(views.to(self.clip.visual.proj.dtype), self.taps)

    def make_views(self, image: Tensor) -> Tensor:
        """Cuts an image into the views of the evaluation protocol.

        Args:
            image: (3, h, w), RGB in 0..255.

        Returns:
            (V, 3, h', w'), normalised; V = 1 without sliding window.
        """
        image = self._normalized(image)
        if self.sliding_window is None:
            return pad_to_multiple(image, self.size_divisibility)[None]
        window = self.sliding_window
        return make_views(image, window.size, window.kernel, window.stride)

    def merge_logits(self, logits: Tensor) -> Tensor:
        """Merges the logits of one image's views.

        Args:
            logits: (V, T, 4H, 4W).

        Returns:
            Probabilities (T, S, S), or (T, 4H, 4W) without sliding window, float32.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.sliding_window is None:
            return logits[0].sigmoid()
        window = self.sliding_window
        return merge_views(resize(logits, (window.kernel, window.kernel)).sigmoid(), window.size, window.stride)

    def adapt_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames the parameters of a released checkpoint; our own pass unchanged. See `catseg.checkpoint`."""
        return from_released(state)

    def guess_config(self, state: dict[str, Tensor]) -> str | None:
        """Names the config that a checkpoint belongs to. See `catseg.checkpoint`."""
        return guess_config(state)

    def _predict(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        vocabularies = [self._vocabulary_of(item) for item in batched_inputs]
        views = [self.make_views(item["image"]) for item in batched_inputs]
        count = len(views[0])
        features = self.encode_images(torch.cat([resize(view, (self.input_size, self.input_size)) for view in views]))
        results = [{} for _ in batched_inputs]
        for vocabulary in dict.fromkeys(vocabularies):
            members = [index for index, own in enumerate(vocabularies) if own == vocabulary]
            rows = [index * count + view for index in members for view in range(count)]
            chosen = ClipFeatures(features.dense[rows], tuple(tap[rows] for tap in features.taps))
            logits = self.sem_seg_head(chosen, self.clip.text(vocabulary, self.vocabulary.templates))
            for index, own in zip(members, logits.split(count)):
                results[index] = self._answer(self.merge_logits(own), batched_inputs[index], vocabulary)
        return results

    def _answer(self, probabilities: Tensor, item: dict[str, Any], vocabulary: Vocabulary) -> dict[str, Tensor]:
        height, width = item["image"].shape[-2:]
        size = (item.get("height", height), item.get("width", width))
        if self.output == "sem_seg":
            return {"sem_seg": resize(probabilities[None], size)[0]}
        labels, scores = best_channel(probabilities, size)
        if vocabulary.channel_to_class is not None:
            labels = torch.tensor(vocabulary.channel_to_class, device=labels.device)[labels]
        return {"labels": labels, "scores": scores}

    def _losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        vocabularies = {self._vocabulary_of(item) for item in batched_inputs}
        if len(vocabularies) != 1:
            raise ValueError(f"vocabulary: got {len(vocabularies)} in one training batch, expected one")
        vocabulary = vocabularies.pop()
        labels = [self._label_of(item, vocabulary) for item in batched_inputs]
        if 0 < self.vocabulary.train_sample < len(vocabulary):
            vocabulary, labels = self._sampled(vocabulary, labels)
        size = (self.input_size, self.input_size)
        views = torch.cat([resize(self._normalized(item["image"])[None], size) for item in batched_inputs])
        logits = self.sem_seg_head(
            self.encode_images(views), self.clip.text(vocabulary, self.vocabulary.templates))
        return {"loss_sem_seg": segmentation_loss(logits, labels, self.ignore_label, self.ignored_pixels)}

    def _sampled(self, vocabulary: Vocabulary, labels: list[Tensor]) -> tuple[Vocabulary, list[Tensor]]:
        present = torch.cat([label.unique() for label in labels]).tolist()
        classes = sample_vocabulary(
            set(present) - {self.ignore_label}, len(vocabulary), self.vocabulary.train_sample)
        place = torch.full((len(vocabulary),), self.ignore_label, device=self.device)
        place[classes] = torch.arange(len(classes), device=self.device)
        labels = [torch.where(label == self.ignore_label, label, place[label.clamp(0, len(vocabulary) - 1)])
                  for label in labels]
        words = replace(vocabulary, entries=tuple(vocabulary.entries[index] for index in classes),
                        names=tuple(vocabulary.names[index] for index in classes))
        return words, labels

    def _vocabulary_of(self, item: dict[str, Any]) -> Vocabulary:
        if item.get("vocabulary") is not None:
            return as_vocabulary(item["vocabulary"])
        default = self.vocabulary.train if self.training else self.vocabulary.test
        if default is None:
            mode, key = ("training", "TRAIN") if self.training else ("evaluation", "TEST")
            raise ValueError(f"vocabulary: got none for {mode}, expected one in the input dict, by "
                             f"set_default_vocabulary or in MODEL.VOCABULARY.{key}")
        return default

    def _label_of(self, item: dict[str, Any], vocabulary: Vocabulary) -> Tensor:
        if "sem_seg" not in item or item["sem_seg"].shape != item["image"].shape[-2:]:
            got = tuple(item["sem_seg"].shape) if "sem_seg" in item else "none"
            size = tuple(item["image"].shape[-2:])
            raise ValueError(f"sem_seg: got {got}, expected labels of the image's size {size}")
        if vocabulary.channel_to_class is not None:
            raise ValueError("vocabulary: got one with channel_to_class, expected one channel per class in training")
        if 0 <= self.ignore_label < len(vocabulary):
            raise ValueError(f"vocabulary: got {len(vocabulary)} words, but label {self.ignore_label} means 'ignored'; "
                             "expected MODEL.SEM_SEG_HEAD.IGNORE_VALUE outside the classes")
        label = item["sem_seg"].to(self.device, torch.long)
        check_labels(label, len(vocabulary), self.ignore_label)
        return label

    def _normalized(self, image: Tensor) -> Tensor:
        if image.dim() != 3 or len(image) != 3 or not image.numel():
            raise ValueError(f"image: got shape {tuple(image.shape)}, expected (3, h, w)")
        return self.clip.visual.normalize(image.to(self.device))
