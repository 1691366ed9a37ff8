"""Label maps in eager PyTorch: the oracle of the kernels, in the functions of `openvocab.inference.sliding_window`."""

import torch
from torch import Tensor

from openvocab.inference.sliding_window import best_channel, merge_views, resize

CLASSES_PER_CHUNK = 16  # whose blended maps exist at a time; 26 MB at S = 640, which stays in the cache of a large GPU


def blend_views(logits: Tensor, kernel: int, size: int, stride: int) -> Tensor:
    """Blends; see `openvocab.kernels.label_map.api.blend_views`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return merge_views(resize(logits, (kernel, kernel)).sigmoid(), size, stride)


def upsample_argmax(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Finds the best class; see `openvocab.kernels.label_map.api.upsample_argmax`."""
    return best_channel(maps, (height, width))


def label_map(logits: Tensor, kernel: int, size: int, stride: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Blends and finds the best class by chunks; see `openvocab.kernels.label_map.api.label_map`."""
    chunks = logits.split(CLASSES_PER_CHUNK, dim=1)
    labels, scores = upsample_argmax(blend_views(chunks[0], kernel, size, stride), height, width)
    for number, chunk in enumerate(chunks[1:], start=1):
        label, score = upsample_argmax(blend_views(chunk, kernel, size, stride), height, width)
        better = score > scores
        labels = torch.where(better, label + number * CLASSES_PER_CHUNK, labels)
        scores = torch.where(better, score, scores)
    return labels, scores
