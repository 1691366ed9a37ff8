"""From the logits of windows to a label map: blending, upsampling and the best class."""

from openvocab.kernels.label_map.api import blend_views, label_map, upsample_argmax

__all__ = ["blend_views", "label_map", "upsample_argmax"]
