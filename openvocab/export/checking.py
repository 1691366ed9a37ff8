"""An exported file asked as a stranger would, and its answer compared with that of the model it came from."""

import io
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]

TOLERANCE = 1e-4
"""Of the largest value: what another order of float32 sums may change."""


class Agreement(NamedTuple):
    """How a file answers, beside the model.

    Attributes:
        difference: the largest between their floating-point outputs, as a share of the largest value.
        same_labels: share of pixels with the same word; None where there are no labels.
        seconds: for one question, without loading.
        model_seconds: the model's for the same question, on its fast path.
    """

    difference: float
    same_labels: float | None
    seconds: float
    model_seconds: float


def run_torch(content: bytes) -> Run:
    """Loads a .pt2 file.

    Args:
        content: of the file.
    """
    module = torch.export.load(io.BytesIO(content)).module()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return run


def run_onnx(content: bytes) -> Run:
    """Loads an .onnx file into onnxruntime, on the CPU.

    Args:
        content: of the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # what it could not fold is nothing that a user can mend
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def compare(run: Run, graph: nn.Module, inputs: Sequence[Tensor], warm: bool = True) -> Agreement:
    """Asks both.

    Args:
        run: the file.
        graph: that it was traced from.
        inputs: of both.
        warm: whether each is asked once before, so that what it derives and keeps does not count.
    """
    arrays = [each.numpy() for each in inputs]
    with torch.no_grad():
        if warm:
            graph(*inputs)
        model_seconds, wanted = _timed(lambda: [output.numpy() for output in graph(*inputs)])
    if warm:
        run(arrays)
    seconds, got = _timed(lambda: run(arrays))
    same = [float((one == other).mean()) for one, other in zip(got, wanted, strict=True) if one.dtype.kind == "i"]
    pairs = [(one, other) for one, other in zip(got, wanted, strict=True) if one.dtype.kind == "f"]
    difference = max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)
    return Agreement(difference, same[0] if same else None, seconds, model_seconds)


def _timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, list[np.ndarray]]:
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer
