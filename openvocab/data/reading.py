"""Images and labels from a dataset dict: files on disk, or a drawn scene."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

logger = logging.getLogger(__name__)

INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow modes whose pixels are class indices; all others hold colours."""

EPISODE_IGNORE = 255
"""In the label files of few-shot datasets: pixels that do not count (VOC's boundaries)."""


def read_image(dataset_dict: dict[str, Any]) -> np.ndarray:
    """Reads the image of a dataset dict.

    Args:
        dataset_dict: with "scene" (drawn) or "file_name" (any format Pillow reads; EXIF rotation applied).

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not an image, is cut off, or has more than 8 bits per channel.
    """
    if "scene" in dataset_dict:
        return _render(dataset_dict)[0]
    path = dataset_dict["file_name"]
    image = _open(path)
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(f"{path}: got an image of mode {image.mode}, expected 8 bits per channel")
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def read_labels(dataset_dict: dict[str, Any]) -> np.ndarray:
    """Reads the class indices of a dataset dict exactly as stored: 8 or 16 bits, grey or palette.

    Args:
        dataset_dict: with "scene" (and "label_table", what each of its 256 labels becomes) or "sem_seg_file_name" (PNG
            or TIFF). "foreground_value" (an episode of a few-shot dataset) makes that value 1 and all others 0, but for
            `EPISODE_IGNORE`.

    Returns:
        (h, w) int32; the dataset's ignore label is kept.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not an image, or holds colours where indices belong.
    """
    if "scene" in dataset_dict:
        return _render(dataset_dict)[1].astype(np.int32)
    labels = read_indices(dataset_dict["sem_seg_file_name"])
    foreground = dataset_dict.get("foreground_value")
    if foreground is None:
        return labels
    return np.where(labels == EPISODE_IGNORE, EPISODE_IGNORE, labels == foreground).astype(np.int32)


def read_indices(path: str | Path) -> np.ndarray:
    """Reads an image whose pixels are class indices, exactly as stored.

    Args:
        path: PNG or TIFF, 8 or 16 bits, grey or palette (whose colours are not looked at).

    Returns:
        (h, w) int32.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is not an image, is cut off, or holds colours where indices belong.
    """
    image = _open(path)
    if image.mode not in INDEX_MODES:
        raise ValueError(f"{path}: got a label file of mode {image.mode}, expected class indices (8 or 16 bit grey)")
    return np.array(image).astype(np.int32)


def read_pair(dataset_dict: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Reads image and labels together; a scene is drawn once.

    Args:
        dataset_dict: as for `read_image` and `read_labels`.

    Returns:
        (h, w, 3) uint8 RGB and (h, w) int32.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: as above, or the two differ in size.
    """
    if "scene" in dataset_dict:
        image, labels = _render(dataset_dict)
        return image, labels.astype(np.int32)
    image, labels = read_image(dataset_dict), read_labels(dataset_dict)
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"{dataset_dict['sem_seg_file_name']}: labels are {labels.shape[0]} x {labels.shape[1]} (h x w), "
            f"expected {image.shape[0]} x {image.shape[1]} as in {dataset_dict['file_name']}"
        )
    return image, labels


def label_name(dataset_dict: dict[str, Any]) -> str:
    """Gives what messages about the labels of a dataset dict should name: the label file, or the scene."""
    return str(dataset_dict.get("sem_seg_file_name") or dataset_dict["file_name"])


def check_labels(labels: np.ndarray, num_classes: int, ignore_label: int, name: str) -> None:
    """Checks that every label is a class or the ignore label.

    Args:
        labels: (h, w) integers.
        num_classes: labels 0 .. num_classes - 1 are classes.
        ignore_label: pixels that do not count.
        name: file or scene, for the message.

    Raises:
        ValueError: with the offending values.
    """
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != ignore_label)]
    if wrong.size:
        values = np.unique(wrong)
        shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise ValueError(f"{name}: got labels {shown}, expected 0 to {num_classes - 1} or {ignore_label} (ignored)")


def _open(path: str | Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except (OSError, SyntaxError) as error:  # Pillow's for unknown formats, cut files and broken PNG chunks
        raise ValueError(f"{path}: not a readable image: {error}") from error
    return image


def _render(dataset_dict: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    from openvocab.data.emojiscapes import render_scene  # lazily: drawing needs packages that photographs do not

    image, labels = render_scene(dataset_dict["scene"])
    table = dataset_dict.get("label_table")
    return image, labels if table is None else np.asarray(table, labels.dtype)[labels]
