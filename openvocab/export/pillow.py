"""Pillow's antialiased bilinear resizing as arithmetic on tensors, to the last bit, for any size that a graph meets."""

import torch
from torch import Tensor

_ONE = 1 << 22  # Pillow's fixed point: weights are whole multiples of 2**-22


def resize_as_pillow(picture: Tensor, height: int, width: int) -> Tensor:
    """Resizes as `PIL.Image.resize` does with BILINEAR: along each axis a triangle as wide as the scale, rounded.

    Args:
        picture: (h, w, 3) uint8.
        height: wanted, 1 or more; of a graph a number that it computes.
        width: likewise.

    Returns:
        (height, width, 3) float64, whole numbers in 0..255.
    """
    pixels = picture.to(torch.float64)
    rows = torch.tensordot(_weights(picture.shape[1], width), pixels, dims=([1], [1])).transpose(0, 1)
    rows = _rounded(rows)
    return _rounded(torch.tensordot(_weights(picture.shape[0], height), rows, dims=([1], [0])))


def _weights(old: int, new: int) -> Tensor:
    """Gives what each new pixel takes of each old one, in units of 2**-22: (new, old) float64, whole numbers."""
    scale = torch.scalar_tensor(old, dtype=torch.float64) / new
    support = scale.clamp(min=1.0)  # half of the triangle's base: one pixel where the picture is enlarged
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    first = (centre - support + 0.5).floor().clamp(min=0)[:, None]
    last = (centre + support + 0.5).floor().clamp(max=old)[:, None]
    place = torch.arange(old, dtype=torch.float64)
    triangle = (1 - ((place + 0.5 - centre[:, None]) / support).abs()).clamp(min=0)
    triangle = torch.where((place >= first) & (place < last), triangle, 0.0)
    share = triangle / triangle.sum(dim=1, keepdim=True)
    return (share * _ONE + 0.5).floor()  # no weight is negative


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + _ONE / 2) / _ONE).floor().clamp(0, 255)
