"""What is asked of pictures: words, background words and a threshold; and an answer of a model under them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from openvocab.inference.absent import Cut
from openvocab.inference.result import Result
from openvocab.vocab.background import combine
from openvocab.vocab.vocabulary import Vocabulary

Words = Vocabulary | Sequence[str]


class Question(NamedTuple):
    """What is asked.

    Attributes:
        wanted: the words.
        asked: of the model: the words and, behind them, those of the background.
        threshold: 0..1, or None.
        cut: the rule for words that the picture does not hold, or None.
    """

    wanted: Vocabulary
    asked: Vocabulary
    threshold: float | None = None
    cut: Cut | None = None

    @classmethod
    def of(
        cls,
        words: Words,
        background: Words = (),
        threshold: float | None = None,
        synonyms: str | None = None,
        rule: str = "mean",
    ) -> "Question":
        """Checks what is asked; see `openvocab.inference.segmenter.Segmenter.__call__` for the arguments.

        Args:
            words: of the call.
            background: of the call.
            threshold: of the call.
            synonyms: of the call.
            rule: of words that bring none.

        Raises:
            ValueError: no word, a blank word, a word twice, or a threshold outside 0..1.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold: expected 0..1, got {threshold!r}")
        pair = combine(words, background, rule)
        return cls(*(pair if synonyms is None else (part.with_synonyms(synonyms) for part in pair)), threshold)

    def with_cut(self, cut: Cut) -> "Question":
        """Adds the rule for words that the picture does not hold.

        Args:
            cut: of `openvocab.inference.absent.cut_of`.

        Raises:
            ValueError: there is a threshold, a second rule for the same.
        """
        if self.threshold is not None:
            raise ValueError(
                f"absent and threshold: expected one of them, got {cut.absent:g} and {self.threshold:g}: "
                "both say which pixels are none of the words"
            )
        return self._replace(cut=cut)

    def result(
        self, pixels: np.ndarray, labels: Tensor, scores: Tensor, cosine: Tensor | None = None, **about: str
    ) -> Result:
        """Turns a model's answer into a result.

        Args:
            pixels: (h, w, 3) uint8 RGB, the picture.
            labels: (h, w) int32, index into the names that were asked for; changed in place.
            scores: (h, w) float32.
            cosine: (h, w), where there is a cut.
            about: further attributes of the result: model, weights and the like.
        """
        labels[labels >= len(self.wanted.names)] = -1
        if self.threshold is not None:
            labels[scores < self.threshold] = -1
        if self.cut is not None:
            labels[cosine < self.cut.threshold] = -1
        return Result(
            image=pixels,
            labels=labels.cpu().numpy(),
            scores=scores.cpu().numpy(),
            names=list(self.wanted.names),
            vocabulary=self.wanted.entries,
            synonyms=self.wanted.synonyms,
            background=self.asked.entries[len(self.wanted) :],
            threshold=self.threshold,
            absent=self.cut,
            **about,
        )


def word_by_word(vocabulary: Vocabulary) -> Vocabulary:
    """Makes every entry a class of its own, also those that share one.

    Args:
        vocabulary: the words.
    """
    return replace(vocabulary, names=tuple(entry[0] for entry in vocabulary.entries), channel_to_class=None)
