"""Registers, spills and shared memory of every Triton kernel, compiled ahead of time: no GPU is needed.

    python benchmarks/kernel_resources.py --output benchmarks/results/kernel_resources.csv

The launchers of `openvocab.kernels` run at CAT-Seg's sizes (ViT-B/16, sliding window, 150 words) on tensors without
memory, and Triton compiles what they would launch. The figures are read from the cubin.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tables import csv_text, write_table
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CAPABILITIES = (80, 90)
VIEWS, CLASSES, GRID, DIM, HEADS, WINDOW = 5, 150, 24, 128, 4, 12
KERNEL, SIZE, STRIDE = 384, 640, 256


class OfflineDriver:
    """Stands in for a GPU's driver; it only names the target.

    Args:
        capability: of the GPU, 80 for sm_80.
    """

    def __init__(self, capability: int):
        from triton.backends.compiler import GPUTarget

        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> Any:
        """Returns the target."""
        return self.target

    def get_current_device(self) -> int:
        """Returns a number that differs between targets, because Triton keeps compiled kernels by device."""
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        """Returns the default stream."""
        return 0


@contextmanager
def compiling_only(capability: int) -> Iterator[list[tuple[str, dict[str, Any], Any]]]:
    """Makes launches compile and not run.

    Args:
        capability: of the GPU that is compiled for.

    Yields:
        A list that grows by (kernel, constants, Triton's compiled kernel) per launch.
    """
    from triton.runtime.driver import driver
    from triton.runtime.jit import JITFunction

    compiled, run = [], JITFunction.run

    def compile_only(self, *args, grid, warmup, **constants):
        name = f"{self.module.split('.')[-2]}.{self.__name__}"
        compiled.append((name, constants, run(self, *args, grid=grid, warmup=True, **constants)))

    driver.set_active(OfflineDriver(capability))
    with patch.object(JITFunction, "run", compile_only):
        yield compiled


def launches(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Lists one call per launcher.

    Args:
        dtype: of the inputs; parameters and statistics stay float32.

    Returns:
        Calls by the name of the operation and of its launcher.
    """
    from openvocab.kernels.class_attention import triton as class_attention
    from openvocab.kernels.group_norm_relu import triton as group_norm_relu
    from openvocab.kernels.label_map import triton as label_map
    from openvocab.kernels.window_attention import triton as window_attention

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    tokens = empty(VIEWS, CLASSES, GRID * GRID, 3 * DIM).chunk(3, dim=-1)
    padding = (empty(DIM), empty(DIM), HEADS, 256 - CLASSES)
    maps = empty(VIEWS * CLASSES, GRID, GRID, 3 * DIM).chunk(3, dim=-1)
    windows = (*maps, empty(VIEWS, GRID, GRID, DIM), empty(VIEWS, GRID, GRID, DIM))
    layout = (HEADS, WINDOW, WINDOW // 2)
    log_sums = empty(VIEWS * CLASSES, GRID, GRID, HEADS, dtype=torch.float32)
    decoded = empty(VIEWS * CLASSES, 64, 2 * GRID, 2 * GRID)
    affine = [empty(64, dtype=torch.float32) for _ in range(2)]
    normed = (decoded, *affine, 4, empty(VIEWS, 64, 2 * GRID, 2 * GRID))
    statistics = [empty(VIEWS * CLASSES, 4, dtype=torch.float32) for _ in range(2)]
    logits = empty(VIEWS, CLASSES, 4 * GRID, 4 * GRID)
    return {
        "class_attention.forward": lambda: class_attention.forward(*tokens, *padding),
        "class_attention.backward": lambda: class_attention.backward(tokens[0], *tokens, *padding),
        "window_attention.forward": lambda: window_attention.forward(*windows, *layout),
        "window_attention.backward": lambda: window_attention.backward(
            maps[0], *windows, empty(*maps[0].shape), log_sums, *layout
        ),
        "group_norm_relu.forward": lambda: group_norm_relu.forward(*normed, 1e-5),
        "group_norm_relu.backward": lambda: group_norm_relu.backward(decoded, *normed, *statistics),
        "label_map.upsample_argmax": lambda: label_map.upsample_argmax(empty(CLASSES, SIZE, SIZE), 480, 640),
        "label_map.label_map": lambda: label_map.label_map(logits, KERNEL, SIZE, STRIDE, 480, 640),
    }


def cubin_figures(cubin: bytes) -> dict[str, int]:
    """Asks cuobjdump, which comes with Triton, for what a thread needs.

    Args:
        cubin: of one kernel.

    Returns:
        "registers", and "spill_bytes" on its stack: the kernels have no local arrays, so only spills lie there.
    """
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack, local = map(int, re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", text).groups())
    return {"registers": registers, "spill_bytes": stack + local}


def measure(capability: int, dtype: str, only: str) -> Iterator[dict[str, Any]]:
    """Compiles for one target and dtype.

    Args:
        capability: of the GPU.
        dtype: name in `DTYPES`.
        only: part of the names in `launches`; empty takes all.

    Yields:
        A line of the table per kernel.
    """
    import triton

    with compiling_only(capability) as compiled:
        for name, launch in launches(DTYPES[dtype]).items():
            if only in name:
                launch()
    seen = set()
    for name, constants, kernel in compiled:
        key = (name, *constants.items())
        if key in seen:  # one launcher may launch a kernel many times
            continue
        seen.add(key)
        yield {
            "kernel": name,
            "target": f"sm_{capability}",
            "dtype": dtype,
            "constants": " ".join(f"{key}={value}" for key, value in constants.items()),
            **cubin_figures(kernel.asm["cubin"]),
            "shared_bytes": kernel.metadata.shared,
            "num_warps": kernel.metadata.num_warps,
            "cubin_bytes": len(kernel.asm["cubin"]),
            "triton": triton.__version__,
        }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of the names of operations, such as window_attention.forward")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=list(DTYPES))
    parser.add_argument("--output", type=Path, help="CSV; without it the table is only printed")
    args = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        parser.error("TRITON_INTERPRET: got 1, expected unset: the interpreter compiles nothing")
    rows = [
        row for capability in CAPABILITIES for dtype in args.dtypes for row in measure(capability, dtype, args.only)
    ]
    if not rows:
        parser.error(f"--only: got {args.only!r}, expected a part of {list(launches(torch.float32))}")
    text = csv_text(rows)
    sys.stdout.write(text)
    if args.output:
        write_table(args.output, text)


if __name__ == "__main__":
    main()
