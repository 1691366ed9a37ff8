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


def run(function: Callable[..., Tensor], inputs: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Runs in a dtype and returns the answer and the gradient of each input, for a fixed upstream gradient."""
    inputs = [x.detach().to(dtype).requires_grad_() for x in inputs]
    out = function(*inputs)
    assert out.dtype == dtype
    # Drawn on the CPU in float32, so that all runs get the same.
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    return [out.detach(), *torch.autograd.grad(out, inputs, upstream, allow_unused=True, materialize_grads=True)]


def check_kernel(function: Callable[..., Tensor], inputs: Sequence[Tensor], dtype: torch.dtype) -> None:
    """Compares values and gradients of the kernel with those of the reference in float64.

    At most twice the error of the reference in the same dtype. Where that is small by chance: in float32 the budget, in
    float16 and bfloat16 the one rounding that every answer needs. The interpreter cuts float32 to bfloat16 instead of
    rounding, which is one rounding more; a GPU does not.

    Args:
        function: (*inputs, implementation=...) -> answer.
        inputs: all differentiable; rounded to `dtype` before anything runs.
        dtype: of the kernel's run.
    """
    inputs = [x.to(dtype) for x in inputs]
    got = run(lambda *x: function(*x, implementation="triton"), inputs, dtype)
    exact = run(lambda *x: function(*x, implementation="eager"), inputs, torch.float64)
    eager = run(lambda *x: function(*x, implementation="eager"), inputs, dtype)
    rounding = torch.finfo(dtype).eps / 2
    least = KERNEL_BUDGET if dtype == torch.float32 else rounding
    cut = 2 * rounding if dtype == torch.bfloat16 and interpreted() else 0.0
    for index, (kernel, plain, truth) in enumerate(zip(got, eager, exact)):
        error, plain_error = (float((x.double() - truth).abs().max()) for x in (kernel, plain))
        size = float(truth.abs().max())
        allowed = max(2 * plain_error, least * size) + cut * size
        what = f"gradient of input {index - 1}" if index else "answer"
        assert error <= allowed, f"{what}: error {error:.2e}, allowed {allowed:.2e}, largest value {size:.2e}"


def check_compiled(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Compares a compiled call with the plain one: the same operations run, so to the last digit."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for got, want in zip(run(compiled, inputs, torch.float32), run(function, inputs, torch.float32)):
        assert torch.equal(got, want)
