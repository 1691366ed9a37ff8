"""A training whose gradients are no numbers any more, or grow beyond measure, is stopped before it spoils the model."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from detectron2.utils import comm

REMEMBERED, NEEDED = 100, 50
"""Norms that the median is taken of, and how many there have to be."""

EXPLODED, IN_A_ROW = 1000.0, 5
"""A norm is too large at so many times the median; so many of them end a training. Single outliers are what clipping is
for."""

SKIPPED_IN_A_ROW = 25
"""Steps that a gradient scaler may leave out: it halves its scale each time, from 65,536 to a five-hundredth."""

_NAMED = 8  # files


class Diverged(ValueError):
    """Nothing good can come of the training any more; the text says which batch showed it."""


class Divergence:
    """Watches the norm of the gradients.

    Args:
        scaled: whether a gradient scaler leaves out steps whose gradients are not finite, which happens now and then.
    """

    def __init__(self, scaled: bool) -> None:
        self._most = SKIPPED_IN_A_ROW if scaled else 1
        self._norms: deque[float] = deque(maxlen=REMEMBERED)
        self._broken = self._large = 0

    def check(self, norm: float, batch: Sequence[Mapping[str, Any]], iteration: int) -> None:
        """Looks at a step before the optimizer takes it.

        Args:
            norm: of all gradients together, the same in every process.
            batch: what this process has of the global batch, with "file_name".
            iteration: of the step.

        Raises:
            Diverged: names the files of the batch.
        """
        if not math.isfinite(norm):
            self._broken += 1
            if self._broken >= self._most:
                self._stop(f"got gradients of norm {norm}" + self._row(self._broken), batch, iteration)
            return
        self._broken = 0
        usual = median(self._norms) if len(self._norms) >= NEEDED else math.inf
        if norm <= EXPLODED * usual:
            self._large = 0
            self._norms.append(norm)
            return
        self._large += 1
        if self._large >= IN_A_ROW:
            self._stop(f"got gradients of norm {norm:.3g}, where {usual:.3g} is usual" + self._row(self._large), batch,
                       iteration)  # fmt: skip

    def _row(self, count: int) -> str:
        return f", {count} steps in a row," if count > 1 else ""

    def _stop(self, what: str, batch: Sequence[Mapping[str, Any]], iteration: int) -> None:
        names = [str(item.get("file_name", "an image")) for item in batch]
        found = [name for each in comm.all_gather(names) for name in each]
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise Diverged(
            f"training: {what} at iteration {iteration}, expected finite and steady ones; the batch was "
            f"{', '.join(found[:_NAMED])}{more}"
        )
