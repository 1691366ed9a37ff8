"""One view of a picture instead of windows: several times faster, and a little less exact (docs/WEB.md)."""

from copy import copy

from openvocab.inference.segmenter import Segmenter
from openvocab.windows import window_origins


def one_view(segmenter: Segmenter) -> Segmenter:
    """Gives a segmenter of the same parameters that sees a picture once, as with TEST.SLIDING_WINDOW.ENABLED False.

    Args:
        segmenter: left as it is.

    Returns:
        Itself where it has no windows.

    Raises:
        ValueError: its pruning needs windows (MODEL.CATSEG.PRUNING.PER_PIXEL).
    """
    if not segmenter.cfg.TEST.SLIDING_WINDOW.ENABLED:
        return segmenter
    twin = copy(segmenter)
    twin.cfg = segmenter.cfg.clone()
    twin.cfg.defrost()
    twin.cfg.TEST.SLIDING_WINDOW.ENABLED = False
    twin.cfg.freeze()
    twin.model = segmenter.model.without_windows()
    return twin


def views_of(segmenter: Segmenter) -> int:
    """Counts how often a model sees a picture: once whole, and in each window.

    Args:
        segmenter: that looks.
    """
    window = segmenter.cfg.TEST.SLIDING_WINDOW
    return 1 + len(window_origins(window.SIZE, window.KERNEL, window.STRIDE)) ** 2 if window.ENABLED else 1
