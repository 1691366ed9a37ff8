"""What every method has in common: words that travel with the input, labels that are checked, answers of a wanted size.

Shape letters: B images, T text classes, h x w image pixels.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.augmented_views import AugmentedViews
from openvocab.checkpoint.complete import require_complete
from openvocab.devices import exact_float32, to_device
from openvocab.labels import Survey, check_labels, present_classes, restricted, sampled_classes
from openvocab.method import Method
from openvocab.vocab.options import VocabularyOptions
from openvocab.vocab.templates import templates
from openvocab.vocab.vocabulary import Vocabulary, as_vocabulary
from openvocab.windows import best_channel, best_per_class, resize

OUTPUTS = ("sem_seg", "labels", "cosine")


class OpenVocabularyModel(Method):
    """Base of the methods, which bring what `Method` lists: takes Detectron2's inputs and gives its outputs.

    `load_state_dict` takes whole state dicts only, whatever `strict` says: released ones, packed ones and our own. See
    `openvocab.checkpoint.complete`.

    Args:
        vocabulary: default words and how words are used.
        ignore_label: of pixels without a class.
        augmentation: views that evaluation averages, or None for a single one.
    """

    def __init__(self, vocabulary: VocabularyOptions, ignore_label: int, augmentation: AugmentedViews | None = None):
        super().__init__()
        exact_float32()
        require_complete(self)
        self._is_random = True  # until weights are loaded or a loss is computed
        self.register_load_state_dict_post_hook(_weights_are_loaded)
        self.vocabulary = vocabulary
        self.ignore_label = ignore_label
        self.augmentation = augmentation

    @property
    def is_random(self) -> bool:
        """Whether neither weights were loaded nor a loss was computed; CLIP may have been loaded all the same."""
        return self._is_random

    def survey(self, batched_inputs: list[dict[str, Any]]) -> Survey:
        """Says what the labels of training inputs hold, before a part of a larger batch is computed.

        Args:
            batched_inputs: as `forward` takes them in training.

        Raises:
            ValueError: no labels, no vocabulary, or labels that no word stands for.
        """
        vocabularies = [self._vocabulary_of(item) for item in batched_inputs]
        labels = [self._label_of(*pair) for pair in zip(batched_inputs, vocabularies, strict=True)]
        return self._survey(labels, vocabularies)

    def sample_classes(self, surveys: Sequence[Survey], generator: torch.Generator | None = None) -> list[int] | None:
        """Draws the classes that a training batch is given, where the config samples words.

        Args:
            surveys: of all parts of the batch.
            generator: source of randomness; None is torch's global one on the CPU.

        Returns:
            Classes for the "classes" of its inputs, or None for all.
        """
        return sampled_classes(surveys, self.vocabulary.train_sample, generator)

    def check_seen_once(self) -> None:
        """Makes sure that one look at an image is all that evaluation takes.

        Raises:
            ValueError: it looks at several sizes of it.
        """
        if self.augmentation is not None:
            raise ValueError(
                "look: got TEST.AUG, which sees a picture at several sizes, expected TEST.AUG.ENABLED "
                "False (or ask with the picture itself)"
            )

    def set_default_vocabulary(self, vocabulary: Vocabulary | Sequence[str], training: bool = False) -> None:
        """Sets the words for inputs that bring none; they take precedence over the config's.

        Args:
            vocabulary: of a dataset; the config's synonym rule is applied to it.
            training: whether it is for training or for evaluation. They are kept apart, so that an evaluation in
                between does not change what is trained.
        """
        words = as_vocabulary(vocabulary).with_synonyms(self.vocabulary.synonyms)
        self.vocabulary = replace(self.vocabulary, **{"train" if training else "test": words})

    def set_templates(self, name: str) -> None:
        """Sets the prompt templates, those of the config's MODEL.VOCABULARY.TEMPLATES until then.

        Args:
            name: see `openvocab.vocab.templates`.

        Raises:
            ValueError: there are none of this name.
        """
        self.vocabulary = replace(self.vocabulary, templates=templates(name))

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Segments images, or computes the training loss.

        Args:
            batched_inputs: B dicts with "image" (3, h, w), RGB in 0..255, uint8 or floating point; optional "height"
                and "width" of the answer in pixels; optional "vocabulary", a `Vocabulary` or a sequence of words;
                in training "sem_seg" (h, w) int64 and optional "classes", from `sample_classes` of a larger batch, the
                same for all; else each call samples for itself; optional "kept" (`KeptWords`); optional "output":
                "labels" asks for label maps, "cosine" for their `cosine_of` as well. In evaluation "seen" from `see`
                may stand in place of "image", with "height" and "width".

        Returns:
            In training {"loss_sem_seg": scalar}. In evaluation one dict per image: "sem_seg" (classes, height, width)
            probabilities in 0..1, of several words of one class the largest; or, where asked for, "labels" (height,
            width) int64 class indices and "scores" (height, width) probabilities of the chosen word, and "cosine".

        Raises:
            ValueError: an input of another shape, no vocabulary, labels that no word stands for, or what the method
                refuses.
        """
        vocabularies = [self._vocabulary_of(item) for item in batched_inputs]
        if self.training:
            self._is_random = False
            images = [_check_image(item["image"]) for item in batched_inputs]
            kept = [item["kept"] for item in batched_inputs if "kept" in item]
            return self.losses(images, *self._targets(batched_inputs, vocabularies), **({"kept": kept} if kept else {}))
        if self._is_random:
            self._is_random = False  # said once
            warnings.warn(
                "this model answers from random weights: none were loaded (MODEL.WEIGHTS, or "
                "DetectionCheckpointer(model).load(...)) and nothing was trained",
                stacklevel=2,
            )
        outputs = {item.get("output", "sem_seg") for item in batched_inputs}
        if len(outputs) != 1 or not outputs <= set(OUTPUTS):
            raise ValueError(f"output: got {sorted(outputs)} in one batch, expected one of {OUTPUTS}")
        seen = [item["seen"] for item in batched_inputs if "seen" in item]
        if seen and len(seen) != len(batched_inputs):
            raise ValueError(f"seen: got {len(seen)} in a batch of {len(batched_inputs)}, expected it in all or none")
        images = [] if seen else [_check_image(item["image"]) for item in batched_inputs]
        sizes = (
            [(item["height"], item["width"]) for item in batched_inputs]
            if seen
            else [
                (item.get("height", image.shape[-2]), item.get("width", image.shape[-1]))
                for item, image in zip(batched_inputs, images)
            ]
        )
        if outputs != {"sem_seg"}:
            found = self._labels(images, seen, sizes, vocabularies, outputs == {"cosine"})
            return [_labelled(*pair) for pair in zip(found, vocabularies, strict=True)]
        questions = zip(seen, sizes, map(self.text_features, vocabularies))
        maps = (
            [resize(self.seen_maps(*question)[None], question[1])[0] for question in questions]
            if seen
            else self._probabilities(images, sizes, vocabularies)
        )
        return [
            {"sem_seg": best_per_class(part, vocabulary.channel_to_class, len(vocabulary.names))}
            for part, vocabulary in zip(maps, vocabularies, strict=True)
        ]

    def _labels(
        self,
        images: Sequence[Tensor],
        seen: Iterable[Any],
        sizes: Sequence[tuple[int, int]],
        vocabularies: Sequence[Vocabulary],
        cosine: bool,
    ) -> list[tuple[Tensor, ...]]:
        if cosine:
            self.check_seen_once()
        if self.augmentation is not None and images:
            return list(map(best_channel, self._probabilities(images, sizes, vocabularies), sizes))
        if images:  # on a CPU one by one: only what was seen of one exists, and a batch would be slower
            seen = map(self.see, images) if self.device.type == "cpu" else self.see_together(images)
        found = []
        for each, size, text in zip(seen, sizes, map(self.text_features, vocabularies), strict=True):
            pair = self.seen_labels(each, size, text)
            found.append((*pair, self.cosine_of(pair[0], each, text)) if cosine else pair)
        return found

    def _probabilities(
        self, images: Sequence[Tensor], sizes: Sequence[tuple[int, int]], vocabularies: Sequence[Vocabulary]
    ) -> list[Tensor]:
        if self.augmentation is None:
            return [resize(part[None], size)[0] for part, size in zip(self.predict(images, sizes, vocabularies), sizes)]
        return [
            self.augmentation.mean(
                image,
                size,
                lambda view, short_side, size=size, words=words: self.predict([view], [size], [words], short_side)[0],
            )
            for image, size, words in zip(images, sizes, vocabularies, strict=True)
        ]

    def _vocabulary_of(self, item: dict[str, Any]) -> Vocabulary:
        if item.get("vocabulary") is not None:
            return as_vocabulary(item["vocabulary"])
        default = self.vocabulary.train if self.training else self.vocabulary.test
        if default is None:
            mode, key = ("training", "TRAIN") if self.training else ("evaluation", "TEST")
            raise ValueError(
                f"vocabulary: got none for {mode}, expected one in the input dict, by "
                f"set_default_vocabulary or in MODEL.VOCABULARY.{key}"
            )
        return default

    def _targets(
        self, batched_inputs: list[dict[str, Any]], vocabularies: list[Vocabulary]
    ) -> tuple[list[Tensor], list[Vocabulary]]:
        labels = [self._label_of(*pair) for pair in zip(batched_inputs, vocabularies, strict=True)]
        classes = batched_inputs[0].get("classes")
        if "classes" not in batched_inputs[0] and self.vocabulary.train_sample:
            classes = self.sample_classes([self._survey(labels, vocabularies)])
        if classes is not None:
            labels, words = restricted(vocabularies[0], labels, classes, self.ignore_label)
            vocabularies = [words] * len(labels)
        return [label.to(self.device, non_blocking=True) for label in labels], vocabularies

    def _survey(self, labels: list[Tensor], vocabularies: list[Vocabulary]) -> Survey:
        count = self.loss_count(labels, vocabularies)
        if not self.vocabulary.train_sample:
            return Survey(count)
        return Survey(count, frozenset(vocabularies), present_classes(labels, self.ignore_label))

    def _label_of(self, item: dict[str, Any], vocabulary: Vocabulary) -> Tensor:
        if "sem_seg" not in item or item["sem_seg"].shape != item["image"].shape[-2:]:
            got = tuple(item["sem_seg"].shape) if "sem_seg" in item else "none"
            size = tuple(item["image"].shape[-2:])
            raise ValueError(f"sem_seg: got {got}, expected labels of the image's size {size}")
        if vocabulary.channel_to_class is not None:
            raise ValueError("vocabulary: got one with channel_to_class, expected one channel per class in training")
        if 0 <= self.ignore_label < len(vocabulary):
            raise ValueError(
                f"vocabulary: got {len(vocabulary)} words, but label {self.ignore_label} means 'ignored'; "
                "expected MODEL.SEM_SEG_HEAD.IGNORE_VALUE outside the classes"
            )
        label = item["sem_seg"].long()
        check_labels(label, len(vocabulary), self.ignore_label)  # before it goes to a GPU, which would have to wait
        return label


def _weights_are_loaded(model: nn.Module, _: Any) -> None:
    model._is_random = False


def _labelled(found: tuple[Tensor, ...], vocabulary: Vocabulary) -> dict[str, Tensor]:
    labels, *rest = found
    if vocabulary.channel_to_class is not None:
        labels = to_device(vocabulary.channel_to_class, labels.device)[labels]
    return dict(zip(("labels", "scores", "cosine"), (labels, *rest)))


def _check_image(image: Tensor) -> Tensor:
    if image.dim() != 3 or len(image) != 3 or not image.numel():
        raise ValueError(f"image: got shape {tuple(image.shape)}, expected (3, h, w)")
    return image
