"""Linear attention over the classes of each location, with padding classes folded in."""

from openvocab.kernels.class_attention.api import class_attention

__all__ = ["class_attention"]
