"""A model is loaded whole or not at all, by whatever road: what its `load_state_dict` does with a state dict first."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from openvocab.checkpoint.partially import is_partial
from openvocab.clip.weights import TABLE, expand_token_table, state_of

logger = logging.getLogger(__name__)


def require_complete(model: nn.Module) -> None:
    """Lets a model take whole state dicts only, in any form that this project knows.

    A model may have `adapt_state(state, keep_unknown)`, which renames the keys of a released checkpoint, and
    `guess_config(state)`, which names the config that a checkpoint belongs to, for the message.

    Args:
        model: from now on its `load_state_dict` raises a ValueError, whatever `strict` says, where a state dict belongs
            to another model or holds NaN or infinity. `openvocab.checkpoint.partial` is the way around.
    """
    model.register_load_state_dict_pre_hook(_complete)


def _complete(model: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Replaces in place what is loaded; see `torch.nn.Module.register_load_state_dict_pre_hook`."""
    content = {name.removeprefix(prefix): state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
    state = complete_state(model, state_of(content, "state_dict") if content else {})
    state_dict.update({prefix + name: value for name, value in state.items()})


def complete_state(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Brings a state dict into a model's own names, with full token tables, and checks it.

    Args:
        model: see `require_complete`.
        state: names without wrappers, and tensors.

    Returns:
        One tensor for each of the model's, or of these some where loading by halves is allowed.

    Raises:
        ValueError: it does not fit, or holds NaN or infinity; keys or both shapes are named.
    """
    if hasattr(model, "adapt_state"):
        state = model.adapt_state(state, keep_unknown=is_partial())
    own = model.state_dict()
    sizes = {len(value) for name, value in own.items() if name.endswith(TABLE)}
    if len(sizes) == 1:
        state = expand_token_table(state, sizes.pop())
    if is_partial():
        missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
        logger.warning(
            "partial weights: %d of the model's %d tensors keep their values, such as %s; %d of the file "
            "are not the model's",
            len(missing),
            len(own),
            sorted(missing)[:3],
            len(unexpected),
        )
    else:
        guess = model.guess_config(state) if hasattr(model, "guess_config") else None
        check_fits(state, own, guess)
    check_finite(state)
    return dict(state)


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
    if 2 * len(common) < min(len(state), len(own)):  # methods share a few names
        other, mine = sorted(state.keys() - common), sorted(own.keys() - common)
        raise ValueError(
            f"checkpoint: belongs to another model: got keys such as {other[:2]}, expected such as {mine[:2]}{hint}"
        )
    for name in own:  # in the model's order, so that the first one is telling
        if name in common and state[name].shape != own[name].shape:
            raise ValueError(
                f"checkpoint: {name}: got shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}{hint}"
            )
    missing, unexpected = sorted(own.keys() - common), sorted(state.keys() - common)
    if missing or unexpected:
        raise ValueError(
            f"checkpoint: {len(missing)} keys missing {missing[:4]} (Detectron2 drops those of another "
            f"shape), {len(unexpected)} not expected {unexpected[:4]}{hint}"
        )


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Refuses weights of a training that has diverged: they would give no error but masks without sense.

    Args:
        state: names and tensors.

    Raises:
        ValueError: NaN or infinity in a tensor; names the first one.
    """
    for name, value in state.items():
        # The extremes show NaN and infinity as well as a mask of every element would, many times faster.
        if value.is_floating_point() and value.numel() and not all(math.isfinite(end) for end in value.aminmax()):
            raise ValueError(f"checkpoint: {name}: got NaN or infinity, expected finite numbers")
