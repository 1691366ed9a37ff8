"""Parts of `gpu.py`: what the machine is, and the tests that belong on it."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from measuring import environment, seconds_of

if TYPE_CHECKING:
    from gpu import Setting

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("triton", "torchvision", "timm", "open_clip_torch", "fvcore", "numpy", "pillow")
TOY_TESTS = {
    "kernel_tests": ["tests/kernels/test_group_norm_relu.py", "-k", "by_hand"],
    "golden": ["tests/golden/test_lseg.py", "-k", "test_loss_ignores_unlabelled_pixels"],
}


def device(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Names the machine and its versions, and measures what it can do at most."""
    facts = environment() | {"system": platform.platform()}
    facts |= {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    if not setting.dry:
        card = torch.cuda.get_device_properties(0)
        driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                                capture_output=True, text=True, check=False).stdout.strip()  # fmt: skip
        facts |= {"gpu": card.name, "capability": f"{card.major}.{card.minor}", "driver": driver,
                  "memory [GiB]": f"{card.total_memory / 2**30:.1f}", "cuda": torch.version.cuda,
                  "multiprocessors": card.multi_processor_count}  # fmt: skip
    yield from ({"what": name, "value": value} for name, value in facts.items())
    side = 256 if setting.dry else 8192
    for name in ("float32", "tf32", "bfloat16", "float16"):
        a, b = torch.randn(2, side, side, device=setting.device).to(getattr(torch, name, torch.float32))
        before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, name == "tf32"
        seconds = seconds_of(lambda a=a, b=b: a @ b, setting.device)
        torch.backends.cuda.matmul.allow_tf32 = before
        what = f"matrix product of side {side} in {name} [TFLOP/s]"
        yield {"what": what, "value": f"{2 * side**3 / seconds / 1e12:.1f}"}
    x = torch.empty(1 << (20 if setting.dry else 30), device=setting.device)
    seconds = seconds_of(lambda: x[: len(x) // 2].copy_(x[len(x) // 2 :]), setting.device)
    yield {"what": "copy, read and written [TB/s]", "value": f"{4 * len(x) / seconds / 1e12:.2f}"}


def kernel_tests(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Runs the kernels' tests at real sizes, forward and backward."""
    toy = TOY_TESTS["kernel_tests"]
    yield from _pytest(toy if setting.dry else ["tests/kernels", "-k", "cuda", "-m", "slow or not slow"], setting)


def golden(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Runs the golden tests on the GPU."""
    toy = TOY_TESTS["golden"]
    yield from _pytest(toy if setting.dry else ["tests/golden", "-m", "slow or not slow"], setting)


def _pytest(selection: Sequence[str], setting: "Setting") -> Iterator[dict[str, Any]]:
    """Runs tests in a process of their own, a row for each; the checkout is only read."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *selection, "--device", setting.device, "-q", "--tb=line",
                   "-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={folder}/temp"]  # fmt: skip
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)  # fmt: skip
        if done.returncode not in (0, 1) or not report.is_file():
            raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-2000:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    for case in cases:
        problem = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        yield {
            "test": f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}",
            "outcome": "passed" if problem is None else {"failure": "failed"}.get(problem.tag, problem.tag),
            "seconds": case.get("time"),
            "message": "" if problem is None else _line(problem.get("message") or ""),
        }


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
