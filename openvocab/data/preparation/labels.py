"""From raw label values to training labels, and label files on disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, UnidentifiedImageError

from openvocab.files import replace_atomically

ENDS = MappingProxyType({"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"})
"""What whole files of these formats end with."""
EXIF_ORIENTATION = 0x0112


class LabelTable:
    """Maps the values of raw annotations to labels; a value that nobody told it about is an error."""

    def __init__(self, classes: Sequence[int], ignore_label: int, ignored: Iterable[int] | None = None) -> None:
        """Builds the table.

        Args:
            classes: the raw value of each label 0, 1, ...; all different.
            ignore_label: for the values in `ignored`.
            ignored: raw values that are no class; None for all others.
        """
        self.ignore_label = ignore_label
        self.rest = ignore_label if ignored is None else -1
        known = {value: label for label, value in enumerate(classes)}
        known |= {value: ignore_label for value in ignored or () if value not in known}
        self.table = np.full(max(known) + 2, self.rest, dtype=np.int32)  # the last one stands for all that are larger
        for value, label in known.items():
            self.table[value] = label
        self.dtype = np.uint16 if ignore_label > 255 else np.uint8

    def __call__(self, raw: np.ndarray, name: str | Path) -> np.ndarray:
        """Maps one annotation.

        Args:
            raw: (h, w) integers, not negative.
            name: file, for the message.

        Returns:
            (h, w) uint8, or uint16 where the ignore label needs it.

        Raises:
            ValueError: a value that is neither a class nor ignored; names it.
        """
        labels = self.table[np.minimum(raw, len(self.table) - 1)]
        if self.rest < 0 and (labels < 0).any():
            wrong = np.unique(raw[labels < 0])
            shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            largest = int(np.flatnonzero(self.table >= 0).max())
            raise ValueError(f"{name}: got the values {shown}, expected those of the dataset (up to {largest})")
        return labels.astype(self.dtype)


def write_labels(path: Path, labels: np.ndarray) -> None:
    """Writes a label file, whole or not at all: 8-bit grey PNG, or 16-bit TIFF without loss.

    Args:
        path: ends in .png or .tif; its folder exists.
        labels: (h, w) uint8 or uint16, as the suffix asks.

    Raises:
        ValueError: suffix and type do not fit.
    """
    wanted = {".png": np.uint8, ".tif": np.uint16}.get(path.suffix)
    if labels.dtype != wanted:
        raise ValueError(f"{path}: got labels of type {labels.dtype}, expected uint8 for .png or uint16 for .tif")
    image = Image.fromarray(labels)
    if path.suffix == ".png":
        replace_atomically(path, lambda file: image.save(file, "PNG", compress_level=6))
    else:
        replace_atomically(path, lambda file: image.save(file, "TIFF", compression="tiff_adobe_deflate"))


def image_size(path: Path) -> tuple[int, int]:
    """Returns (h, w) of an image as `read_image` gives it (turned upright), from the file's head alone.

    A JPEG or PNG that does not end as it should is decoded to tell a cut file from one with something behind its end.

    Args:
        path: an image.

    Returns:
        Height and width in pixels.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no image, or a cut file.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
            if not _ends_with(path, ENDS.get(image.format, b"")):
                image.load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable image, a cut download? ({error})") from error
    return (width, height) if turned else (height, width)


def check_same_size(labels: np.ndarray, label_name: str | Path, image: Path) -> None:
    """Checks that labels fit their image, and that the image is whole.

    Args:
        labels: (h, w).
        label_name: file, for the message.
        image: the image file.

    Raises:
        FileNotFoundError: no image.
        ValueError: sizes differ, or the image is cut.
    """
    size = image_size(image)
    if size != labels.shape:
        raise ValueError(
            f"{label_name}: labels are {labels.shape[0]} x {labels.shape[1]} (h x w), "
            f"expected {size[0]} x {size[1]} as in {image}"
        )


def _ends_with(path: Path, end: bytes) -> bool:
    with open(path, "rb") as file:
        file.seek(-len(end), 2)
        return file.read(len(end)) == end
