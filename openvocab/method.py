"""What a method of segmentation computes: losses from checked labels, and probabilities for one vocabulary.

Shape letters: B images, T text classes, h x w image pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.clip.text_encoder import TextEncoder
from openvocab.interfaces import TextFeatures
from openvocab.vocab.options import VocabularyOptions
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.windows import PIXELS_PER_CHUNK, best_channel


class Method(nn.Module):
    """The part of a model that each method brings; `openvocab.model.OpenVocabularyModel` asks it.

    A method has to have `text_encoder`, `losses`, `constant_loss`, `loss_count`, `see`, `seen_maps` and `similarity`.

    Attributes:
        vocabulary: default words and how words are used.
        similarity_is_clips: whether `similarity` compares CLIP's own features, so that it means something as soon as
            CLIP is loaded; otherwise what it compares is trained.
        keeps_words: whether `losses` takes `kept`, a `KeptWords` per image, and there are `training_logits` for them.
    """

    vocabulary: VocabularyOptions
    similarity_is_clips = keeps_words = False

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return next(self.parameters()).device

    @property
    def text_encoder(self) -> TextEncoder:
        """CLIP's text tower."""
        raise NotImplementedError

    def text_features(self, vocabulary: Vocabulary) -> TextFeatures:
        """Encodes words in the model's prompt templates.

        Args:
            vocabulary: T words.
        """
        return self.text_encoder(vocabulary, self.vocabulary.templates)

    def losses(
        self, images: Sequence[Tensor], labels: Sequence[Tensor], vocabularies: Sequence[Vocabulary]
    ) -> dict[str, Tensor]:
        """Computes the training losses.

        Args:
            images: B of (3, h, w), RGB in 0..255, on the CPU or the model's device.
            labels: B of (h, w) int64, 0..T - 1 or `ignore_label`, on the model's device.
            vocabularies: for each image, T words.

        Returns:
            Names and scalars.
        """
        raise NotImplementedError

    def constant_loss(self, shares: Tensor, ignored: float, named: Tensor) -> float:
        """Computes the loss of the best answer that ignores the picture, from frequencies alone.

        Args:
            shares: (T,) of each class among the pixels that have one; they add up to 1.
            ignored: share of the pixels that have none, 0..1.
            named: (T,) how often a class is among the words of a batch, 0..1; all 1 where words are not sampled.

        Returns:
            The loss, to compare with the sum of what `losses` gives.
        """
        raise NotImplementedError

    def loss_count(self, labels: Sequence[Tensor], vocabularies: Sequence[Vocabulary]) -> int:
        """Says what the mean of `losses` goes over, which depends on the labels alone.

        Args:
            labels: as for `losses`, on the host.
            vocabularies: for each image, T words.

        Returns:
            A number, 0 where nothing counts: the loss is 0 then.
        """
        raise NotImplementedError

    def see(self, image: Tensor, short_side: int | None = None) -> Any:
        """Computes all that needs no word.

        Args:
            image: (3, h, w), RGB in 0..255, on the CPU or the model's device.
            short_side: pixels; that the image was resized to for test-time augmentation, or None.

        Returns:
            What `seen_maps` and its kin take: tensors, or named tuples of tensors.
        """
        raise NotImplementedError

    def see_together(self, images: Sequence[Tensor]) -> list[Any]:
        """Does as `see` for several images. A subclass takes them in one pass where that is faster: on a GPU.

        Args:
            images: B of (3, h, w), as for `see`; of any sizes.

        Returns:
            What `see` gives, for each; sums may be taken in another order.
        """
        return [self.see(image) for image in images]

    def seen_maps(self, seen: Any, size: tuple[int, int], text: TextFeatures, short_side: int | None = None) -> Tensor:
        """Computes the probabilities of every word.

        Args:
            seen: of an image, from `see`.
            size: height and width wanted.
            text: T words, from `text_features`.
            short_side: as for `see`.

        Returns:
            (T, h', w') that a bilinear resize brings to the wanted size.
        """
        raise NotImplementedError

    def seen_labels(self, seen: Any, size: tuple[int, int], text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Finds the best channel of every pixel. A subclass does better where it can do without all probabilities.

        Args:
            seen: of an image, from `see`.
            size: height and width wanted.
            text: T words, from `text_features`.

        Returns:
            The channel per pixel, (height, width) int64, and its probability, (height, width).
        """
        return best_channel(self.seen_maps(seen, size, text), size)

    def cosine_of(self, channel: Tensor, seen: Any, text: TextFeatures) -> Tensor:
        """Says how much each pixel resembles the word that it was given, which no other word changes.

        Args:
            channel: (height, width) int64, from `seen_labels`.
            seen: of an image, from `see`.
            text: T words, from `text_features`.

        Returns:
            (height, width) float32, of `similarity`, whose maps exist a few at a time.
        """
        cosine = torch.zeros(channel.shape, device=channel.device)
        for part in channel.unique().split(max(1, PIXELS_PER_CHUNK // channel.numel())):
            maps = self.similarity(seen, tuple(channel.shape), TextFeatures(text.embeddings[part]))
            for word, values in zip(part, maps, strict=True):
                cosine = torch.where(channel == word, values, cosine)
        return cosine

    def similarity(self, seen: Any, size: tuple[int, int], text: TextFeatures) -> Tensor:
        """Compares an image with words before anything is aggregated or regularised.

        Args:
            seen: of an image, from `see`.
            size: height and width wanted.
            text: T words, from `text_features`.

        Returns:
            Cosines (T, *size), -1..1, float32.
        """
        raise NotImplementedError

    def predict(
        self,
        images: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        vocabularies: Sequence[Vocabulary],
        short_side: int | None = None,
    ) -> list[Tensor]:
        """Computes the probabilities of every word. A subclass does better where images go together.

        Args:
            images: B of (3, h, w), as for `see`.
            sizes: height and width wanted, for each image.
            vocabularies: for each image.
            short_side: as for `see`.

        Returns:
            B maps (T, h', w') that a bilinear resize brings to the wanted size.
        """
        return [
            self.seen_maps(self.see(image, short_side), size, self.text_features(vocabulary), short_side)
            for image, size, vocabulary in zip(images, sizes, vocabularies, strict=True)
        ]
