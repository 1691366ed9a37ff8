"""GroupNorm followed by ReLU, with a summand that the class slices of an image share."""

from openvocab.kernels.group_norm_relu.api import group_norm_relu

__all__ = ["group_norm_relu"]
