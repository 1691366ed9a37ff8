"""Label maps in eager PyTorch: the oracle of the kernels, in the functions of `openvocab.inference.sliding_window`."""

import torch
from torch import Tensor

from openvocab.inference.sliding_window import best_channel, keep_best, merge_views, resize

CLASSES_PER_CHUNK = 4  # whose maps exist at a time

def blend_views(logits: Tensor, kernel: int, size: int, stride: int) -> Tensor:
    """Blends; see `openvocab.kernels.label_map.api.blend_views`."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return merge_views(resize(logits, (kernel, kernel)).sigmoid_(), size, stride)


def upsample_argmax(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Finds the best class; see `openvocab.kernels.label_map.api.upsample_argmax`."""
    return best_channel(maps, (height, width))


def label_map(logits: Tensor, kernel: int, size: int, stride: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Blends by chunks and finds the best class; see `openvocab.kernels.label_map.api.label_map`."""
    labels = logits.new_zeros((height, width), dtype=torch.int64)
    scores = logits.new_full((height, width), -1, dtype=torch.promote_types(logits.dtype, torch.float32))
    for start in range(0, logits.shape[1], CLASSES_PER_CHUNK):
        maps = blend_views(logits[:, start:start + CLASSES_PER_CHUNK], kernel, size, stride)
        keep_best(resize(maps[None], (height, width))[0], start, labels, scores)
    return labels, scores
