"""When a training has learned nothing, and what is usually the cause."""

from typing import NamedTuple

import numpy as np

MARGIN = 0.05
FEW = 2
NEARLY_ALL = 0.99
VARIED = 0.9
LEAST_CLASSES = 4

CAUSES = ("labels shifted by one against the words",
          "pictures of another dataset, or in BGR where RGB is meant",
          "wrong CLIP weights, or a CLIP of OpenAI's without QuickGELU",
          "a learning rate for another batch size",
          "words that all say the same to CLIP")  # fmt: skip


class Findings(NamedTuple):
    """What is known of a training after some steps.

    Attributes:
        loss: mean of the last steps.
        constant: what the best constant answer would have lost on the same labels; 0 where it would have been right.
        confusion: (T, T + 1) pixels of a few training pictures, rows labels, columns predictions.
        agreement: share of those pixels at which the most similar word is the label's, 0..1; None where that means
            nothing.
        agreement_at_start: the same before the first step.
    """

    loss: float
    constant: float
    confusion: np.ndarray
    agreement: float | None
    agreement_at_start: float | None

    @property
    def predicted_share(self) -> float:
        """Of the classes in the labels, those that are predicted at some pixel, 0..1."""
        occurring = self.confusion.sum(axis=1) > 0
        predicted = self.confusion[:, :-1].sum(axis=0) > 0
        return float((occurring & predicted).sum() / max(1, occurring.sum()))

    def line(self) -> str:
        """Puts the numbers into one line."""
        parts = [
            f"loss {self.loss:.4g}, a constant answer's {self.constant:.4g}",
            f"{100 * self.predicted_share:.0f} % of the classes in the labels are predicted",
        ]
        if self.agreement is not None:
            start = self.agreement_at_start
            before = "" if start is None else f" ({100 * start:.1f} % at the start)"
            parts.append(f"the most similar word is right at {100 * self.agreement:.1f} % of the pixels{before}")
        return ", ".join(parts)

    def nothing_learned(self) -> str:
        """Says why it looks as if nothing was learned, or "".

        There are two signs:

        - The loss is not below (1 - `MARGIN`) times that of the best answer that ignores the picture. It is the best
          one for the very labels that the loss was computed on, so that a model which only knows how often each class
          is cannot fall below it, whatever the labels were; the margin is for means that are weighted otherwise, since
          a batch with many ignored pixels counts as much as one with none.
        - `FEW` classes or fewer take `NEARLY_ALL` of the pixels, where the labels show at least `LEAST_CLASSES`, and no
          `FEW` of them take more than `VARIED`: otherwise such an answer may be right.
        """
        if self.loss > (1 - MARGIN) * self.constant > 0:
            return (f"its loss {self.loss:.4g} is not clearly below {self.constant:.4g}, that of an answer that "
                    "ignores the picture")  # fmt: skip
        labels, predictions = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        if (labels > 0).sum() >= LEAST_CLASSES and _of_the_most(labels) <= VARIED and (
                _of_the_most(predictions) >= NEARLY_ALL):  # fmt: skip
            return f"it answers {'one class' if predictions.max() == predictions.sum() else 'two classes'} everywhere"
        return ""

    def warning(self) -> str:
        """One warning with the usual causes, or "" where something was learned."""
        why = self.nothing_learned()
        return why and (f"this training seems to have learned nothing: {why}. Usual causes: {'; '.join(CAUSES)}. "
                        "`python tools/show.py` draws what it is fed")  # fmt: skip


def _of_the_most(pixels: np.ndarray) -> float:
    return float(np.sort(pixels)[-FEW:].sum() / max(1, pixels.sum()))
