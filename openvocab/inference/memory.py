"""How much memory is left, so that too much work is refused with a sentence instead of a killed process."""

import os
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_bytes(device: torch.device) -> int | None:
    """Gives the memory that can still be taken.

    Args:
        device: where the memory is wanted.

    Returns:
        bytes; None where the system does not say.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    known = [size for size in (_system(), _container()) if size is not None]
    return min(known, default=None)


def require(needed: int, device: torch.device, what: str) -> None:
    """Refuses work that cannot fit.

    Args:
        needed: bytes.
        device: where they are needed.
        what: begins the message, such as "words: 10000 words".

    Raises:
        ValueError: more than is available.
    """
    available = available_bytes(device)
    if available is not None and needed > available:
        raise ValueError(f"{what} need about {needed / 1e9:.1f} GB on {device}, {available / 1e9:.1f} GB are free")


def _system() -> int | None:
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container() -> int | None:
    """What a container's own limit (cgroup v2) leaves. File cache counts as used, which errs on the safe side."""
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not (limit.is_file() and used.is_file()):
        return None
    text = limit.read_text().strip()
    return None if text == "max" else max(0, int(text) - int(used.read_text()))
