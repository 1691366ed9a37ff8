"""Random states: read, restore, and keep them untouched by what must not consume them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def rng_state() -> dict:
    """Reads the random states of this process.

    Returns:
        Python, NumPy, torch and (where present) CUDA states as plain numbers and tensors, so that
        `torch.load(weights_only=True)` reads them back.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_rng_state(state: dict) -> None:
    """Sets the random states of this process.

    Args:
        state: what `rng_state` returned, here or in an earlier process.
    """
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leaves the random states as they were: evaluation between two training steps must not change training."""
    state = rng_state()
    try:
        yield
    finally:
        restore_rng_state(state)
