"""From a dataset dict to what the model takes: read, augment, pad, to tensors (CAT-Seg's recipe)."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from openvocab.data.augmentation import (
    LabelSafeResizeShortestEdge,
    ResizeLongEdge,
    ResizeToSquare,
    SSDColorAugmentation,
    seeded_augmentation,
)
from openvocab.data.reading import check_labels, label_name, read_image, read_pair

logger = logging.getLogger(__name__)

EPISODE_KEYS = ("vocabulary", "class_id", "episode")
"""What the dict of an episode says of itself (`openvocab.data.few_shot`); passed on to model and evaluator."""


class SemSegTrainMapper:
    """Short side to size, random crop, colour jitter, flip, padding to the crop size; image and labels always alike.

    The augmentation depends on (seed, number of the draw) alone, not on the process, the worker or what came before,
    so a resumed run repeats it exactly.
    """

    def __init__(
        self,
        *,
        augmentations: Sequence[T.Augmentation],
        seed: int,
        num_classes: int,
        ignore_label: int,
        target_ignore_label: int,
        pad_to: tuple[int, int] | None = None,
        padding: int = 0,
    ) -> None:
        """Collects the parts.

        Args:
            augmentations: drawn from NumPy's global generator.
            seed: of the augmentations, non-negative.
            num_classes: T; labels of the dataset must be below.
            ignore_label: the dataset's.
            target_ignore_label: the label that the model's loss takes as ignored.
            pad_to: (h, w) in pixels, or None for no padding.
            padding: value of the pixels that are added.
        """
        self.augmentations = T.AugmentationList(list(augmentations))
        self.seed = seed
        self.num_classes = num_classes
        self.ignore_label = ignore_label
        self.target_ignore_label = target_ignore_label
        self.pad_to = pad_to
        self.padding = padding

    @classmethod
    def from_config(cls, cfg: CfgNode, metadata: Any, seed: int) -> "SemSegTrainMapper":
        """Reads INPUT.* and the metadata of the training set.

        Args:
            cfg: INPUT.MIN_SIZE_TRAIN, MAX_SIZE_TRAIN, LONG_SIDE_TRAIN, CROP, PADDING, COLOR_JITTER, RANDOM_FLIP;
                DATALOADER.MAPPER_SEED;
                MODEL.SEM_SEG_HEAD.IGNORE_VALUE.
            metadata: of the dataset: stuff_classes and ignore_label.
            seed: used where DATALOADER.MAPPER_SEED is -1.

        Returns:
            The mapper.

        Raises:
            ValueError: a crop that is not "absolute", an unknown flip, or an ignore value that is a class.
        """
        num_classes, target_ignore = len(metadata.stuff_classes), cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        if 0 <= target_ignore < num_classes:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE: got {target_ignore}, expected a label that is none of the "
                f"{num_classes} classes of {metadata.name}"
            )
        crop = cfg.INPUT.CROP
        return cls(
            augmentations=training_augmentations(cfg, metadata.ignore_label),
            seed=cfg.DATALOADER.MAPPER_SEED if cfg.DATALOADER.MAPPER_SEED >= 0 else seed,
            num_classes=num_classes,
            ignore_label=metadata.ignore_label,
            target_ignore_label=target_ignore,
            pad_to=(int(crop.SIZE[0]), int(crop.SIZE[1])) if crop.ENABLED else None,
            padding=cfg.INPUT.PADDING,
        )

    def __call__(self, draw: int, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Maps one sample.

        Args:
            draw: number of the draw since the start of the training; seeds the augmentation.
            dataset_dict: as for `read_pair`; not changed.

        Returns:
            "image" (3, h, w) uint8 RGB, "sem_seg" (h, w) int64, "height" and "width" of the original, "file_name"; of
            an episode also `EPISODE_KEYS`.

        Raises:
            ValueError: labels out of range, or an unreadable file.
        """
        image, labels = read_pair(dataset_dict)
        check_labels(labels, self.num_classes, self.ignore_label, label_name(dataset_dict))
        height, width = labels.shape
        with seeded_augmentation((self.seed, draw)):
            augmented = T.AugInput(image, sem_seg=labels)
            self.augmentations(augmented)
        image, labels = self._pad(augmented.image, augmented.sem_seg)
        target = torch.from_numpy(labels.astype(np.int64))
        if self.ignore_label != self.target_ignore_label:
            target[target == self.ignore_label] = self.target_ignore_label
        sample = {
            "image": _image_tensor(image),
            "sem_seg": target,
            "height": height,
            "width": width,
            "file_name": dataset_dict["file_name"],
        }
        return sample | {key: dataset_dict[key] for key in EPISODE_KEYS if key in dataset_dict}

    def _pad(self, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.pad_to is None:
            return image, labels
        bottom, right = (max(0, side - have) for side, have in zip(self.pad_to, labels.shape, strict=True))
        if not bottom and not right:
            return image, labels
        image = np.pad(image, ((0, bottom), (0, right), (0, 0)), constant_values=self.padding)
        return image, np.pad(labels, ((0, bottom), (0, right)), constant_values=self.ignore_label)


class SemSegTestMapper:
    """Resizes the image for the test; labels stay at their own size, where the scores are counted.

    The few-shot protocols count at a fixed square instead: there the labels are resized, too.
    """

    def __init__(self, *, short_side: int, max_side: int, square: int = 0) -> None:
        """Fixes the size.

        Args:
            short_side: of the image, in pixels; 0 keeps the image as it is.
            max_side: limit of the long side, in pixels.
            square: > 0 resizes image and labels to this square instead.
        """
        self.square = square
        self.resize = ResizeToSquare(square) if square else LabelSafeResizeShortestEdge(short_side, max_side)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "SemSegTestMapper":
        """Reads INPUT.MIN_SIZE_TEST (not where TEST.AUG has sizes of its own), MAX_SIZE_TEST and SQUARE_SIZE."""
        return cls(
            short_side=0 if cfg.TEST.AUG.ENABLED else cfg.INPUT.MIN_SIZE_TEST,
            max_side=cfg.INPUT.MAX_SIZE_TEST,
            square=cfg.INPUT.SQUARE_SIZE,
        )

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Maps one sample.

        Args:
            dataset_dict: as for `read_pair`, or without labels; not changed.

        Returns:
            "image" (3, h', w') uint8 RGB, "height" and "width" of the original (or the square), "file_name", and
            "sem_seg" (height, width) int64, the dataset's own labels, where there are any. Of an episode also
            `EPISODE_KEYS`.
        """
        labelled = "scene" in dataset_dict or "sem_seg_file_name" in dataset_dict
        image, labels = read_pair(dataset_dict) if labelled else (read_image(dataset_dict), None)
        resize = self.resize.get_transform(image)
        height, width = image.shape[:2]
        image = resize.apply_image(image)
        if self.square:
            height = width = self.square
            labels = None if labels is None else resize.apply_segmentation(labels)
        sample = {
            "image": _image_tensor(image),
            "height": height,
            "width": width,
            "file_name": dataset_dict["file_name"],
        }
        sample |= {key: dataset_dict[key] for key in EPISODE_KEYS if key in dataset_dict}
        if labels is not None:
            sample["sem_seg"] = torch.from_numpy(labels.astype(np.int64))
        return sample


def training_augmentations(cfg: CfgNode, ignore_label: int) -> list[T.Augmentation]:
    """Lists the training augmentations in order (section 7 of the recipe: size, crop, colour, flip).

    Args:
        cfg: INPUT.*.
        ignore_label: the dataset's; may fill more of a crop than INPUT.CROP.SINGLE_CATEGORY_MAX_AREA.

    Returns:
        Detectron2 augmentations.

    Raises:
        ValueError: INPUT.CROP.TYPE is not "absolute", or INPUT.RANDOM_FLIP is unknown.
    """
    crop = cfg.INPUT.CROP
    augmentations: list[T.Augmentation] = [_training_resize(cfg)]
    if crop.ENABLED:
        if crop.TYPE != "absolute":
            raise ValueError(f"INPUT.CROP.TYPE: got {crop.TYPE!r}, expected 'absolute' (batches need one size)")
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint("absolute", crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignore_label)
        )
    if cfg.INPUT.COLOR_JITTER:
        augmentations.append(SSDColorAugmentation())
    if cfg.INPUT.RANDOM_FLIP == "horizontal":
        augmentations.append(T.RandomFlip())
    elif cfg.INPUT.RANDOM_FLIP != "none":
        raise ValueError(f"INPUT.RANDOM_FLIP: got {cfg.INPUT.RANDOM_FLIP!r}, expected 'horizontal' or 'none'")
    return augmentations


def _training_resize(cfg: CfgNode) -> T.Augmentation:
    if cfg.INPUT.SQUARE_SIZE:
        return ResizeToSquare(cfg.INPUT.SQUARE_SIZE)
    if cfg.INPUT.LONG_SIDE_TRAIN:
        return ResizeLongEdge(*cfg.INPUT.LONG_SIDE_TRAIN)
    return LabelSafeResizeShortestEdge(
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    )


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
