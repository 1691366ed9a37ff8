"""Which implementation of an operation runs: the eager reference or the Triton kernel."""

import importlib.util
import os

import torch
from torch import Tensor

IMPLEMENTATIONS = ("auto", "eager", "triton")
KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)  # the kernels compute in float32
TRITON_INSTALLED = importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Says whether Triton runs its kernels in the interpreter, which also takes tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def use_triton(implementation: str, x: Tensor) -> bool:
    """Chooses an implementation.

    Args:
        implementation: "auto" takes the kernel on CUDA where Triton is installed, and the reference elsewhere and for
            float64; "eager" the reference; "triton" the kernel, on a CPU only in Triton's interpreter.
        x: the operation's first input.

    Returns:
        True for the kernel, False for the reference.

    Raises:
        ValueError: an unknown implementation, or "triton" where the kernel cannot run.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: got {implementation!r}, expected one of {IMPLEMENTATIONS}")
    if implementation == "eager":
        return False
    if implementation == "auto":
        return x.is_cuda and TRITON_INSTALLED and x.dtype in KERNEL_DTYPES
    if not TRITON_INSTALLED:
        raise ValueError("implementation: got 'triton', expected 'auto' or 'eager': triton is not installed")
    if x.dtype not in KERNEL_DTYPES:
        raise ValueError(f"implementation: got 'triton' with {x.dtype}, expected one of {KERNEL_DTYPES}")
    if not x.is_cuda and not interpreted():
        raise ValueError(
            f"implementation: got 'triton' on device {x.device}, expected CUDA, or TRITON_INTERPRET=1 in "
            "the environment before Triton is first imported"
        )
    return True


def check_like(name: str, x: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """Checks an input against the operation's first one.

    Args:
        name: of the argument.
        x: the argument.
        shape: that it must have.
        like: must be on the same device.

    Raises:
        ValueError: another shape or device.
    """
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {tuple(shape)}")
    if x.device != like.device:
        raise ValueError(f"{name}: got device {x.device}, expected {like.device}")


def check_heads(heads: int, dim: int) -> None:
    """Checks that heads divide the channels.

    Raises:
        ValueError: they do not.
    """
    if heads < 1 or dim % heads:
        raise ValueError(f"heads: got {heads}, expected a divisor of the {dim} channels")
