"""At which size a model sees a picture, and at which size it is asked for its answer."""

import math

import numpy as np
import torch
from fvcore.common.config import CfgNode
from PIL import Image
from torch import Tensor

from openvocab.inference.memory import require

_MAX_SIDE = 2048  # pixels; without sliding window, larger answers are upsampled by the caller, chunk by chunk
_MAX_ANSWER = 1 << 28  # elements of the (T, h, w) answer asked of a model (1 GiB)


def seen_picture(pixels: np.ndarray, cfg: CfgNode) -> Tensor:
    """Resizes as the evaluation does (short side INPUT.MIN_SIZE_TEST, antialiased): both see the same picture.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        cfg: of the model.

    Returns:
        (3, h', w') uint8, a copy.
    """
    height, width = pixels.shape[:2]
    short, long = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    if short == 0 or cfg.TEST.AUG.ENABLED:  # which has sizes of its own
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    scale = min(short / min(height, width), long / max(height, width))
    size = max(1, int(scale * width + 0.5)), max(1, int(scale * height + 0.5))
    resized = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1)


def answer_size(cfg: CfgNode, height: int, width: int, count: int, device: torch.device) -> tuple[int, int]:
    """Chooses the size of the probabilities asked of a model, and refuses what cannot fit into memory.

    The sliding window ends in a square of its own and maps it to the wanted size in one bilinear step. Asking for that
    square and doing the last step outside gives the same numbers. Without sliding window, a very large answer is capped
    at 2048 pixels: the model's own grid is far coarser than that.

    Args:
        cfg: of the model.
        height: of the picture in pixels.
        width: likewise.
        count: of words.
        device: of the model.

    Returns:
        Height and width, at most the picture's.

    Raises:
        ValueError: more words than fit.
    """
    window = cfg.TEST.SLIDING_WINDOW
    what = f"words: {count} words"
    if cfg.TEST.AUG.ENABLED:  # views of several sizes have no size in common but the picture's
        require(4 * count * 3 * max(height * width, max(cfg.TEST.AUG.MIN_SIZES) ** 2), device, what)
        return height, width
    if window.ENABLED:
        square = window.SIZE * window.SIZE
        require(4 * count * (2 * square + 5 * window.KERNEL**2), device, what)
        return (window.SIZE, window.SIZE) if height * width > square else (height, width)
    scale = min(1.0, _MAX_SIDE / max(height, width), math.sqrt(_MAX_ANSWER / (count * height * width)))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    require(4 * count * 2 * size[0] * size[1], device, what)
    return size if scale < 1 else (height, width)
