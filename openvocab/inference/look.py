"""Look once, ask often: what a model has seen of a picture, kept for any number of words."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from openvocab.inference.result import Result
from openvocab.versions import weights_key
from openvocab.vocab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from openvocab.inference.segmenter import Segmenter


class Heatmap(NamedTuple):
    """How well one word fits where.

    Attributes:
        cosine: (h, w) float32, -1..1, of pixel and word before anything is aggregated or regularised: CAT-Seg's cost
            volume (section 3.2), LSeg's correlation (section 3.1) without its temperature.
        probability: (h, w) float32, 0..1, of the word among others in the model's answer.
    """

    cosine: np.ndarray
    probability: np.ndarray


class Look:
    """A picture that a segmenter has looked at; made by `Segmenter.look`.

    It takes the place of the picture in the segmenter's calls, which are its own methods as well. The answers are the
    same to the last digit.

    Examples:
        >>> seen = segmenter.look("img.jpg")
        >>> seen(["cat", "sofa"]).save("masks.png")
        >>> seen(["cat", "sofa", "curtain"])

    Attributes:
        pixels: (h, w, 3) uint8 RGB, the picture.
    """

    def __init__(self, segmenter: "Segmenter", pixels: np.ndarray, seen: Any) -> None:
        """Keeps what was seen.

        Args:
            segmenter: that has looked.
            pixels: (h, w, 3) uint8 RGB.
            seen: of the model's `see`.
        """
        self.pixels = pixels
        self._segmenter = segmenter
        self._seen = seen
        self._weights: Hashable = weights_key(segmenter.model)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds, on the model's device and on the host; 0 once it is freed."""
        return sum(_bytes_of(part) for part in (self._seen, self.pixels))

    def free(self) -> None:
        """Gives the memory back; what is asked afterwards is an error."""
        self._seen = self.pixels = None

    def seen_by(self, segmenter: "Segmenter") -> Any:
        """Gives what was seen.

        Args:
            segmenter: that wants to know.

        Returns:
            What the model's `seen_maps` takes.

        Raises:
            ValueError: it was freed, another segmenter has looked, or its weights have changed since.
        """
        if self._seen is None:
            raise ValueError("look: was freed, expected one that is not; look at the picture again")
        if segmenter is not self._segmenter:
            raise ValueError(
                f"look: {self._segmenter.name} has looked, expected {segmenter.name}, or another call of look by it"
            )
        if weights_key(segmenter.model) != self._weights:
            raise ValueError("look: the weights have changed since; look at the picture again")
        return self._seen

    def __call__(
        self,
        words: Vocabulary | Sequence[str],
        background: Vocabulary | Sequence[str] = (),
        threshold: float | None = None,
        synonyms: str | None = None,
        absent: float | None = None,
    ) -> Result:
        """Gives every pixel the word that fits best; see `Segmenter.__call__`."""
        return self._segmenter(self, words, background, threshold, synonyms, absent)

    def probabilities(self, words: Vocabulary | Sequence[str], synonyms: str | None = None) -> np.ndarray:
        """Gives the probability of every word at every pixel; see `Segmenter.probabilities`."""
        return self._segmenter.probabilities(self, words, synonyms)

    def heatmap(self, word: str, among: Vocabulary | Sequence[str] = (), synonyms: str | None = None) -> Heatmap:
        """Shows how well one word fits where; see `Segmenter.heatmap`."""
        return self._segmenter.heatmap(self, word, among, synonyms)


def _bytes_of(part: Any) -> int:
    if isinstance(part, Tensor | np.ndarray):
        return part.nbytes
    return sum(map(_bytes_of, part)) if isinstance(part, tuple | list) else 0
