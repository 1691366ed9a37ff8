"""What the benchmarks share: timing, precision, and where figures come from."""

import ctypes
import platform
import statistics
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


def seconds_of(call: Callable[[], object], device: str, most: float = 0.5) -> float:
    """Times a call on a device, warmed up: the median of several runs, three at least where there is time.

    On CUDA by events of the device, short calls many in a row, so that the host's share is hidden where it can be.

    Args:
        call: what is timed.
        device: "cuda" or "cpu".
        most: seconds after which no further run starts.

    Returns:
        Seconds of one call.
    """
    call()
    timed = _seconds_on_cuda if device == "cuda" else _seconds_on_host
    at_once = max(1, min(50, int(0.02 / timed(call, 1))))
    times, start = [], time.perf_counter()
    while len(times) < (3 if most else 1) or time.perf_counter() - start < most and len(times) < 100:
        times.append(timed(call, at_once))
    return statistics.median(times)


def _seconds_on_host(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _seconds_on_cuda(call: Callable[[], object], count: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / count


def autocast(precision: str, device: str = "cpu") -> AbstractContextManager:
    """Gives the context of a precision on a device."""
    return nullcontext() if precision == "float32" else torch.autocast(device, dtype=getattr(torch, precision))


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
