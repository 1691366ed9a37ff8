"""What several kernels share."""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def round_to_tf32(x):
    """Rounds float32 to the ten bits of mantissa that tensor cores read in TF32; they would cut the others off."""
    return ((x.to(tl.int32, bitcast=True) + 0x1000) >> 13 << 13).to(tl.float32, bitcast=True)


@triton.jit
def dot(a, b, accumulator, PRECISION: tl.constexpr):
    """Product of two float32 blocks, added to a third one unless that is None.

    "ieee" multiplies in float32. "tf32", meant for inputs in half precision, rounds to TF32 before, whose mantissa
    holds both float16 and bfloat16. To round here and not leave it to the hardware halves the error, takes away its
    bias, and lets the interpreter compute what a GPU does.
    """
    if PRECISION == "tf32":
        a = round_to_tf32(a)
        b = round_to_tf32(b)
    return tl.dot(a, b, accumulator, input_precision=PRECISION)


def dot_precision(dtype: torch.dtype) -> str:
    """Returns PRECISION of `dot` for inputs of a dtype."""
    return "ieee" if dtype == torch.float32 else "tf32"


def rows_of(x: Tensor) -> Tensor:
    """Returns x with channels next to each other in memory; a view of a joint q, k, v product stays as it is."""
    return x if x.stride(-1) == 1 else x.contiguous()
