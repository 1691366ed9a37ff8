"""Loading a checkpoint strictly: our own, or a released one by the method's rename table."""

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from openvocab.clip.weights import TABLE, expand_token_table, read_state

logger = logging.getLogger(__name__)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a checkpoint into a model; afterwards every parameter comes from the file.

    A model may have `adapt_state(state)`, which renames the keys of a released checkpoint, and `guess_config(state)`,
    which names the config that a checkpoint belongs to, for the message.

    Args:
        model: receives the weights, in its own dtype (files in half precision are cast) and on its own device.
        path: .pth or .safetensors; see `openvocab.clip.weights.read_state`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or belongs to another model; keys or both shapes are named.
    """
    path = Path(path)
    state = read_state(path)
    try:
        if hasattr(model, "adapt_state"):
            state = model.adapt_state(state)
        own = model.state_dict()
        sizes = {len(value) for name, value in own.items() if name.endswith(TABLE)}
        if len(sizes) == 1:
            state = expand_token_table(state, sizes.pop())
        guess = model.guess_config(state) if hasattr(model, "guess_config") else None
        check_fits(state, own, guess)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.load_state_dict(state)
    logger.info("loaded %d tensors from %s", len(state), path)


def check_fits(state: Mapping[str, Tensor], own: Mapping[str, Tensor], guess: str | None) -> None:
    """Compares names and shapes of a checkpoint with those of a model.

    Args:
        state: of the checkpoint, with the model's names.
        own: of the model.
        guess: config that the checkpoint seems to belong to.

    Raises:
        ValueError: they differ.
    """
    common, hint = state.keys() & own.keys(), f"; the checkpoint looks like {guess}" if guess else ""
    if not common:
        raise ValueError(f"checkpoint: belongs to another model: got keys such as {sorted(state)[:2]}, "
                         f"expected such as {sorted(own)[:2]}")
    for name in own:  # in the model's order, so that the first one is telling
        if name in common and state[name].shape != own[name].shape:
            raise ValueError(f"checkpoint: {name}: got shape {tuple(state[name].shape)}, "
                             f"expected {tuple(own[name].shape)}{hint}")
    missing, unexpected = sorted(own.keys() - common), sorted(state.keys() - common)
    if missing or unexpected:
        raise ValueError(f"checkpoint: {len(missing)} keys missing {missing[:4]}, "
                         f"{len(unexpected)} not expected {unexpected[:4]}{hint}")
