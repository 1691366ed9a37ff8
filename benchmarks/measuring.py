"""What the benchmarks share: timing, precision, and where figures come from."""

import ctypes
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch


def least_seconds(rounds: int, call: Callable[..., object], *args: object) -> float:
    """Times `call(*args)` `rounds` times; returns the least. Whoever calls has warmed it up."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call(*args)
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(precision: str) -> AbstractContextManager:
    """Gives the context of a precision on a CPU."""
    return nullcontext() if precision == "float32" else torch.autocast("cpu", dtype=getattr(torch, precision))


class MemoryPeak:
    """Measures the peak of this process's memory within a `with` block, above what it held before; Linux with glibc.

    Attributes:
        mib: after the block; NaN on other systems.
    """

    def __enter__(self) -> "MemoryPeak":
        self.mib, self._before = float("nan"), None
        if Path("/proc/self/clear_refs").exists():
            ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would hide what is taken now
            self._before = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self.mib = resident("VmHWM") - self._before


def resident(field: str) -> float:
    """Reads "VmRSS" (now) or "VmHWM" (peak) of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def environment() -> dict[str, str]:
    """Says where the figures come from."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
                            cwd=Path(__file__).parent).stdout.strip()  # fmt: skip
    return {
        "processor": names[0] if names else platform.processor(), "cores": str(len(names)),
        "threads": str(torch.get_num_threads()), "avx512": str("avx512f" in flags),
        "avx512_bf16": str("avx512_bf16" in flags), "amx": str("amx_bf16" in flags), "torch": torch.__version__,
        "python": platform.python_version(), "commit": commit,
    }  # fmt: skip
