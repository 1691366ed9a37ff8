"""Reading weights files safely, and token tables that hold only the rows that were trained."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROWS, VALUES, TABLE = "token_embedding.rows", "token_embedding.values", "token_embedding.weight"

# Schedulers leave NumPy numbers in training checkpoints; these types hold numbers and nothing that runs.
NUMPY_NUMBERS = (np._core.multiarray.scalar, (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype,
                 type(np.dtype("float64")), type(np.dtype("int64")))

# What torch raises on bytes that are no weights: a cut archive makes it seek before the start of the file, and text
# runs through the unpickler until some instruction has nothing to work on.
UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from a file, without running code that the file may hold.

    Args:
        path: .safetensors, or what `torch.save` wrote: a state dict, or one under "state_dict" or "model".

    Returns:
        Names and tensors on the CPU; a "module." that distributed training left in front is dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, holds Python objects that could run code, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no weights file {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(x, Tensor) for x in content.values()):
        raise ValueError(f"path: {path} holds no state dict (got {type(content).__name__}), expected names and tensors")
    return {name.removeprefix("module."): value for name, value in content.items()}


def expand_token_table(state: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """Restores a full token table from its trained rows; other states pass unchanged.

    Args:
        state: may hold "...token_embedding.rows" (n,) int64 and "...token_embedding.values" (n, width) in place of
            "...token_embedding.weight".
        vocab_size: rows of the full table.

    Returns:
        The state with the full table; rows that were not listed are zero.

    Raises:
        ValueError: rows outside 0..vocab_size - 1, or not one row of values each.
    """
    expanded = dict(state)
    for name in [name for name in state if name.endswith(ROWS)]:
        prefix = name.removesuffix(ROWS)
        rows, values = expanded.pop(name), expanded.pop(prefix + VALUES, None)
        if values is None or len(values) != len(rows):
            raise ValueError(f"checkpoint: {prefix + VALUES}: got {None if values is None else len(values)} rows, "
                             f"expected {len(rows)} as in {name}")
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < vocab_size:
            raise ValueError(f"checkpoint: {name}: got rows {int(rows.min())}..{int(rows.max())}, "
                             f"expected 0..{vocab_size - 1}")
        expanded[prefix + TABLE] = values.new_zeros(vocab_size, values.shape[1]).index_copy(0, rows, values)
    return expanded


def pack_token_table(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drops the all-zero rows of token tables; the reverse of `expand_token_table`.

    Args:
        state: names and tensors.

    Returns:
        The state with "...token_embedding.rows" and "...token_embedding.values" in place of the table.
    """
    packed = dict(state)
    for name in [name for name in state if name.endswith(TABLE)]:
        table = packed.pop(name)
        rows = (table != 0).any(dim=1).nonzero()[:, 0]
        packed[name.removesuffix(TABLE) + ROWS] = rows
        packed[name.removesuffix(TABLE) + VALUES] = table[rows].clone()
    return packed


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"path: {path} is no complete weights file: {error}") from error


def _read_torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(list(NUMPY_NUMBERS)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"path: {path} is no weights file, or holds Python objects besides tensors and numbers, "
                         "which could run code; expected a state dict") from error
    except UNREADABLE as error:
        raise ValueError(f"path: {path} is truncated, cannot be read or is no weights file") from error
