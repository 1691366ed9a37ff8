"""Word-pixel correlation (arXiv 2201.03546, section 3.1): cosine of every pixel and every word, over a temperature.

Shape letters: T classes, P templates, C joint width, H x W pixels.
"""

import torch.nn.functional as F
from torch import Tensor

TEMPERATURE = 0.07  # a constant of the method; no checkpoint holds it


def normalize_pixels(pixels: Tensor) -> Tensor:
    """Brings pixel embeddings (C, H, W) or (B, C, H, W) to unit length along C, in at least float32."""
    return F.normalize(pixels.float() if pixels.element_size() < 4 else pixels, dim=-3)


def correlation(pixels: Tensor, text: Tensor) -> Tensor:
    """Correlates pixels with words; each word's map depends on that word alone.

    Args:
        pixels: (C, H, W), L2-normalised along C.
        text: (T, P, C), L2-normalised; several templates are averaged and normalised again.

    Returns:
        (T, H, W), cosine / 0.07.
    """
    return (word_vectors(text).to(pixels.dtype) @ pixels.flatten(1)).unflatten(1, pixels.shape[1:])


def word_vectors(text: Tensor) -> Tensor:
    """Gives what pixels are multiplied with: text (T, P, C) to (T, C), of length 1 / 0.07.

    Several templates are averaged and normalised again.
    """
    return (F.normalize(text.mean(dim=1), dim=-1) if text.shape[1] > 1 else text[:, 0]) / TEMPERATURE
