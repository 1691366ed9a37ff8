"""Processes that torchrun or SLURM has started: their number is the environment's, and this process is one of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from torch import distributed

FIRST_PORT, PORTS = 15000, 15000
"""Of SLURM jobs: below what systems give away by themselves (from 32768 on)."""


@dataclass(frozen=True)
class Place:
    """The place of this process among those of a job.

    Attributes:
        launcher: "torchrun", "SLURM" or, of processes that we have started, "train_net.py".
        rank: of this process, of all.
        world_size: number of processes.
        local_rank: of this process, of those on its machine.
        local_world_size: number of processes on each machine.
        address: host where the processes meet.
        port: on that host.
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    address: str
    port: int

    @property
    def machines(self) -> int:
        """Number of machines."""
        return self.world_size // self.local_world_size


def place_in(environment: Mapping[str, str]) -> Place | None:
    """Reads whether torchrun or SLURM has started this process as one of several.

    Args:
        environment: variables, as `os.environ`.

    Returns:
        The place, or None: then it is for the command line to say how many processes are started.

    Raises:
        ValueError: a variable is missing or makes no sense, or machines have different numbers of processes.
    """
    if "LOCAL_RANK" in environment:
        place = _torchrun(environment)
    elif environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        place = _slurm(environment)
    else:
        return None
    if place.port == 0:  # as `torchrun --master-port 0` leaves it; nobody would ever be met there
        raise ValueError(f"{place.launcher}: got MASTER_PORT=0, expected the number of a port")
    if place.world_size % place.local_world_size or place.rank % place.local_world_size != place.local_rank:
        raise ValueError(
            f"{place.launcher}: got process {place.rank} of {place.world_size} as number {place.local_rank} of "
            f"{place.local_world_size} on its machine, expected as many on each machine, numbered machine by machine"
        )
    return place


def device_of(place: Place, num_gpus: int | None, present: int) -> str:
    """Chooses the device of this process.

    Args:
        place: of this process.
        num_gpus: as asked for; 0 is the CPU, None takes GPUs where there are any.
        present: GPUs that this process sees.

    Returns:
        "cpu" or "cuda:<index>".

    Raises:
        ValueError: more processes than GPUs.
    """
    if num_gpus == 0 or (num_gpus is None and not present):
        return "cpu"
    if place.launcher == "SLURM" and present == 1:  # --gpus-per-task: each sees its own, as number 0
        return "cuda:0"
    if place.local_world_size > present:
        raise ValueError(
            f"{place.launcher}: got {place.local_world_size} processes on a machine with {present} GPUs; --num-gpus 0 "
            "runs on the CPU"
        )
    return f"cuda:{place.local_rank}"


def require_same_count(
    place: Place,
    *,
    num_gpus: int | None,
    num_processes: int,
    num_machines: int | None,
    machine_rank: int | None,
    dist_url: str | None,
) -> None:
    """Checks that the command line does not ask for something else than the environment has started.

    Args:
        place: of this process.
        num_gpus: of each machine; None or 0 says nothing about the number of processes.
        num_processes: of each machine; 0 is not asked for.
        num_machines: None is not asked for.
        machine_rank: None is not asked for.
        dist_url: where processes meet; None is not asked for.

    Raises:
        ValueError: it does; names both numbers.
    """
    asked = (("--num-gpus", num_gpus or 0, place.local_world_size, "processes on this machine"),
             ("--num-processes", num_processes, place.local_world_size, "processes on this machine"),
             ("--num-machines", num_machines or 0, place.machines, "machines"))  # fmt: skip
    for option, number, started, what in asked:
        if number and number != started:
            raise ValueError(f"{option}: got {number}, but {place.launcher} has started {started} {what}; leave it out")
    if num_processes and num_gpus != 0:
        raise ValueError("--num-processes counts CPU processes, expected --num-gpus 0 beside it")
    machine = place.rank // place.local_world_size
    if machine_rank not in (None, machine):
        raise ValueError(f"--machine-rank: got {machine_rank}, but for {place.launcher} it is {machine}; leave it out")
    if dist_url is not None:
        raise ValueError(
            f"--dist-url: got {dist_url}, but {place.launcher} lets processes meet at {place.address}:{place.port}; "
            "leave it out"
        )


def meet(place: Place, device: str) -> None:
    """Joins the process group of a job (gloo on a CPU, NCCL on GPUs).

    Args:
        place: of this process.
        device: "cpu", or "cuda:<index>".
    """
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.set_device(torch.device(device))
    # torchrun's own process keeps the store at that port, which only env:// knows.
    method = "env://" if place.launcher == "torchrun" else f"tcp://{place.address}:{place.port}"
    distributed.init_process_group("nccl" if on_gpu else "gloo", init_method=method, world_size=place.world_size,
                                   rank=place.rank, timeout=DEFAULT_TIMEOUT)  # fmt: skip
    comm.create_local_process_group(place.local_world_size)
    comm.synchronize()


def _torchrun(environment: Mapping[str, str]) -> Place:
    rank, world_size, local_rank, local_world_size = (
        _number(environment, name, "torchrun") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    address, port = _text(environment, "MASTER_ADDR", "torchrun"), _number(environment, "MASTER_PORT", "torchrun")
    return Place("torchrun", rank, world_size, local_rank, local_world_size, address, port)


def _slurm(environment: Mapping[str, str]) -> Place:
    world_size, rank, local_rank = (
        _number(environment, name, "SLURM") for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
    )
    tasks = _tasks_per_node(_text(environment, "SLURM_STEP_TASKS_PER_NODE", "SLURM"))
    if len(set(tasks)) != 1 or sum(tasks) != world_size:
        raise ValueError(
            f"SLURM_STEP_TASKS_PER_NODE: got {environment['SLURM_STEP_TASKS_PER_NODE']}, expected {world_size} tasks "
            "(SLURM_STEP_NUM_TASKS), as many on each node (srun --ntasks-per-node)"
        )
    address = environment.get("MASTER_ADDR") or _first_host(_text(environment, "SLURM_STEP_NODELIST", "SLURM"))
    port = (_number(environment, "MASTER_PORT", "SLURM") if environment.get("MASTER_PORT") else
            FIRST_PORT + _number(environment, "SLURM_JOB_ID", "SLURM") % PORTS)  # fmt: skip
    return Place("SLURM", rank, world_size, local_rank, tasks[0], address, port)


def _text(environment: Mapping[str, str], name: str, launcher: str) -> str:
    if not environment.get(name):
        raise ValueError(f"{launcher}: has started this process, but {name} is missing in its environment")
    return environment[name]


def _number(environment: Mapping[str, str], name: str, launcher: str) -> int:
    text = _text(environment, name, launcher)
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{launcher}: got {name}={text}, expected a number")
    return int(text)


def _tasks_per_node(text: str) -> list[int]:
    """Reads "2(x3),1": three nodes with two tasks, one with one."""
    tasks: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if found is None:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE: got {text}, expected numbers such as 2(x3) or 4,2")
        tasks += [int(found[1])] * int(found[2] or 1)
    return tasks


def _first_host(nodes: str) -> str:
    """Reads the first of "gpu[003-005,9],n1": what is in brackets are numbers or ranges, with leading zeros."""
    found = re.match(r"(?:[^,\[\]]|\[[\w,-]+\])+", nodes)
    if found is None:
        raise ValueError(f"SLURM_STEP_NODELIST: got {nodes}, expected hosts such as gpu[003-005,9] or n1,n2")
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", found[0])
