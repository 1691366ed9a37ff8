"""Which weights a module has, and what is derived from them, kept until one changes."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Sequence
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import nn

T = TypeVar("T")


def weights_key(module: nn.Module) -> Hashable:
    """Identifies the present weights of a module.

    Args:
        module: with parameters, and buffers.

    Returns:
        Address, version, dtype and device of each of them. A write through `.data` leaves no trace in it; caches are
        therefore dropped by `train()` as well.
    """
    return tuple(
        (p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype, p.device)
        for p in chain(module.parameters(), module.buffers())
    )


def digest_of_parameters(model: nn.Module) -> str:
    """Hashes all parameters and buffers of a model: two evaluations of the same numbers have the same digest.

    Args:
        model: on any device.

    Returns:
        SHA-256, hexadecimal. Takes a second per gigabyte.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class FromWeights(Generic[T]):
    """One thing that is derived from modules in the precision of autocast, made anew when either changes.

    Its owner calls `clear` in `train()`; see `weights_key`. Threads that ask at once wait for the one that makes it.
    """

    def __init__(self):
        self._kept: tuple[Hashable, T] | None = None
        self._lock = threading.Lock()

    def get(self, modules: Sequence[nn.Module], device: str, make: Callable[[torch.dtype], T]) -> T:
        """Gives what belongs to the present weights.

        Args:
            modules: that it is derived from, all of one dtype.
            device: type of the device whose autocast counts.
            make: derives it for a precision: that of autocast where it is on, else that of the weights. Called without
                autocast.

        Returns:
            The answer of `make`, now or earlier.
        """
        lowered = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if lowered else next(modules[0].parameters()).dtype
        key = dtype, torch.is_inference_mode_enabled(), tuple(map(weights_key, modules))
        with self._lock:
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # first: `make` may copy a module that holds this, and needs the memory
                with torch.autocast(device, enabled=False):
                    self._kept = key, make(dtype)
            return self._kept[1]

    def __getstate__(self) -> dict[str, None]:
        """Leaves it out of copies and files: the copy's weights are others, and a packed weight cannot be copied."""
        return {"_kept": None}

    def __setstate__(self, state: dict[str, None]) -> None:
        """Starts with nothing."""
        self.__init__()

    def clear(self) -> None:
        """Forgets it."""
        self._kept = None
