"""Evaluators that count pixels: their state is integers, which add up over images, processes and interruptions."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from openvocab.evaluation.result import Result

logger = logging.getLogger(__name__)


class PixelCounter(DatasetEvaluator):
    """Base of the evaluators: a subclass says what is counted (`zeros`, `process`) and what follows (`result`).

    Attributes:
        dataset_name: for messages and results.
        statement: how it is measured; goes into the result.
        counts: int64 arrays by name, among them "samples" (): images or episodes.
    """

    def __init__(self, dataset_name: str, statement: Mapping[str, Any] | None = None) -> None:
        self.dataset_name = dataset_name
        self.statement = dict(statement or {})
        self.reset()

    def zeros(self) -> dict[str, np.ndarray]:
        """Returns the counts before the first image."""
        raise NotImplementedError

    def result(self, counts: Mapping[str, np.ndarray]) -> Result:
        """Computes the scores.

        Args:
            counts: over all images.

        Returns:
            The result, which depends on the counts and the constructor's arguments alone.
        """
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets all counts."""
        self.counts = self.zeros()

    def gather(self) -> dict[str, np.ndarray] | None:
        """Adds up the counts of all processes.

        Returns:
            The sums on rank 0, None on the others.
        """
        parts = comm.gather(self.counts)
        if not comm.is_main_process():
            return None
        return {name: np.sum([part[name] for part in parts], axis=0) for name in self.counts}

    def evaluate(self) -> OrderedDict | None:
        """Adds up the processes and computes the scores (Detectron2's interface).

        Returns:
            {"sem_seg": {score: percent}} on rank 0, None on the others.
        """
        counts = self.gather()
        return None if counts is None else OrderedDict({"sem_seg": dict(self.result(counts).scores)})
