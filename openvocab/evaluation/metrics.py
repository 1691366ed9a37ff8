"""Segmentation scores from a confusion matrix. Independent of the installed Detectron2 build."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

DENOMINATOR = "classes that the ground truth shows (Detectron2's rule since 2022-07-06)"
OLDER_DENOMINATOR = "classes that the ground truth or the predictions show (Detectron2's rule before 2022-07-06)"


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int, ignore_label: int) -> np.ndarray:
    """Counts pixels by true class and predicted class; ignored pixels leave both axes.

    Args:
        labels: (h, w) integers, classes or the ignore label.
        predictions: (h, w) integers, classes or -1 ("none of these").
        num_classes: N.
        ignore_label: pixels that do not count.

    Returns:
        (N, N + 1) int64: rows true, columns predicted; the last column counts -1.

    Raises:
        ValueError: shapes differ, or a value is out of range.
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"predictions: got shape {predictions.shape}, expected {labels.shape} as the labels")
    counted = labels != ignore_label
    true, predicted = labels[counted].astype(np.int64), predictions[counted].astype(np.int64)
    for name, values, lowest in (("labels", true, 0), ("predictions", predicted, -1)):
        if values.size and (values.min() < lowest or values.max() >= num_classes):
            raise ValueError(
                f"{name}: got values {values.min()} to {values.max()}, expected {lowest} to {num_classes - 1}"
            )
    predicted[predicted < 0] = num_classes
    flat = np.bincount(true * (num_classes + 1) + predicted, minlength=num_classes * (num_classes + 1))
    return flat.reshape(num_classes, num_classes + 1).astype(np.int64)


def class_ious(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union per class.

    Args:
        confusion: (N, N + 1) int64 from `confusion_matrix`.

    Returns:
        (N,) float64 in 0..1, NaN for classes that are neither in the ground truth nor predicted.
    """
    hits = confusion.diagonal().astype(np.float64)
    union = confusion.sum(axis=1) + confusion[:, :-1].sum(axis=0) - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray, classes: Sequence[int] | None = None) -> float:
    """Mean IoU over the classes that occur in the ground truth (Detectron2's rule since 2022-07-06).

    Args:
        confusion: (N, N + 1) int64.
        classes: only these; default all.

    Returns:
        Percent; NaN if none of the classes occurs.
    """
    present = np.zeros(len(confusion), dtype=bool)
    present[slice(None) if classes is None else np.asarray(classes, dtype=np.int64)] = True
    present &= confusion.sum(axis=1) > 0
    return 100 * float(class_ious(confusion)[present].mean()) if present.any() else float("nan")


def summarize(confusion: np.ndarray) -> dict[str, float]:
    """The scores over all classes.

    Args:
        confusion: (N, N + 1) int64.

    Returns:
        Percent: "mIoU" (mean over classes in the ground truth), "mIoU-predicted-too" (mean over classes in the ground
        truth or the predictions: Detectron2's rule before 2022-07-06), "fwIoU" (weighted by pixels), "mACC" (mean
        class accuracy) and "pACC" (pixel accuracy).
    """
    ious = class_ious(confusion)
    pixels = confusion.sum(axis=1)
    present = pixels > 0
    if not present.any():
        return dict.fromkeys(("mIoU", "mIoU-predicted-too", "fwIoU", "mACC", "pACC"), float("nan"))
    hits = confusion.diagonal()
    return {
        "mIoU": mean_iou(confusion),
        "mIoU-predicted-too": 100 * float(np.nanmean(ious)),
        "fwIoU": 100 * float((ious[present] * pixels[present]).sum() / pixels.sum()),
        "mACC": 100 * float((hits[present] / pixels[present]).mean()),
        "pACC": 100 * float(hits.sum() / pixels.sum()),
    }


def summarize_groups(confusion: np.ndarray, groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Mean IoU of groups of classes, and the harmonic mean of base and novel classes.

    Args:
        confusion: (N, N + 1) int64 over all classes: members of other groups still count as wrong predictions.
        groups: name -> class indices. "base" and "novel", and "base-things" and "novel-things", form pairs.

    Returns:
        Percent: "mIoU-<name>", and "mIoU-harmonic" and "mIoU-harmonic-things" where both of a pair are given.
    """
    scores = {f"mIoU-{name}": mean_iou(confusion, classes) for name, classes in groups.items()}
    for suffix in ("", "-things"):
        base, novel = scores.get(f"mIoU-base{suffix}"), scores.get(f"mIoU-novel{suffix}")
        if base is not None and novel is not None:
            scores[f"mIoU-harmonic{suffix}"] = 2 * base * novel / (base + novel) if base + novel else 0.0
    return scores


def oracle_labels(labels: np.ndarray, grid: int, ignore_label: int) -> np.ndarray:
    """The best that a grid of a given size can say: true labels averaged to it by area and resized back.

    Args:
        labels: (h, w) integers.
        grid: side of the grid, in cells.
        ignore_label: pixels that do not count; where a pixel's surroundings are all ignored, any class may come out.

    Returns:
        (h, w) int64: argmax of the bilinear (align_corners=False) upsampling of the averaged one-hot labels.
    """
    present = np.unique(labels[labels != ignore_label]).astype(np.int64)
    if not present.size:
        return np.zeros(labels.shape, dtype=np.int64)
    onehot = torch.from_numpy((labels[None] == present[:, None, None]).astype(np.float32))
    cells = F.adaptive_avg_pool2d(onehot[None], (grid, grid))
    back = F.interpolate(cells, size=labels.shape, mode="bilinear", align_corners=False)
    return present[back[0].argmax(dim=0).numpy()]
