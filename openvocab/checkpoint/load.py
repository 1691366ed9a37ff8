"""Reading a checkpoint file into a model, which decides itself what fits (`openvocab.checkpoint.complete`)."""

import logging
from pathlib import Path

from torch import nn

from openvocab.clip.weights import read_content, state_of
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)


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
