"""Guided shifted-window attention on whole maps."""

from openvocab.kernels.window_attention.api import window_attention

__all__ = ["window_attention"]
