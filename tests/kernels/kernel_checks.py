"""What the tests of all kernels share: devices, and the rule for errors."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from openvocab.kernels.dispatch import interpreted
from openvocab.testing import KERNEL_BUDGET

# In Triton's interpreter on a CPU at small odd sizes, and on a GPU at real ones.
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(not interpreted(), reason="needs TRITON_INTERPRET=1")),
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


# Operands of products are rounded to TF32 by kernels in half precision. A gradient of class attention passes four
# products: eight roundings.
CHAIN = 8


def run(
    function: Callable[..., Tensor], inputs: Sequence[Tensor], dtype: torch.dtype, decided: Tensor | None = None
) -> list[Tensor]:
    """Runs in a dtype and returns the answer and the gradient of each input, for a fixed upstream gradient.

    `decided`: of the answer's shape, where the upstream gradient is not 0.
    """
    inputs = [x.detach().to(dtype).requires_grad_() for x in inputs]
    out = function(*inputs)
    assert out.dtype == dtype
    # Drawn on the CPU in float32, so that all runs get the same.
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    if decided is not None:
        upstream = torch.where(decided, upstream, 0)
    return [out.detach(), *torch.autograd.grad(out, inputs, upstream, allow_unused=True, materialize_grads=True)]


def check_kernel(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    dtype: torch.dtype,
    margin: Callable[..., Tensor] | None = None,
) -> None:
    """Compares values and gradients of the kernel with those of the reference in float64.

    At most twice the error of the reference in the same dtype. Where that is small by chance: in float32 the budget, in
    float16 and bfloat16 the one rounding that every answer needs. The interpreter cuts float32 to bfloat16 instead of
    rounding, which is one rounding more; a GPU does not. Where the reference leaves the range of float16 (a gradient
    with 1 / n^2 of n = 10,000), there is no error of its own to compare with: `CHAIN` roundings.

    Args:
        function: (*inputs, implementation=...) -> answer.
        inputs: all differentiable; rounded to `dtype` before anything runs.
        dtype: of the kernel's run.
        margin: (*inputs in float64) -> of the answer's shape, how far an element is from a step of the derivative (a
            ReLU's 0), as a share of what was added up. Below one rounding for each side no precision can say on which
            side an element lies, and among millions some always are: nothing flows back into these.
    """
    inputs = [x.to(dtype) for x in inputs]
    rounding = torch.finfo(dtype).eps / 2
    decided = None if margin is None else margin(*(x.double() for x in inputs)).abs() > max(2 * rounding, KERNEL_BUDGET)
    got = run(lambda *x: function(*x, implementation="triton"), inputs, dtype, decided)
    exact = run(lambda *x: function(*x, implementation="eager"), inputs, torch.float64, decided)
    eager = run(lambda *x: function(*x, implementation="eager"), inputs, dtype, decided)
    least = KERNEL_BUDGET if dtype == torch.float32 else rounding
    cut = 2 * rounding if dtype == torch.bfloat16 and interpreted() else 0.0
    for index, (kernel, plain, truth) in enumerate(zip(got, eager, exact)):
        error, plain_error = (float((x.double() - truth).abs().max()) for x in (kernel, plain))
        size = float(truth.abs().max())
        allowed = max(2 * plain_error, least * size) if plain.isfinite().all() else CHAIN * rounding * size
        allowed += cut * size
        what = f"gradient of input {index - 1}" if index else "answer"
        assert error <= allowed, f"{what}: error {error:.2e}, allowed {allowed:.2e}, largest value {size:.2e}"


def check_compiled(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Compares a compiled call with the plain one: the same operations run, so to the last digit."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, want in zip(run(compiled, inputs, torch.float32), run(function, inputs, torch.float32)):
        assert torch.equal(got, want)
