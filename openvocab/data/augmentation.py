"""Augmentations that Detectron2 lacks or gets slightly wrong for labels."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from detectron2.data import transforms as T
from PIL import Image


@contextmanager
def seeded_augmentation(seed: Sequence[int]) -> Iterator[None]:
    """Seeds the global NumPy generator, which Detectron2's augmentations draw from, and restores it afterwards.

    Args:
        seed: non-negative integers, e.g. (seed of the run, number of the draw). The same numbers give the same
            augmentation in every process and worker.
    """
    state = np.random.get_state()
    np.random.seed(np.random.SeedSequence(seed).generate_state(8))
    try:
        yield
    finally:
        np.random.set_state(state)


class LabelSafeResizeTransform(T.ResizeTransform):
    """Detectron2's resize, with labels of any integer type taken from the nearest pixel *centre*.

    Detectron2 sends labels that are not uint8 through torch's "nearest", which takes the pixel at floor(i * scale):
    half a pixel beside the image, which is resized around pixel centres.
    """

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resizes labels.

        Args:
            segmentation: (h, w) int32.

        Returns:
            (new_h, new_w) int32.
        """
        resized = Image.fromarray(segmentation.astype(np.int32)).resize((self.new_w, self.new_h), Image.NEAREST)
        return np.asarray(resized)


class LabelSafeResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's `ResizeShortestEdge` over `LabelSafeResizeTransform`."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draws the size.

        Args:
            image: (h, w, 3).

        Returns:
            The resize, or nothing to do.
        """
        resize = super().get_transform(image)
        if isinstance(resize, T.ResizeTransform):
            size = max(1, resize.new_h), max(1, resize.new_w)  # a picture 1 wide and 20,000 high stays one pixel wide
            return LabelSafeResizeTransform(resize.h, resize.w, *size, resize.interp)
        return resize


class ResizeLongEdge(T.Augmentation):
    """Resizes the long edge to a random number of pixels, the short one in proportion."""

    def __init__(self, least: int, greatest: int) -> None:
        """Sets the range.

        Args:
            least: pixels of the long edge.
            greatest: pixels of the long edge, inclusive.

        Raises:
            ValueError: not 1 <= least <= greatest.
        """
        if not 1 <= least <= greatest:
            raise ValueError(f"INPUT.LONG_SIDE_TRAIN: got {least} and {greatest}, expected 1 <= least <= greatest")
        self.least, self.greatest = least, greatest

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draws the size.

        Args:
            image: (h, w, 3).

        Returns:
            The resize.
        """
        height, width = image.shape[:2]
        scale = np.random.randint(self.least, self.greatest + 1) / max(height, width)
        size = (max(1, int(side * scale + 0.5)) for side in (height, width))
        return LabelSafeResizeTransform(height, width, *size, Image.BILINEAR)


class ResizeToSquare(T.Augmentation):
    """Resizes to a square, whatever the aspect ratio."""

    def __init__(self, side: int) -> None:
        """Sets the side in pixels."""
        self.side = side

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Makes the resize.

        Args:
            image: (h, w, 3).

        Returns:
            The resize.
        """
        height, width = image.shape[:2]
        return LabelSafeResizeTransform(height, width, self.side, self.side, Image.BILINEAR)


class SSDColorTransform(T.Transform):
    """One fixed photometric distortion of an RGB image; labels stay as they are."""

    def __init__(self, brightness: float, contrast: float, contrast_first: bool, saturation: float, hue: int) -> None:
        """Fixes the distortion.

        Args:
            brightness: added to every channel, -32 .. 32.
            contrast: factor on every channel, 0.5 .. 1.5.
            contrast_first: contrast before the HSV changes, else after them.
            saturation: factor on HSV's S, 0.5 .. 1.5.
            hue: added to HSV's H, in OpenCV's units of 2 degrees, -18 .. 18.
        """
        super().__init__()
        self.brightness = brightness
        self.contrast = contrast
        self.contrast_first = contrast_first
        self.saturation = saturation
        self.hue = hue

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Distorts an image.

        Args:
            img: (h, w, 3) uint8 RGB.

        Returns:
            The same shape and type.
        """
        img = _scale(img, 1.0, self.brightness)
        if self.contrast_first:
            img = _scale(img, self.contrast, 0.0)
        img = self._apply_hsv(img)
        if not self.contrast_first:
            img = _scale(img, self.contrast, 0.0)
        return img

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Returns coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Returns labels as they are."""
        return segmentation

    def _apply_hsv(self, img: np.ndarray) -> np.ndarray:
        if self.saturation == 1.0 and self.hue == 0:
            return img  # a round trip through 8-bit HSV is not exact
        hsv = cv2.cvtColor(np.ascontiguousarray(img), cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _scale(hsv[..., 1], self.saturation, 0.0)
        hsv[..., 0] = (hsv[..., 0].astype(np.int32) + self.hue) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


class SSDColorAugmentation(T.Augmentation):
    """The photometric distortion of SSD (arXiv 1512.02325): each of four changes with probability one half."""

    def get_transform(self, image: np.ndarray) -> SSDColorTransform:
        """Draws a distortion from NumPy's global generator.

        Args:
            image: not looked at.

        Returns:
            The distortion with its numbers fixed.
        """
        return SSDColorTransform(
            brightness=np.random.uniform(-32, 32) if np.random.randint(2) else 0.0,
            contrast=np.random.uniform(0.5, 1.5) if np.random.randint(2) else 1.0,
            contrast_first=bool(np.random.randint(2)),
            saturation=np.random.uniform(0.5, 1.5) if np.random.randint(2) else 1.0,
            hue=int(np.random.randint(-18, 19)) if np.random.randint(2) else 0,
        )


def _scale(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    return np.clip(values.astype(np.float32) * factor + offset, 0, 255).astype(np.uint8)
