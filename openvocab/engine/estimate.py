"""How long a training takes and how much memory: told after a few steps, or by a dry run that writes nothing."""

import logging
import resource
import sys
import time
from typing import TYPE_CHECKING

import torch
from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from openvocab.inference.pace import duration

if TYPE_CHECKING:
    from openvocab.engine.trainer import Trainer

logger = logging.getLogger(__name__)

FIRST, MEASURED = 2, 5  # steps that are not measured, since they make room and caches; and those that are
DRY_STEPS = 2


class EstimateHook(hooks.HookBase):
    """Logs time and memory once, after a few steps."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._began = 0.0

    def after_step(self) -> None:
        """Takes the time, or says what was found; the first process speaks."""
        done = self.trainer.iter + 1 - self.trainer.start_iter
        if done == FIRST:
            self._began = time.perf_counter()
        if done == FIRST + MEASURED and comm.is_main_process():
            seconds = (time.perf_counter() - self._began) / MEASURED
            left = self.trainer.max_iter - self.trainer.iter - 1
            logger.info("%s", estimate(seconds, left, self.trainer.cfg.MODEL.DEVICE))


def estimate(seconds: float, iterations: int, device: str) -> str:
    """Puts time and memory into one line.

    Args:
        seconds: of an iteration.
        iterations: that are to be done.
        device: where the model is.
    """
    return (f"estimate: {seconds:.2f} s each, {iterations} iterations take about {duration(seconds * iterations)}, "
            f"evaluations not counted; at most {peak_memory(device) / 1e9:.2f} GB were used until now ({device}, this "
            "process)")  # fmt: skip


def peak_memory(device: str) -> int:
    """Gives the most memory that this process has used, in bytes.

    Args:
        device: on CUDA what PyTorch has allocated there, else the process's resident memory.
    """
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def dry_run(trainer: "Trainer") -> None:
    """Takes two real steps, forward, backward and optimizer, on the training's first samples, and writes nothing.

    Args:
        trainer: with weights. What it has learned is of no use afterwards.

    Raises:
        ValueError: what a training is refused for before its first step, or a sample that cannot be read.
    """
    trainer.prepare()
    trainer.iter = trainer.start_iter
    with EventStorage(trainer.start_iter) as trainer.storage:
        for _ in range(DRY_STEPS):
            began = time.perf_counter()
            trainer.run_step()
            seconds, loss = time.perf_counter() - began, trainer.storage.latest().get("total_loss", (float("nan"),))[0]
            trainer.iter += 1
            trainer.storage.step()
            if comm.is_main_process():
                logger.info("dry run: step %d, loss %.4g, %.2f s", trainer.iter - trainer.start_iter, loss, seconds)
    if comm.is_main_process():
        left = max(0, trainer.max_iter - trainer.start_iter)
        logger.info("%s", estimate(seconds, left, trainer.cfg.MODEL.DEVICE))
        logger.info("dry run: all is well, nothing was written into %s", trainer.cfg.OUTPUT_DIR)
