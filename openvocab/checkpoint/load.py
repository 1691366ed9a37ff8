"""Reading a checkpoint file into a model, which decides itself what fits (`openvocab.checkpoint.complete`)."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from openvocab.clip.weights import read_content, state_of
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)

DRAWS = ("normal_", "uniform_", "erfinv_", "trunc_normal_",
         "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")  # fmt: skip
"""What fills a tensor with random numbers, of `torch.Tensor` and of `torch.nn.init`."""


class Unfilled(TorchFunctionMode):
    """Builds a model without random numbers, whose parameters hold anything: it is loaded next, or thrown away.

    Drawing them takes longer than all else in building a large model.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Leaves a tensor that `func` would fill as it is; see `torch.overrides.TorchFunctionMode`."""
        if getattr(func, "__name__", "") in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def load_weights(model: nn.Module, path: str | Path) -> TrainedWords | None:
    """Loads a checkpoint into a model; afterwards every parameter comes from the file.

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
    try:
        words = TrainedWords.from_checkpoint(content)
        state = state_of(content, path)
        model.load_state_dict(state)
    except (ValueError, RuntimeError) as error:  # torch's own, of a model that does not check
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    logger.info("loaded %d tensors from %s", len(state), path)
    return words
