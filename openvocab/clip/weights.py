"""Reading weights files safely, and token tables that hold only the rows that were trained."""

import logging
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

logger = logging.getLogger(__name__)

ROWS, VALUES, TABLE = "token_embedding.rows", "token_embedding.values", "token_embedding.weight"

# Schedulers leave NumPy numbers in training checkpoints; these types hold numbers and nothing that runs.
NUMPY_NUMBERS = (
    np._core.multiarray.scalar,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
    type(np.dtype("int64")),
)

# What torch raises on bytes that are no weights: a cut archive makes it seek before the start of the file, and text
# runs through the unpickler until some instruction has nothing to work on.
UNREADABLE = (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


# Where training programs keep a state dict in a file, the averaged weights (EMA) behind the plain ones.
PLACES = ("state_dict", "model", "model_state_dict", "net", "network", "module",
          "model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema")  # fmt: skip
# What wrappers put in front of every name: DistributedDataParallel and AveragedModel, torch.compile, trainers, EMA.
WRAPPERS = ("module.", "_orig_mod.", "model.", "ema_model.", "ema.")
AVERAGED = "n_averaged"  # a counter that AveragedModel keeps beside the weights
LFS_POINTER = b"version https://git-lfs"


def read_state(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from a file, without running code that the file may hold.

    What the file holds decides how it is read, not its name.

    Args:
        path: what safetensors or `torch.save` wrote: a state dict, or one under a key of `PLACES`.

    Returns:
        Names and tensors on the CPU, without what wrappers have put in front of the names, in whatever order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, a web page, a git-lfs pointer or another text, holds Python objects
            that could run code, or holds something else; then its keys are named.
    """
    return state_of(read_content(path), path)


def read_content(path: Path) -> object:
    """Reads all that a weights file holds; see `read_state`.

    Args:
        path: of weights.

    Returns:
        What was written: a state dict, or a mapping with one inside.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `read_state`.
    """
    head = refuse_text(path)
    return _read_safetensors(path) if head[8:9] == b"{" else _read_torch(path)


def state_of(content: object, path: str | Path) -> dict[str, Tensor]:
    """Finds the state dict in what a file holds; see `read_state`.

    Args:
        content: from `read_content`.
        path: for messages; or what else it is.

    Returns:
        Names and tensors, without what wrappers have put in front of the names.

    Raises:
        ValueError: there is none, or names occur twice without their wrappers.
    """
    return _unwrapped(_state_in(content, path))


def refuse_text(path: Path) -> bytes:
    """Refuses what a browser, git or an editor has left in place of weights; cheap, before a model is built.

    Args:
        path: of weights.

    Returns:
        The first bytes of the file, 4096 at most.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, a web page, a git-lfs pointer or another text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no weights file {path}")
    with path.open("rb") as file:
        head = file.read(4096)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise ValueError(f"path: {path} is truncated: it holds {len(head)} blank bytes, expected weights")
    if start.startswith(LFS_POINTER):
        raise ValueError(
            f"path: {path} is a git-lfs pointer, not the weights that it stands for: git lfs pull fetches them"
        )
    if re.match(rb"<(!doctype html|html|head|\?xml)", start, re.IGNORECASE):
        title = re.search(rb"<title[^>]*>\s*([^<]*?)\s*<", start, re.IGNORECASE)
        named = f" ({title[1].decode(errors='replace')!r})" if title else ""
        raise ValueError(f"path: {path} is a web page{named}, not weights: fetch the file anew")
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        raise ValueError(f"path: {path} is a text that begins with {start[:40].decode()!r}, expected weights")
    return head


def _state_in(content: object, path: str | Path) -> Mapping[str, Tensor]:
    """Finds the state dict in what a file holds."""
    while isinstance(content, Mapping) and not _is_state(content):
        found = [key for key in PLACES if isinstance(content.get(key), Mapping) and content[key]]
        if not found:
            break
        if len(found) > 1:
            logger.warning(
                "%s holds weights under %s: those under %r are used", path, ", ".join(map(repr, found)), found[0]
            )
        content = content[found[0]]
    if not isinstance(content, Mapping) or not _is_state(content):
        got = f"the keys {sorted(map(str, content))[:8]}" if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"path: {path} holds no state dict (got {got}), expected names and tensors, at its top or "
            f"under one of {', '.join(PLACES)}"
        )
    return content


def _is_state(content: Mapping) -> bool:
    return bool(content) and all(isinstance(name, str) and isinstance(x, Tensor) for name, x in content.items())


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes wrappers off the names; one of a part, such as a compiled block, may stand in the middle."""
    names = {name: name.replace("_orig_mod.", "") for name in state if name != AVERAGED}
    while wrapper := _common_wrapper(names.values()):
        names = {name: short.removeprefix(wrapper) for name, short in names.items()}
    if len(set(names.values())) != len(names):
        twice = sorted(short for short in set(names.values()) if list(names.values()).count(short) > 1)
        raise ValueError(f"checkpoint: without wrappers such as '_orig_mod.', these names occur twice: {twice[:4]}")
    return {short: state[name] for name, short in names.items()}


def _common_wrapper(names: Collection[str]) -> str | None:
    """The wrapper that all names begin with; None where they share none, or where there are no names."""
    return next((own for own in WRAPPERS if names and all(name.startswith(own) for name in names)), None)


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
            raise ValueError(
                f"checkpoint: {prefix + VALUES}: got {None if values is None else len(values)} rows, "
                f"expected {len(rows)} as in {name}"
            )
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < vocab_size:
            raise ValueError(
                f"checkpoint: {name}: got rows {int(rows.min())}..{int(rows.max())}, expected 0..{vocab_size - 1}"
            )
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
    if zipfile.is_zipfile(path):  # as torch writes since 2020; it does not compare the checksums itself
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"path: {path} is damaged: the checksum of {broken} is wrong; fetch the file anew")
    try:
        # As an open file: of a path, newer versions of torch believe the suffix.
        with torch.serialization.safe_globals(list(NUMPY_NUMBERS)), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"path: {path} is no weights file, or holds Python objects besides tensors and numbers, "
            "which could run code; expected a state dict"
        ) from error
    except UNREADABLE as error:
        raise ValueError(f"path: {path} is truncated, cannot be read or is no weights file") from error
