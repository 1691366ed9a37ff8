"""One step of training, and the precision it computes in."""

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from openvocab.devices import FORCE, native, usable_precision
from openvocab.engine.divergence import Divergence
from openvocab.engine.global_batch import MicroBatch, micro_batches
from openvocab.engine.start import Start
from openvocab.interfaces import KEPT_LOSS


class StepTrainer(SimpleTrainer):
    """Steps over global batches: micro-batches one after the other, in any precision; in float16 with a scaler.

    Detectron2's `SimpleTrainer` takes the mean over processes, which is not that over what counts, and its `AMPTrainer`
    insists on CUDA.

    Attributes:
        seed: of the words that are sampled; set before the first step.
        start: is asked what it sees of other words; None where they are not kept. Set likewise.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: DataLoader | None,
        optimizer: torch.optim.Optimizer,
        precision: torch.dtype = torch.float32,
        accumulate: int = 1,
        keep_weight: float = 0.0,
    ) -> None:
        """As `SimpleTrainer`.

        Args:
            model: possibly wrapped for distributed training.
            data_loader: endless; a batch is what this process has of a global batch.
            optimizer: clips in its `step`, so that it sees unscaled gradients.
            precision: of autocast, bfloat16 or float16; float32 leaves the model as it is.
            accumulate: micro-batches per step.
            keep_weight: of what `start` says.
        """
        super().__init__(model, data_loader, optimizer)
        self.device_type = next(model.parameters()).device.type
        self.precision = precision
        self.accumulate = accumulate
        self.keep_weight = keep_weight
        self.seed = 0
        self.start: Start | None = None
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=self.precision == torch.float16)
        self._divergence = Divergence(self.grad_scaler.is_enabled())

    def run_step(self) -> None:
        """Runs one step.

        Raises:
            Diverged: see `Divergence`.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        parts = micro_batches(self.model, data, self.accumulate, self.seed, self.iter)
        if self.start is not None:
            with self._autocast():
                parts = self.start.ask(parts, self.seed, self.iter)
        *first, last = parts
        self.optimizer.zero_grad()
        found = []
        with self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext():
            found += [self._backward(part) for part in first]
        found.append(self._backward(last))  # here processes exchange gradients, once per step
        self.after_backward()
        self.grad_scaler.unscale_(self.optimizer)
        norm = float(nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None]))
        self._divergence.check(norm, data, self.iter)
        get_event_storage().put_scalar("gradient_norm", norm)
        self._write_metrics({name: sum(losses[name] for losses in found) for name in found[0]}, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _backward(self, part: MicroBatch) -> dict[str, Tensor]:
        """Adds a micro-batch's gradients; returns its part of the losses."""
        with self._autocast():
            losses = self.model(part.inputs)
        losses = {
            name: (part.share * self.keep_weight if name == KEPT_LOSS else part.weight) * loss
            for name, loss in losses.items()
        }
        self.grad_scaler.scale(sum(losses.values())).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _autocast(self) -> AbstractContextManager[None]:
        lower = self.precision != torch.float32
        return torch.autocast(self.device_type, dtype=self.precision) if lower else nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """Adds the scaler's state."""
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the scaler's state too.

        Args:
            state_dict: of this class; a run cannot change its precision when it resumes.
        """
        super().load_state_dict(state_dict)
        if state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def training_precision(cfg: CfgNode) -> torch.dtype:
    """Chooses what autocast computes in: bfloat16 where the device has it, else float16 on a GPU, else float32.

    Args:
        cfg: MODEL.DEVICE; SOLVER.AMP.ENABLED False always gives float32; SOLVER.AMP.FORCE takes bfloat16 or, on a GPU
            without it, float16 although the device can only emulate them.

    Returns:
        The precision; a warning says where it is not the one that AMP stands for.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return torch.float32
    device = cfg.MODEL.DEVICE
    lowered = "float16" if device.startswith("cuda") and not native(torch.bfloat16, device) else "bfloat16"
    return usable_precision(lowered + FORCE * cfg.SOLVER.AMP.FORCE, device, "SOLVER.AMP", "SOLVER.AMP.FORCE True")
