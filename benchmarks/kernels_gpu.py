"""Times every kernel against its eager reference and the compiled reference, on a GPU.

    python benchmarks/kernels_gpu.py --output benchmarks/results/kernels_gpu.csv

Sizes are CAT-Seg's (ViT-B/16, sliding window). A kernel has to beat the compiled reference to stay.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from kernel_resources import DIM, DTYPES, GRID, HEADS, KERNEL, SIZE, STRIDE, VIEWS, WINDOW
from tables import csv_text, write_table
from torch import Tensor

from openvocab.kernels.class_attention import class_attention
from openvocab.kernels.group_norm_relu import group_norm_relu
from openvocab.kernels.label_map import label_map
from openvocab.kernels.window_attention import window_attention


def operations(classes: int, dtype: torch.dtype) -> Iterator[tuple[str, Callable[..., Any], Sequence[Tensor]]]:
    """Draws inputs for each operation, one operation at a time.

    Args:
        classes: T.
        dtype: of the inputs.

    Yields:
        Name, function of the inputs and of `implementation`, inputs.
    """
    draw = partial(torch.randn, dtype=dtype, device="cuda")
    joint, padding = draw(VIEWS, min(classes, 256), GRID * GRID, 3 * DIM), draw(2, DIM)
    yield ("class_attention", lambda x, k, v, implementation: class_attention(
        *x.chunk(3, dim=-1), k, v, HEADS, max(0, 256 - classes), implementation), [joint, *padding])
    joint, guidance = draw(VIEWS * min(classes, 256), GRID, GRID, 3 * DIM), draw(2, VIEWS, GRID, GRID, DIM)
    yield ("window_attention", lambda x, q, k, implementation: window_attention(
        *x.chunk(3, dim=-1), HEADS, WINDOW, WINDOW // 2, q, k, implementation), [joint, *guidance])
    x, affine = draw(VIEWS * min(classes, 256), 64, 2 * GRID, 2 * GRID), draw(2, 64)
    shared = draw(VIEWS, 64, 2 * GRID, 2 * GRID)
    yield ("group_norm_relu", lambda x, w, b, s, implementation: group_norm_relu(
        x, w, b, 4, s, implementation=implementation), [x, *affine, shared])
    logits = draw(VIEWS, classes, 4 * GRID, 4 * GRID)
    yield ("label_map", lambda x, implementation: label_map(
        x, KERNEL, SIZE, STRIDE, (480, 640), implementation), [logits])


def milliseconds(call: Callable[..., Any], inputs: Sequence[Tensor], backward: bool) -> float:
    """Times one call on the GPU.

    Args:
        call: function of the inputs.
        inputs: tensors.
        backward: time both passes instead of the forward pass alone.

    Returns:
        Mean time in milliseconds, to a tenth of a microsecond.
    """
    from triton.testing import do_bench

    if not backward:
        with torch.no_grad():
            return round(do_bench(lambda: call(*inputs)), 4)
    variables = [x.detach().requires_grad_() for x in inputs]
    upstream = torch.randn_like(call(*variables))
    return round(do_bench(lambda: torch.autograd.grad(call(*variables), variables, upstream, allow_unused=True)), 4)


def measure(classes: int, dtype: str) -> Iterator[dict[str, Any]]:
    """Times the forward pass of all operations, and both passes of those that have gradients.

    Args:
        classes: T.
        dtype: name in `DTYPES`.

    Yields:
        A line of the table per operation, implementation and pass.
    """
    for name, function, inputs in operations(classes, DTYPES[dtype]):
        eager = partial(function, implementation="eager")
        torch._dynamo.reset()
        ways = {"eager": eager, "compiled": torch.compile(eager), "triton": partial(function, implementation="triton")}
        for way, call in ways.items():
            for backward in (False, True) if name != "label_map" else (False,):
                yield {"operation": name, "classes": classes, "dtype": dtype, "implementation": way,
                       "backward": backward, "milliseconds": milliseconds(call, inputs, backward),
                       "device": torch.cuda.get_device_name(), "torch": torch.__version__}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[7, 150, 847])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=list(DTYPES))
    parser.add_argument("--output", type=Path, help="CSV; without it the table is only printed")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device is available; figures from the interpreter would mean nothing")
    rows = [row for classes in args.classes for dtype in args.dtypes for row in measure(classes, dtype)]
    text = csv_text(rows)
    sys.stdout.write(text)
    if args.output:
        write_table(args.output, text)


if __name__ == "__main__":
    main()
