"""What Detectron2's loop does besides steps: checkpoints, evaluations, and leaving when it is asked to."""

import time
from collections.abc import Callable
from typing import Any

from detectron2.engine import hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from openvocab.engine.checkpointing import AtomicCheckpointer, remove_older
from openvocab.engine.rng import rng_state
from openvocab.engine.stopping import StopRequest

SECONDS_FOR_SAVING = 30
"""That are set aside before the first checkpoint has shown how long one takes."""


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's periodic checkpoint, run by every rank: the random states of all are collected first.

    Args:
        checkpointer: writes on rank 0.
        period: iterations.
        keep: how many of the newest periodic checkpoints stay; 0 = all.
    """

    def __init__(self, checkpointer: AtomicCheckpointer, period: int, keep: int = 0) -> None:
        super().__init__(checkpointer, period)
        self.keep = keep
        self.seconds = float(SECONDS_FOR_SAVING)
        self.stepped = False
        self._unsaved: int | None = None

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Saves if this iteration is due.

        Args:
            iteration: the one that just ended.
            **kwargs: further entries of the checkpoint.
        """
        self._unsaved, self.stepped = iteration, True
        if (iteration + 1) % self.period == 0 or iteration >= self.max_iter - 1:
            kwargs["rng_states"] = comm.gather(rng_state())
            start = time.perf_counter()
            super().step(iteration, **kwargs)
            self._is_saved(time.perf_counter() - start)

    def save_now(self, *, evaluation_pending: bool) -> None:
        """Saves the iteration that ended last, unless that has been done or none has; every rank calls it.

        Args:
            evaluation_pending: whether an evaluation of it was begun and has not come to its end.
        """
        if not self.stepped or (self._unsaved is None and not evaluation_pending):
            return  # where an evaluation is made up for before the first step, the checkpoint it is of stays as it is
        iteration = self.trainer.iter
        states = comm.gather(rng_state())
        self.checkpointer.save(
            f"{self.file_prefix}_{iteration:07d}",
            iteration=iteration,
            rng_states=states,
            evaluation_pending=evaluation_pending,
        )
        self._is_saved(self.seconds)

    def _is_saved(self, seconds: float) -> None:
        self._unsaved, self.seconds = None, seconds
        if self.keep and comm.is_main_process():
            remove_older(self.checkpointer.save_dir, self.keep)


class EvaluationHook(hooks.EvalHook):
    """Detectron2's, which takes a training for finished that has failed in its last iteration.

    Args:
        period: iterations; 0 = only at the end.
        function: evaluates; gives scores.
        best: is called with the mean of all mIoU after each evaluation that is not the last; None where there are none.
        start: is called before the first step.
    """

    def __init__(
        self, period: int, function: Callable[[], Any], best: Callable[[float], None], start: Callable[[], None]
    ) -> None:
        super().__init__(period, self._evaluated)
        self.running = False
        self._evaluate, self._best, self._start = function, best, start
        self._results: dict[str, Any] = {}

    def before_train(self) -> None:
        """Evaluates the start, and what a stopped run had begun to evaluate."""
        self._start()
        if self.trainer.evaluation_pending:
            self._do_eval()

    def after_train(self) -> None:
        """Evaluates, if the loop has come to its end."""
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()

    def _do_eval(self) -> None:
        self.running = True
        super()._do_eval()
        self.running = False
        scores = [value for key, value in flatten_results_dict(self._results).items() if key.split("/")[-1] == "mIoU"]
        if scores and self._period > 0:
            self._best(sum(scores) / len(scores))

    def _evaluated(self) -> dict[str, Any]:
        self._results = self._evaluate() or {}
        return self._results


class StopHook(hooks.HookBase):
    """Leaves after a step where the job is asked to, or where its time would be over after two more.

    Args:
        stop: asked by all ranks together.
        checkpoints: knows how long saving takes.
    """

    def __init__(self, stop: StopRequest, checkpoints: CheckpointHook) -> None:
        self._stop, self._checkpoints = stop, checkpoints
        self._start = self._longest = 0.0

    def before_step(self) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def after_step(self) -> None:
        """Asks; see `StopRequest.check`."""
        self._longest = max(self._longest, time.perf_counter() - self._start)
        self._stop.check(2 * self._longest + self._checkpoints.seconds)
