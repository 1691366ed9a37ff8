"""Starts the processes of a job, on GPUs or on a CPU."""

import os
import sys
from collections.abc import Callable, Sequence

import torch
from detectron2.engine import launch
from torch.multiprocessing import ProcessExitedException

from openvocab.engine.errors import INTERRUPTED, USER_ERROR, report_user_errors


def count_processes(num_gpus: int, num_processes: int, num_machines: int = 1) -> tuple[int, str]:
    """Decides how many processes run on this machine and on which device.

    Args:
        num_gpus: as asked for; 0 is the CPU.
        num_processes: CPU processes as asked for; 0 means not asked for.
        num_machines: with their own GPUs each.

    Returns:
        Number of processes on this machine, and "cuda" or "cpu".

    Raises:
        ValueError: more GPUs than there are, both GPUs and CPU processes, or a negative number.
    """
    if num_gpus < 0 or num_processes < 0 or num_machines < 1:
        raise ValueError(
            f"got --num-gpus {num_gpus}, --num-processes {num_processes}, --num-machines {num_machines}: "
            "expected at least 0, 0 and 1"
        )
    if num_gpus == 0:
        return max(1, num_processes), "cpu"
    if num_processes > 0:
        raise ValueError(f"--num-processes counts CPU processes, expected --num-gpus 0 beside it, got {num_gpus}")
    present = torch.cuda.device_count()
    if num_gpus > present:
        raise ValueError(f"--num-gpus: got {num_gpus}, but this machine has {present}; --num-gpus 0 runs on the CPU")
    return num_gpus, "cuda"


def run_processes(
    job: Callable[..., None],
    args: Sequence,
    *,
    processes: int,
    device: str,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
) -> int:
    """Runs a job in one or several processes (gloo on a CPU, NCCL on GPUs).

    Args:
        job: importable from its module; called as `job(*args)` in each process.
        args: picklable where there are several processes.
        processes: on this machine.
        device: "cuda" or "cpu".
        num_machines: of the whole job.
        machine_rank: of this machine.
        dist_url: where the processes meet; "auto" takes a free port of this machine.

    Returns:
        Exit code: 0, `USER_ERROR` or `INTERRUPTED`.
    """
    if device == "cpu" and processes * num_machines > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Detectron2's launch takes NCCL wherever a process sees a GPU
    try:
        launch(
            _guarded,
            processes,
            num_machines=num_machines,
            machine_rank=machine_rank,
            dist_url=dist_url,
            args=(job, tuple(args), processes if device == "cpu" else 1),
        )
    except ProcessExitedException as error:
        if error.exit_code in (USER_ERROR, INTERRUPTED):
            return error.exit_code  # the process has said why
        raise
    except SystemExit as error:
        return int(error.code or 0)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _guarded(job: Callable[..., None], args: tuple, processes_sharing_cpu: int) -> None:
    if processes_sharing_cpu > 1:
        share = max(1, (os.cpu_count() or 1) // processes_sharing_cpu)
        torch.set_num_threads(min(torch.get_num_threads(), share))  # fewer where OMP_NUM_THREADS says so

    def run() -> int:
        job(*args)
        return 0

    code = report_user_errors(run)
    if code:
        sys.exit(code)
