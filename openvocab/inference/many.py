"""Many pictures and one question: an answer per picture, in order, while the next ones are read and computed."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from openvocab.inference.images import ImageLike
from openvocab.inference.ordered import in_order
from openvocab.inference.result import Result

_READERS = 2  # threads that read and decode
_IN_ONE_PASS = 8  # pictures, on a GPU
_SIDE_BY_SIDE = 2  # pictures, on a CPU


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of one picture; one of result and error is there.

    Attributes:
        image: as it was given.
        result: its segmentation, or None.
        error: why there is none: a ValueError names the picture and what is wrong with it.
    """

    image: ImageLike
    result: Result | None = None
    error: Exception | None = None


def answers(
    images: Iterable[ImageLike],
    read: Callable[[ImageLike], Any],
    ask: Callable[[list[Any]], list[Result]],
    batch_size: int,
    together: bool,
) -> Generator[Answer, None, None]:
    """Answers pictures while the next ones are read and computed.

    Args:
        images: any iterable, also an endless one; taken from by the caller's thread, at most
            3 `batch_size` + 3 pictures ahead of the answer that the caller has.
        read: gives what `ask` takes; in a thread.
        ask: gives a result for each; in a thread.
        batch_size: pictures that are computed at a time.
        together: whether they go into one call of `ask`, or side by side into as many.

    Yields:
        An answer per picture, in order. Closing the generator ends the threads.
    """
    size, threads = (batch_size, 1) if together else (1, batch_size)
    # A thread of its own takes torch's default, and digits depend on how many threads share a sum.
    alike = partial(torch.set_num_threads, torch.get_num_threads())
    with (
        closing(in_order(partial(_read, read), images, _READERS, batch_size + 1)) as pictures,
        closing(in_order(partial(_asked, ask), _batches(pictures, size), threads, threads + 1, alike)) as batches,
    ):
        for batch in batches:
            yield from batch


def checked_images(images: Iterable[ImageLike]) -> Iterable[ImageLike]:
    """Refuses what is one picture, or nothing to iterate over.

    Args:
        images: that were given.

    Returns:
        The same.

    Raises:
        ValueError: it is no iterable of pictures.
    """
    one = isinstance(images, str | os.PathLike | Image.Image) or isinstance(images, np.ndarray) and images.ndim != 4
    if one or not isinstance(images, Iterable):
        raise ValueError(f"images: expected pictures to iterate over, such as a list of paths, got {images!r:.100}")
    return images


def checked_batch_size(batch_size: int | None, device: torch.device) -> int:
    """Gives how many pictures are computed at a time.

    Args:
        batch_size: wanted, or None.
        device: of the model.

    Raises:
        ValueError: not a whole number of at least 1.
    """
    if batch_size is None:
        return min(_SIDE_BY_SIDE, os.cpu_count() or 1) if device.type == "cpu" else _IN_ONE_PASS
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: expected a whole number of at least 1, got {batch_size!r}")
    return batch_size


def _read(read: Callable[[ImageLike], Any], image: ImageLike) -> tuple[Answer, Any]:
    try:
        return Answer(image), read(image)
    except Exception as error:  # noqa: BLE001 - handed on as this picture's answer
        return Answer(image, error=error), None


def _asked(ask: Callable[[list[Any]], list[Result]], batch: Sequence[tuple[Answer, Any]]) -> list[Answer]:
    readable = [given for answer, given in batch if answer.error is None]
    try:
        results = iter(ask(readable) if readable else [])
    except Exception as error:  # noqa: BLE001 - handed on as the answer of the picture that it belongs to
        if len(batch) > 1:  # which one is it? A batch may also have been too large
            return [_asked(ask, [each])[0] for each in batch]
        return [Answer(batch[0][0].image, error=error)]
    return [answer if answer.error else Answer(answer.image, next(results)) for answer, _ in batch]


def _batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch
