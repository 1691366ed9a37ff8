"""Images and labels from a dataset dict: files on disk, or a drawn scene."""

import os
from typing import Any

import numpy as np

from openvocab.console import first_of
from openvocab.data.masks import read_indices
from openvocab.inference import images

EPISODE_IGNORE = 255
"""In the label files of few-shot datasets: pixels that do not count (VOC's boundaries)."""


class EpisodeLabels(str):
    """The label file of an episode: a path that knows its dataset.

    Detectron2's evaluator hands nothing but this name to the function that reads labels, and the file alone does not
    say which of its values is the episode's class.

    Attributes:
        dataset: in Detectron2's catalog.
    """

    dataset: str

    def __new__(cls, path: str | os.PathLike, dataset: str = "") -> "EpisodeLabels":
        """Takes a dataset as well; without one where a copy is unpickled, which sets it afterwards."""
        labels = super().__new__(cls, path)
        labels.dataset = dataset
        return labels


def read_image(dataset_dict: dict[str, Any]) -> np.ndarray:
    """Reads the image of a dataset dict, as the demo does (`openvocab.inference.images.read_image`).

    Args:
        dataset_dict: with "scene" (drawn) or "file_name".

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: the file is missing, or not a picture that can be read.
    """
    return _render(dataset_dict)[0] if "scene" in dataset_dict else images.read_image(dataset_dict["file_name"])


def read_labels(dataset_dict: dict[str, Any]) -> np.ndarray:
    """Reads the class indices of a dataset dict as stored (`openvocab.data.masks.read_indices`).

    Args:
        dataset_dict: with "scene" (and "label_table", what each of its 256 labels becomes) or "sem_seg_file_name" (PNG
            or TIFF). "foreground_value" (an episode of a few-shot dataset) makes that value 1 and all others 0, but for
            `EPISODE_IGNORE`.

    Returns:
        (h, w) int32; the dataset's ignore label is kept.

    Raises:
        ValueError: the file is missing, is not an image, or holds colours where indices belong.
    """
    if "scene" in dataset_dict:
        return _render(dataset_dict)[1].astype(np.int32)
    labels = read_indices(dataset_dict["sem_seg_file_name"])
    foreground = dataset_dict.get("foreground_value")
    if foreground is None:
        return labels
    return np.where(labels == EPISODE_IGNORE, EPISODE_IGNORE, labels == foreground).astype(np.int32)


def load_sem_seg(filename: str, dtype: type | str | None = None) -> np.ndarray:
    """Reads the labels of any registered dataset for Detectron2's `SemSegEvaluator`, as its `sem_seg_loading_fn`.

    Args:
        filename: "sem_seg_file_name" of a dataset dict: PNG or TIFF, 8 or 16 bits, or the name of a scene's labels,
            which are drawn.
        dtype: of the result; None leaves int32.

    Returns:
        (h, w), an array of its own, which the evaluator writes into; the dataset's ignore label is kept.

    Raises:
        ValueError: an episode of a few-shot dataset, or as `read_labels`.

    Examples:
        >>> SemSegEvaluator("ade20k_150_test_sem_seg", sem_seg_loading_fn=load_sem_seg)
    """
    if isinstance(filename, EpisodeLabels):
        raise ValueError(
            f"{filename.dataset}: got episodes, which Detectron2's SemSegEvaluator cannot score, expected "
            "a dataset with one label map per image (for episodes use train_net.py --eval-only)"
        )
    scene = None
    if filename.startswith("emojiscapes/"):  # a folder of one's own may be called so, too
        from openvocab.data.emojiscapes.samples import dict_of_labels  # lazily, as in `_render`

        scene = dict_of_labels(filename)
    return read_labels(scene or {"sem_seg_file_name": filename}).astype(np.int32 if dtype is None else dtype)


def read_pair(dataset_dict: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Reads image and labels together; a scene is drawn once.

    Args:
        dataset_dict: as for `read_image` and `read_labels`.

    Returns:
        (h, w, 3) uint8 RGB and (h, w) int32.

    Raises:
        ValueError: as above, or the two differ in size.
    """
    if "scene" in dataset_dict:
        image, labels = _render(dataset_dict)
        return image, labels.astype(np.int32)
    image, labels = read_image(dataset_dict), read_labels(dataset_dict)
    check_same_size(labels, dataset_dict["sem_seg_file_name"], image, dataset_dict["file_name"])
    return image, labels


def unreadable(dataset_dict: dict[str, Any]) -> str:
    """Says why a sample cannot be read, or "".

    Args:
        dataset_dict: as for `read_pair`.

    Returns:
        What `read_pair` says: a file that is missing or damaged, or two of different sizes. What labels hold is not
        looked at.
    """
    try:
        read_pair(dataset_dict)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def check_same_size(
    labels: np.ndarray, label_name: str | os.PathLike, image: np.ndarray, image_name: str | os.PathLike
) -> None:
    """Checks that labels have the size of their image.

    Args:
        labels: (h, w).
        label_name: file, for the message.
        image: (h, w, 3), as `read_image` gives it.
        image_name: file, for the message.

    Raises:
        ValueError: sizes differ.
    """
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f"{label_name}: labels are {labels.shape[0]} x {labels.shape[1]} (h x w), "
            f"expected {image.shape[0]} x {image.shape[1]} as in {image_name}"
        )


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
        found = first_of(np.unique(wrong))
        raise ValueError(f"{name}: got labels {found}, expected 0 to {num_classes - 1} or {ignore_label} (ignored)")


def _render(dataset_dict: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    from openvocab.data.emojiscapes import render_scene  # lazily: drawing needs packages that photographs do not

    image, labels = render_scene(dataset_dict["scene"])
    table = dataset_dict.get("label_table")
    return image, labels if table is None else np.asarray(table, labels.dtype)[labels]
