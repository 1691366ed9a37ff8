"""Part of `gpu.py`: every kernel against its eager reference and the compiled reference.

Sizes are CAT-Seg's (ViT-B/16, sliding window). A kernel is meant to beat the compiled reference;
docs/PERFORMANCE.md says which ones do.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from kernel_resources import DIM, DTYPES, GRID, HEADS, KERNEL, SIZE, STRIDE, VIEWS, WINDOW
from measuring import seconds_of
from torch import Tensor

from openvocab.kernels.class_attention import class_attention
from openvocab.kernels.group_norm_relu import group_norm_relu
from openvocab.kernels.label_map import label_map
from openvocab.kernels.window_attention import window_attention

if TYPE_CHECKING:
    from gpu import Setting


class Sizes(NamedTuple):
    """Of the inputs: `kernel_resources` has those of CAT-Seg."""

    grid: int
    dim: int
    kernel: int
    size: int
    stride: int
    answer: tuple[int, int]


REAL = Sizes(GRID, DIM, KERNEL, SIZE, STRIDE, (480, 640))
TOY = Sizes(4, 32, 16, 24, 8, (12, 16))


def operations(
    classes: int, dtype: torch.dtype, sizes: Sizes, device: str
) -> Iterator[tuple[str, Callable[..., Any], Sequence[Tensor]]]:
    """Draws inputs for each operation, one operation at a time.

    Args:
        classes: T.
        dtype: of the inputs.
        sizes: of the inputs.
        device: of the inputs.

    Yields:
        Name, function of the inputs and of `implementation`, inputs.
    """
    draw, grid, dim = partial(torch.randn, dtype=dtype, device=device), sizes.grid, sizes.dim
    kept, window = min(classes, 256), min(WINDOW, grid)
    joint, padding = draw(VIEWS, kept, grid * grid, 3 * dim), draw(2, dim)
    yield (
        "class_attention",
        lambda x, k, v, implementation: class_attention(
            *x.chunk(3, dim=-1), k, v, HEADS, max(0, 256 - classes), implementation
        ),
        [joint, *padding],
    )
    joint, guidance = draw(VIEWS * kept, grid, grid, 3 * dim), draw(2, VIEWS, grid, grid, dim)
    yield (
        "window_attention",
        lambda x, q, k, implementation: window_attention(
            *x.chunk(3, dim=-1), HEADS, window, window // 2, q, k, implementation
        ),
        [joint, *guidance],
    )
    x, affine = draw(VIEWS * kept, 64, 2 * grid, 2 * grid), draw(2, 64)
    shared = draw(VIEWS, 64, 2 * grid, 2 * grid)
    yield (
        "group_norm_relu",
        lambda x, w, b, s, implementation: group_norm_relu(x, w, b, 4, s, implementation=implementation),
        [x, *affine, shared],
    )
    logits = draw(VIEWS, classes, 4 * grid, 4 * grid)
    yield (
        "label_map",
        lambda x, implementation: label_map(
            x, sizes.kernel, sizes.size, sizes.stride, sizes.answer, implementation=implementation
        ),
        [logits],
    )


def milliseconds(call: Callable[..., Any], inputs: Sequence[Tensor], backward: bool, device: str) -> float:
    """Times one call.

    Args:
        call: function of the inputs.
        inputs: tensors.
        backward: time both passes instead of the forward pass alone.
        device: that it runs on.

    Returns:
        Median time in milliseconds, to a tenth of a microsecond.
    """
    if not backward:
        with torch.no_grad():
            return round(1e3 * seconds_of(lambda: call(*inputs), device), 4)
    variables = [x.detach().requires_grad_() for x in inputs]
    upstream = torch.randn_like(call(*variables))
    both = partial(_backward, call, variables, upstream)
    return round(1e3 * seconds_of(both, device), 4)


def _backward(call: Callable[..., Tensor], variables: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(call(*variables), variables, upstream, allow_unused=True)


def kernels(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Times the forward pass of all operations, and both passes of those that have gradients."""
    counts, dtypes = ((3,), ("float32",)) if setting.dry else ((150, 847, 7), ("float32", "bfloat16"))
    backend = "eager" if setting.dry else "inductor"  # inductor on a CPU needs a C++ compiler
    for classes in counts:
        for dtype in dtypes:
            inputs_of = operations(classes, DTYPES[dtype], TOY if setting.dry else REAL, setting.device)
            for name, function, inputs in inputs_of:
                torch._dynamo.reset()
                eager = partial(function, implementation="eager")
                ways = {
                    "eager": eager,
                    "compiled": torch.compile(eager, backend=backend),
                    "triton": partial(function, implementation="auto" if setting.dry else "triton"),
                }
                for way, call in ways.items():
                    for backward in (False, True) if name != "label_map" else (False,):
                        if setting.late:
                            return
                        yield {"operation": name, "classes": classes, "dtype": dtype, "implementation": way,
                               "backward": backward,
                               "milliseconds": milliseconds(call, inputs, backward, setting.device)}  # fmt: skip
