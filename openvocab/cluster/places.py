"""How many workers, and what each of them takes of the machines."""

from collections.abc import Sequence
from typing import Any, NamedTuple

_MODEL = 3  # memory of a loaded model, in sizes of its file: parameters, packed copies, activations
_PROCESS = 2 * 10**9  # bytes that a worker takes besides: Python, torch, a large picture


class Places(NamedTuple):
    """What is asked of Ray.

    Attributes:
        workers: number of them.
        gpus: of each, 0 to 1.
    """

    workers: int
    gpus: float

    @property
    def device(self) -> str:
        """That a worker computes on."""
        return "cuda" if self.gpus else "cpu"


def check_wish(workers: int | None, gpus: float | None, device: str | None) -> None:
    """Refuses what no machines can give.

    Args:
        workers: number of workers, or None.
        gpus: of each, or None.
        device: "cpu", "cuda", or None.

    Raises:
        ValueError: a number out of bounds, another device, or a GPU for work on a CPU.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"--workers: got {workers}, expected 1 or more")
    if gpus is not None and not 0 <= gpus <= 1:
        raise ValueError(f"--gpus-per-worker: got {gpus:g}, expected 0 (a CPU) to 1: a worker computes on one GPU")
    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"--device: got {device}, expected cpu or cuda: Ray chooses which one (--engine ray)")
    if device == "cpu" and gpus or device == "cuda" and gpus == 0:
        raise ValueError(f"--device and --gpus-per-worker: got {device} and {gpus:g}, which contradict each other")


def find_places(
    nodes: Sequence[dict[str, Any]], workers: int | None, gpus: float | None, device: str | None, model_size: int
) -> Places:
    """Fits workers onto machines: one per core or per share of a GPU, where nothing else is said.

    Args:
        nodes: resources of each machine, as Ray counts them: "CPU", "GPU", "memory" (bytes).
        workers: wanted, or None for as many as fit.
        gpus: wanted of each, or None: one where there are GPUs.
        device: "cpu", "cuda", or None.
        model_size: bytes of the file of parameters.

    Raises:
        ValueError: there are no such GPUs, or not so many places.
    """
    check_wish(workers, gpus, device)
    available = sum(node.get("GPU", 0) for node in nodes)
    if gpus is None:
        gpus = 1.0 if device == "cuda" or available and device is None else 0.0
    if gpus and not available:
        raise ValueError(
            f"--gpus-per-worker: expected GPUs for {gpus:g} per worker, Ray found none on "
            f"{_counted(len(nodes), 'machine')}"
        )
    # Ray gives shares of one GPU to one worker: 0.6 fits once onto each.
    fitting = [min(int(node.get("CPU", 0)), int(node.get("GPU", 0)) * int(1 / gpus + 1e-6) if gpus else 1 << 30)
               for node in nodes]  # fmt: skip
    if workers is not None and workers > sum(fitting):
        what = f"{gpus:g} GPU and a core" if gpus else "a core"
        raise ValueError(
            f"--workers: got {workers}, expected at most {sum(fitting)} on "
            f"{_counted(len(nodes), 'machine')}, {what} for each"
        )
    if not sum(fitting):
        raise ValueError(f"--workers: expected at least one core, Ray found none on {_counted(len(nodes), 'machine')}")
    roomy = sum(min(count, int(node.get("memory", 0) // (_MODEL * model_size + _PROCESS)))
                for count, node in zip(fitting, nodes, strict=True))  # fmt: skip
    return Places(workers or max(1, roomy), gpus)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
