"""What passes between the stages.

Shape letters: B images, T classes, K words that are kept, P templates, C joint CLIP width, H x W feature grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from openvocab.vocab.vocabulary import Vocabulary


class ClipFeatures(NamedTuple):
    """Dense features of a batch of images, from CLIP's image tower.

    Attributes:
        dense: (B, C, H, W) features in the joint image-text space, not normalised.
        taps: one (B, width, H, W) map per tapped block, class token removed.
    """

    dense: Tensor
    taps: tuple[Tensor, ...]

    def select(self, rows: Sequence[int] | slice) -> "ClipFeatures":
        """Chooses images of the batch."""
        return ClipFeatures(self.dense[rows], tuple(tap[rows] for tap in self.taps))

    def of_each(self, count: int) -> list["ClipFeatures"]:
        """Takes the features of pictures that have `count` views each apart."""
        return [self.select(slice(first, first + count)) for first in range(0, len(self.dense), count)]


class TextFeatures(NamedTuple):
    """Text embeddings of a vocabulary.

    Attributes:
        embeddings: (T, P, C), L2-normalised along C.
    """

    embeddings: Tensor


KEPT_LOSS = "loss_kept"
"""Name of the loss, of a model that keeps words, whose mean goes over images: how far they have moved."""


class KeptWords(NamedTuple):
    """What a model said of a training image before it was trained (`openvocab.engine.start`).

    Attributes:
        words: K, the same for all images of a step.
        probabilities: (K, 4H, 4W), of each word at the resolution of logits.
    """

    words: Vocabulary
    probabilities: Tensor
