"""Label maps in eager PyTorch: the oracle of the kernels, in the functions of `openvocab.windows`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from openvocab.windows import best_channel, keep_best, merge_views, resize

CLASSES_PER_CHUNK = 4  # whose maps exist at a time
IMPROBABLE = -100.0  # logit of a class that a view does not have


def blend_views(logits: Tensor, kernel: int, size: int, stride: int) -> Tensor:
    """Blends; see `openvocab.kernels.label_map.api.blend_views`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return merge_views(resize(logits, (kernel, kernel)).sigmoid_(), size, stride)


def upsample_argmax(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Finds the best class; see `openvocab.kernels.label_map.api.upsample_argmax`."""
    return best_channel(maps, (height, width))


def label_map(
    logits: Tensor,
    kernel: int,
    size: int,
    stride: int,
    height: int,
    width: int,
    index: Tensor | None = None,
    classes: int = 0,
) -> tuple[Tensor, Tensor]:
    """Blends by chunks and finds the best class; see `openvocab.kernels.label_map.api.label_map`."""
    if index is not None and logits.device.type != "cpu":  # what follows would ask the device for every class
        everything, numbers = spread(logits, index, classes)
        labels, scores = label_map(everything, kernel, size, stride, height, width)
        return numbers[labels], scores
    labels = logits.new_zeros((height, width), dtype=torch.int64)
    scores = logits.new_full((height, width), -1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if index is not None:
        for number, maps in _kept_maps(logits, kernel, index):
            keep_best(resize(merge_views(maps, size, stride)[None], (height, width))[0], number, labels, scores)
        return labels, scores
    for start in range(0, logits.shape[1], CLASSES_PER_CHUNK):
        maps = blend_views(logits[:, start : start + CLASSES_PER_CHUNK], kernel, size, stride)
        keep_best(resize(maps[None], (height, width))[0], start, labels, scores)
    return labels, scores


def spread(logits: Tensor, index: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Gives all views the same channels: the classes that any view has, without asking the device which these are.

    Args:
        logits: (V, K, g, g).
        index: (V, K) int64, the classes that they stand for.
        classes: in all.

    Returns:
        (V, U, g, g) logits with U = min(V K, `classes`), `IMPROBABLE` where a view does not have a class, and (U,) the
        numbers of the classes, ascending; behind the last one filled up with improbable channels.
    """
    flat = index.flatten()
    rank = flat.new_zeros(classes).index_fill(0, flat, 1).cumsum(0) - 1  # of a class among those that any view has
    count = min(len(flat), classes)
    numbers = flat.new_zeros(count).scatter(0, rank[flat], flat)
    views = torch.arange(len(logits), device=logits.device)[:, None]
    everything = logits.new_full((len(logits), count, *logits.shape[2:]), IMPROBABLE)
    return everything.index_put((views, rank[index]), logits), numbers


def _kept_maps(logits: Tensor, kernel: int, index: Tensor) -> Iterator[tuple[int, list[Tensor | None]]]:
    """Goes through the classes that any view keeps: number, and for each view (1, K, K) probabilities or None."""
    classes, place = index.unique(return_inverse=True)
    channels = torch.full((len(index), len(classes)), -1, device=index.device)
    channels.scatter_(1, place, torch.arange(index.shape[1], device=index.device).expand_as(place))
    for number, own in zip(classes.tolist(), channels.T.tolist()):
        views = [view for view, channel in enumerate(own) if channel >= 0]
        chosen = torch.stack([logits[view, own[view]] for view in views])[:, None]
        chosen = chosen.to(torch.promote_types(logits.dtype, torch.float32))
        found = dict(zip(views, resize(chosen, (kernel, kernel)).sigmoid_()))
        yield number, [found.get(view) for view in range(len(index))]
