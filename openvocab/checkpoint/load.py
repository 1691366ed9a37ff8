"""Loading a checkpoint strictly: our own, or a released one by the method's rename table."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from openvocab.clip.weights import TABLE, expand_token_table, read_content, state_of
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)


def load_weights(model: nn.Module, path: str | Path) -> TrainedWords | None:
    """Loads a checkpoint into a model; afterwards every parameter comes from the file.

    A model may have `adapt_state(state)`, which renames the keys of a released checkpoint, and `guess_config(state)`,
    which names the config that a checkpoint belongs to, for the message.

    Args:
        model: receives the weights, in its own dtype (files in half precision are cast) and on its own device.
        path: .pth or .safetensors; see `openvocab.clip.weights.read_state`.

    Returns:
        What the file says of the words it was trained on; None if it does not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, belongs to another model, or holds NaN or infinity; keys or both shapes are
            named.
    """
    path = Path(path)
    content = read_content(path)
    state = state_of(content, path)
    try:
        words = TrainedWords.from_checkpoint(content)
        if hasattr(model, "adapt_state"):
            state = model.adapt_state(state)
        own = model.state_dict()
        sizes = {len(value) for name, value in own.items() if name.endswith(TABLE)}
        if len(sizes) == 1:
            state = expand_token_table(state, sizes.pop())
        guess = model.guess_config(state) if hasattr(model, "guess_config") else None
        check_fits(state, own, guess)
        check_finite(state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    model.load_state_dict(state)
    logger.info("loaded %d tensors from %s", len(state), path)
    return words


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
        raise ValueError(f"checkpoint: belongs to another model: got keys such as {other[:2]}, "
                         f"expected such as {mine[:2]}{hint}")
    for name in own:  # in the model's order, so that the first one is telling
        if name in common and state[name].shape != own[name].shape:
            raise ValueError(f"checkpoint: {name}: got shape {tuple(state[name].shape)}, "
                             f"expected {tuple(own[name].shape)}{hint}")
    missing, unexpected = sorted(own.keys() - common), sorted(state.keys() - common)
    if missing or unexpected:
        raise ValueError(f"checkpoint: {len(missing)} keys missing {missing[:4]}, "
                         f"{len(unexpected)} not expected {unexpected[:4]}{hint}")


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
