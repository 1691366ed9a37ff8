"""Starts the processes of a job, on GPUs or on a CPU."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from multiprocessing import active_children, get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from detectron2.engine import launch
from torch import distributed
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, start_processes

from openvocab import exit_codes
from openvocab.engine.environment import Place, meet
from openvocab.engine.errors import report_user_errors
from openvocab.engine.stopping import default_signals, forwarding

CAN_FORK = sys.platform == "linux"
"""Elsewhere libraries do not survive it. On GPUs nobody's do; there Detectron2 starts processes anew."""

SECONDS_TO_END = 10
"""For the processes to end after Ctrl-C, before they are asked more firmly."""


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


def check_meeting(num_machines: int, machine_rank: int, dist_url: str | None) -> None:
    """Checks where machines meet, before they wait for each other.

    Args:
        num_machines: of the whole job.
        machine_rank: of this machine.
        dist_url: as asked for; None or "auto" is a free port of this machine.

    Raises:
        ValueError: a rank that no machine has, or a place that the others cannot find.
    """
    if not 0 <= machine_rank < max(1, num_machines):
        raise ValueError(f"--machine-rank: got {machine_rank}, expected 0..{num_machines - 1} (--num-machines)")
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise ValueError(
                f"--dist-url: got {dist_url or 'none'}, expected the address of machine 0, such as "
                "tcp://10.0.0.1:29500, with several machines"
            )
    elif not re.fullmatch(r"(tcp://.+:\d+|file://.+|env://)", dist_url):
        raise ValueError(f"--dist-url: got {dist_url!r}, expected tcp://HOST:PORT")


def run_processes(
    job: Callable[..., None],
    args: Sequence,
    *,
    processes: int,
    device: str,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    what_is_left: Callable[[], str] = lambda: "interrupted",
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
        what_is_left: asked for a line after Ctrl-C where the first process has not said it: it had not begun, or lost
            another one before it heard of it.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    if device == "cpu" and processes * num_machines > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Detectron2's launch takes NCCL wherever a process sees a GPU
    said = get_context("spawn").Value("i", 0)  # see guarded
    try:
        with forwarding(_signal_children) if processes > 1 else nullcontext():
            if device == "cpu" and processes > 1 and num_machines == 1 and dist_url == "auto" and CAN_FORK:
                start_processes(
                    _join_as, (processes, _free_port(), job, tuple(args), said), processes, start_method="fork"
                )
            else:
                launch(
                    guarded,
                    processes,
                    num_machines=num_machines,
                    machine_rank=machine_rank,
                    dist_url=dist_url,
                    args=(job, tuple(args), processes if device == "cpu" else 1, said),
                )
    except (ProcessExitedException, ProcessRaisedException):
        if not said.value:
            raise
        _tell_once(said, what_is_left)  # what the others died of follows from it
        return abs(said.value)
    except SystemExit as error:
        return int(error.code or 0)
    except KeyboardInterrupt:
        _end_children()
        _tell_once(said, what_is_left)
        return exit_codes.INTERRUPTED
    return 0


def run_here(job: Callable[..., None], args: tuple, place: Place, device: str) -> int:
    """Runs a job in this process, as one of those that the environment has started (gloo on a CPU, NCCL on GPUs).

    Args:
        job: called as `job(*args)`.
        args: of the job.
        place: of this process.
        device: from `device_of`.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    try:
        if place.world_size > 1:
            meet(place, device)
        guarded(job, args, place.local_world_size if device == "cpu" else 1)
    except SystemExit as error:
        return int(error.code or 0)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def guarded(job: Callable[..., None], args: tuple, processes_sharing_cpu: int = 1, said: Any = None) -> None:
    """Does the job in this process; an error of ours becomes one line, and its exit code the process's.

    Args:
        job: called as `job(*args)`.
        args: of the job.
        processes_sharing_cpu: how many of its processes run on the cores of this machine.
        said: shared by the processes of a job, the exit code of the first that has told the user why: the others say
            nothing. Below 0 while only those have ended that never do.

    Raises:
        SystemExit: the job has failed, or was interrupted.
    """
    if processes_sharing_cpu > 1:
        share = max(1, (os.cpu_count() or 1) // processes_sharing_cpu)
        torch.set_num_threads(min(torch.get_num_threads(), share))  # fewer where OMP_NUM_THREADS says so

    def run() -> int:
        job(*args)
        return 0

    def may_speak(code: int) -> bool:
        if said is None:
            return True
        with said.get_lock():
            first = said.value <= 0
            if first:
                said.value = code
        return first

    code = report_user_errors(run, may_speak)
    if code:
        if said is not None:
            with said.get_lock():
                said.value = said.value or -code
        sys.exit(code)


def _join_as(rank: int, processes: int, port: int, job: Callable[..., None], args: tuple, said: Any) -> None:
    """One of several forked processes: they have imported everything, which takes seconds, and share it."""
    default_signals()
    meet(Place("train_net.py", rank, processes, rank, processes, "127.0.0.1", port), "cpu")
    guarded(job, args, processes, said)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _children() -> list[BaseProcess]:
    """Lists them in the order of their ranks, in which they were started and numbered."""
    return sorted(active_children(), key=lambda child: [int(number) for number in re.findall(r"\d+", child.name)])


def _signal_children(number: int) -> None:
    # The first one first: it says how far the job is, and would fail of the others' absence before it hears of it.
    for child in _children():
        os.kill(child.pid, number)


def _tell_once(said: Any, what_is_left: Callable[[], str]) -> None:
    if said.value <= 0:
        print(what_is_left(), file=sys.stderr)


def _end_children() -> None:
    """Waits for the processes of the job, which Ctrl-C has reached as well, unless only this process was signalled."""
    for act in (None, signal.SIGINT, signal.SIGTERM):
        if act:
            _signal_children(act)
        deadline = time.monotonic() + SECONDS_TO_END
        for child in _children():
            child.join(max(0.0, deadline - time.monotonic()))
