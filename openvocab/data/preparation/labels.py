"""From raw label values to training labels, and label files on disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from openvocab.console import first_of
from openvocab.data.reading import check_same_size
from openvocab.files import replace_atomically
from openvocab.inference.images import read_image


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
            found = first_of(np.unique(raw[labels < 0]))
            largest = int(np.flatnonzero(self.table >= 0).max())
            raise ValueError(f"{name}: got the values {found}, expected those of the dataset (up to {largest})")
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


def check_image(labels: np.ndarray, label_name: str | Path, image: Path) -> None:
    """Checks that the image of labels can be read, as training will read it, and has their size.

    Args:
        labels: (h, w).
        label_name: file, for the message.
        image: the image file.

    Raises:
        ValueError: no image, a damaged one, or sizes differ.
    """
    check_same_size(labels, label_name, read_image(image), image)
