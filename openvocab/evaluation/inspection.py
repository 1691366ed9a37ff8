"""Sheets of what an evaluation got wrong: picture, truth, prediction and errors, the worst image first."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from openvocab.data.mapper import SemSegTestMapper
from openvocab.engine.setup import build_cfg
from openvocab.evaluation.metrics import confusion_matrix, summarize
from openvocab.evaluation.predictions import FOLDER, PredictionFiles
from openvocab.inference import sheets
from openvocab.inference.fonts import ELLIPSIS
from openvocab.inference.legend import Entry, colours

logger = logging.getLogger(__name__)

TITLES = ("picture", "truth", "prediction", "errors (red; black: not counted)")
_NAME_LENGTH = 24  # letters
_CONFIGS = ("config_evaluation.yaml", "config.yaml")  # what a job leaves, see openvocab.engine.folder
RULE = "lowest mean IoU over the classes of the image's own truth first"


def config_of(folder: Path) -> CfgNode:
    """Reads the config that an evaluation has left.

    Args:
        folder: its OUTPUT_DIR, which may have been moved since.

    Returns:
        The config, with OUTPUT_DIR as it is now.

    Raises:
        ValueError: there is none, or one without TEST.PREDICTIONS.
    """
    found = [folder / name for name in _CONFIGS if (folder / name).is_file()]
    if not found:
        raise ValueError(f"{folder}: got no {' or '.join(_CONFIGS)}, expected the OUTPUT_DIR of an evaluation")
    cfg = build_cfg(found[0])
    if not cfg.TEST.PREDICTIONS:  # label maps that lie there all the same are of other weights or settings
        raise ValueError(f"{found[0]}: got TEST.PREDICTIONS False, expected an evaluation that kept its label maps")
    cfg.OUTPUT_DIR = str(folder)
    return cfg


def datasets_of(folder: Path) -> list[str]:
    """Lists the datasets of which an evaluation has left label maps.

    Args:
        folder: its OUTPUT_DIR.

    Returns:
        Names, at least one.

    Raises:
        ValueError: there is none.
    """
    place = folder / FOLDER
    names = sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    if not names:
        raise ValueError(f"{place}: got no label maps, expected those of an evaluation with TEST.PREDICTIONS True")
    return names


class Scored(NamedTuple):
    """One image.

    Attributes:
        sample: its dataset dict.
        miou: percent, over the classes of its own truth; NaN where nothing counts.
        accuracy: percent of the pixels that count.
    """

    sample: Mapping[str, Any]
    miou: float
    accuracy: float


class Inspection:
    """What one dataset's evaluation has left, image by image."""

    def __init__(self, cfg: CfgNode, name: str, samples: Sequence[Mapping[str, Any]], files: PredictionFiles) -> None:
        """Takes the parts together.

        Args:
            cfg: of the evaluation: INPUT.SQUARE_SIZE.
            name: of the dataset, registered.
            samples: its dicts.
            files: its label maps, some of which may be missing.

        Raises:
            ValueError: all of them are missing.
        """
        metadata = MetadataCatalog.get(name)
        self._name, self._files = name, files
        self._classes, self._ignore_label = metadata.stuff_classes, metadata.ignore_label
        self._read = SemSegTestMapper(short_side=0, max_side=0, square=cfg.INPUT.SQUARE_SIZE)
        missing = set(files.missing(len(samples)))
        self.samples = [sample for sample in samples if files.path_of(sample["file_name"]) not in missing]
        if not self.samples:
            raise ValueError(f"{files.folder}: got no label map, expected those of an evaluation with TEST.PREDICTIONS")
        if missing:
            logger.warning(
                "%s: got %d of %d label maps, the evaluation has not ended", name, len(self.samples), len(samples)
            )

    def worst_first(self) -> list[Scored]:
        """Scores every image.

        Returns:
            In ascending order of the mean IoU; images of which nothing counts come last.

        Raises:
            ValueError: labels or a label map that cannot be read, or that do not fit; names the file.
        """
        found = []
        for sample in tqdm(self.samples, self._name, unit="image", delay=2, leave=False, disable=None):
            _, truth, predicted = self._maps(sample)
            try:
                confusion = confusion_matrix(truth, predicted, len(self._classes), self._ignore_label)
            except ValueError as error:
                raise ValueError(f"{self._files.path_of(sample['file_name'])}: {error}") from error
            scores = summarize(confusion)
            found.append(Scored(sample, scores["mIoU"], scores["pACC"]))
        return sorted(found, key=lambda image: (math.isnan(image.miou), image.miou))

    def sheet(self, images: Sequence[Scored], first: int) -> np.ndarray:
        """Draws a sheet, on which a colour means the same class in every row.

        Args:
            images: one or more.
            first: place of the first one in the order of all, from 1.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        maps = [self._maps(image.sample) for image in images]
        areas = [self._areas(truth, predicted) for _, truth, predicted in maps]
        total, rows = sum(pair.sum(axis=0) for pair in areas), []
        place = {label: rank for rank, label in enumerate(np.argsort(-total, kind="stable").tolist()) if total[label]}
        for number, (image, (picture, truth, predicted), area) in enumerate(zip(images, maps, areas), start=first):
            panels = [picture, sheets.numbered(picture, truth, place), sheets.numbered(picture, predicted, place),
                      sheets.errors(picture, truth, predicted, self._ignore_label)]  # fmt: skip
            rows.append(sheets.row(panels, self._caption(image, number, truth.shape), self._legend(area, place)))
        heading = (
            f"{self._name}: {RULE}; {first} to {first + len(images) - 1} of {len(self.samples)}",
            "Below each row: number and word of a class, its share of the truth → of the prediction in %",
        )
        return sheets.page(heading, TITLES, rows)

    def _maps(self, sample: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reads picture (h, w, 3), truth (h, w) and prediction (h, w), at the size at which they were counted."""
        read = self._read(dict(sample))
        picture = np.ascontiguousarray(read["image"].numpy().transpose(1, 2, 0))
        return picture, read["sem_seg"].numpy(), self._files.read(sample["file_name"])

    def _areas(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Counts pixels, (2, N): of the truth and of the prediction, where they count."""
        counted = truth != self._ignore_label
        return np.stack([np.bincount(labels[counted & (labels >= 0)], minlength=len(self._classes))
                         for labels in (truth, predicted)])  # fmt: skip

    def _legend(self, area: np.ndarray, place: Mapping[int, int]) -> list[Entry]:
        table, share = colours(len(place)), 100 * area / max(1, area[0].sum())
        present = np.flatnonzero(area.sum(axis=0))
        return [Entry(f"{label} {self._short(label)} {_percent(share[0, label])} → {_percent(share[1, label])}",
                      tuple(table[place[label]]))
                for label in sorted(present.tolist(), key=lambda label: -area[:, label].max())]  # fmt: skip

    def _short(self, label: int) -> str:
        """One long name (ADE20K's have lines of synonyms) would leave room for a single column."""
        name = self._classes[label]
        return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + ELLIPSIS

    def _caption(self, image: Scored, number: int, size: tuple[int, int]) -> str:
        score = f"mIoU {image.miou:.1f} %, pixel accuracy {image.accuracy:.1f} %"
        if math.isnan(image.miou):
            score = "no pixel counts"
        return f"{number}. {score}, {size[0]} x {size[1]} (h x w): {image.sample['file_name']}"


def _percent(share: float) -> str:
    """A few pixels are not none."""
    return "<0.1" if 0 < share < 0.05 else f"{share:.1f}" if share else "0"
