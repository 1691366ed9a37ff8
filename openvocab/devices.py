"""What a device computes natively, how exact float32 is there, and how values reach it without a stop."""

import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16", "float16")
FORCE = "!"  # behind a precision: take it although it is emulated
_BFLOAT16_ISAS = ("BF16", "FP16", "AMX", "AVX10")  # of oneDNN's names: from AVX512_CORE_BF16 on


def native(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Says whether a device has instructions for matrix products in a precision.

    Where it has none, PyTorch emulates them: on a CPU with AVX2, bfloat16 takes eleven times as long as float32.

    Args:
        dtype: floating point.
        device: that computes.

    Returns:
        On CUDA: bfloat16 from compute capability 8, float16 from 7. On a CPU: bfloat16 with AVX512-BF16, AMX or Arm's
        BF16, as far as ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY leave them on; float16 never, as nobody has seen it
        gain anything. float32 and float64 always.
    """
    if dtype in (torch.float32, torch.float64):
        return True
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= (8 if dtype == torch.bfloat16 else 7)
    if device.type == "mps":
        return dtype == torch.float16 or torch.backends.mps.is_macos_or_newer(14, 0)
    return dtype == torch.bfloat16 and device.type == "cpu" and _cpu_has_bfloat16()


def _cpu_has_bfloat16() -> bool:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if limit not in ("", "ALL", "DEFAULT") and not any(isa in limit for isa in _BFLOAT16_ISAS):
        return False
    if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("avx2", "default"):
        return False
    if hasattr(torch.cpu, "get_capabilities"):  # newer torch, on every architecture
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return any(
        getattr(torch.cpu, name)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        if hasattr(torch.cpu, name)
    )


def check_precision(wanted: str) -> str:
    """Checks the name of a precision.

    Args:
        wanted: one of `PRECISIONS`, or one with "!" behind it.

    Returns:
        The name itself.

    Raises:
        ValueError: another name.
    """
    if wanted.removesuffix(FORCE) not in PRECISIONS:
        raise ValueError(f"dtype: expected one of {', '.join(PRECISIONS)}, got {wanted!r}")
    return wanted


def usable_precision(wanted: str, device: torch.device | str, setting: str = "dtype", force: str = "") -> torch.dtype:
    """Chooses the precision that is computed in: the wanted one where the device has it, else float32, with a warning.

    Args:
        wanted: one of `PRECISIONS`; with "!" behind it, it is taken anyway.
        device: that computes.
        setting: what the user has set, for the warning.
        force: how to have the wanted one all the same, for the warning; default: its name with "!" behind it.

    Returns:
        The precision.

    Raises:
        ValueError: another name.
    """
    name = check_precision(wanted).removesuffix(FORCE)
    dtype = getattr(torch, name)
    if wanted.endswith(FORCE) or native(dtype, device):
        return dtype
    logger.warning(
        "%s: this %s can only emulate %s, slower than float32, which is used instead; %s forces it",
        setting,
        torch.device(device).type,
        name,
        force or name + FORCE,
    )
    return torch.float32


def exact_float32() -> None:
    """Makes float32 mean float32 on CUDA in this process.

    PyTorch lets cuDNN round the inputs of float32 convolutions to TF32's ten bits unless told otherwise. On an H100
    that moved CAT-Seg's logits by 8e-4 and LSeg's by 5e-3 of their largest value; without it both stay within the 2e-5
    and 5e-5 that a CPU keeps. To have TF32 back, set `torch.backends.cudnn.allow_tf32 = True` behind the construction
    of the model.
    """
    if torch.backends.cudnn.allow_tf32 and torch.cuda.is_available():
        torch.backends.cudnn.allow_tf32 = False
        logger.info("convolutions in float32 are computed in float32 from here on (torch.backends.cudnn.allow_tf32)")


def to_device(values: Sequence, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Copies values of the host to a device, without waiting for what the device has still to do.

    `torch.tensor(values, device=...)` waits.

    Args:
        values: numbers, or sequences of them.
        device: of the answer.
        dtype: of the answer; default: as `torch.tensor` chooses it.

    Returns:
        The tensor.
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def check_device(device: str | torch.device | None) -> torch.device:
    """Resolves a device and makes sure that it exists here.

    Args:
        device: None takes "cuda" where there is one, else "cpu".

    Raises:
        ValueError: no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: expected cpu, cuda, cuda:N or mps, got {device!r}") from error
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device: expected cpu, cuda, cuda:N or mps, got {str(device)!r}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: got {str(device)!r}, but torch sees {torch.cuda.device_count()} CUDA devices")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: got 'mps', but torch sees no Apple GPU")
    return chosen
