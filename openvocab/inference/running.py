"""Runs a model on what a segmenter asks: without gradients, in the precision that was chosen."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from openvocab.vocab.vocabulary import Vocabulary


@contextmanager
def running(device: torch.device, dtype: str) -> Iterator[None]:
    """Computes without gradients, below float32 by autocast.

    Args:
        device: of the model.
        dtype: "float32", "bfloat16" or "float16".
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if dtype != "float32":
            stack.enter_context(torch.autocast(device.type, dtype=getattr(torch, dtype)))
        yield


def ask(
    model: nn.Module,
    dtype: str,
    given: Sequence[dict[str, Any]],
    vocabulary: Vocabulary,
    sizes: Sequence[tuple[int, int]],
    output: str,
) -> list[dict[str, Tensor]]:
    """Asks about several pictures at once.

    Args:
        model: in evaluation mode.
        dtype: see `running`.
        given: "image" or "seen" of each.
        vocabulary: of all.
        sizes: height and width wanted, of each.
        output: see `openvocab.model.OpenVocabularyModel.forward`.

    Returns:
        What the model gives for each; probabilities and scores are finite and float32.

    Raises:
        ValueError: words that do not fit into memory, or numbers that this precision does not hold.
    """
    requests = [
        each | {"height": height, "width": width, "vocabulary": vocabulary, "output": output}
        for each, (height, width) in zip(given, sizes, strict=True)
    ]
    device = torch.device(model.device)
    try:
        with running(device, dtype):
            found = model(requests)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"words: {len(vocabulary)} words do not fit into the memory of {device}") from error
    checked = "sem_seg" if output == "sem_seg" else "scores"
    for answer in found:
        answer[checked] = answer[checked].float()
        if not bool(torch.isfinite(answer[checked]).all()):
            raise ValueError(f"dtype: the model's answer is not finite in {dtype}; try float32 or bfloat16")
    return found
