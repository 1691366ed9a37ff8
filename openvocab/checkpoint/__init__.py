"""Checkpoints: what fits, what is renamed, where released ones come from."""

from openvocab.checkpoint.partially import partial

__all__ = ["partial"]
