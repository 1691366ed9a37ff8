"""The evaluator of both methods: mIoU over any vocabulary, by groups of classes, beside the oracle of a grid."""

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from openvocab.evaluation.metrics import (
    class_ious,
    confusion_matrix,
    mean_iou,
    oracle_labels,
    summarize,
    summarize_groups,
)
from openvocab.files import write_atomically

logger = logging.getLogger(__name__)


class SemSegEvaluator(DatasetEvaluator):
    """Accumulates one integer confusion matrix over a dataset, in any number of processes.

    Takes `{"sem_seg": (T, h, w)}` scores (argmax, then `Vocabulary.channel_to_class`) or `{"labels": (h, w)}` class
    indices, -1 for "none of these". Inputs bring the true labels as "sem_seg" (h, w) at full size.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        class_names: Sequence[str],
        ignore_label: int,
        channel_to_class: Sequence[int] | None = None,
        class_groups: Mapping[str, Sequence[int]] | None = None,
        thing_ids: Sequence[int] | None = None,
        oracle_grid: int = 0,
        output_dir: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Fixes the protocol.

        Args:
            dataset_name: for messages and the file of results.
            class_names: N names, in the order of the labels.
            ignore_label: pixels that do not count.
            channel_to_class: class of each of the T channels; None: channel t is class t.
            class_groups: e.g. {"base": [...], "novel": [...]}, scored on their own as well.
            thing_ids: classes that are things; adds the groups "things" and "<group>-things".
            oracle_grid: side of a grid; > 0 adds the scores that true labels averaged to it would reach, and shares.
            output_dir: where `<dataset>_results.json` goes; None writes nothing.
            notes: put into the file of results (weights, synonym rule, ...).
        """
        self._dataset_name = dataset_name
        self._class_names = tuple(class_names)
        self._ignore_label = ignore_label
        self._channel_to_class = None if channel_to_class is None else np.asarray(channel_to_class, dtype=np.int64)
        self._groups = _with_things(class_groups or {}, thing_ids)
        self._oracle_grid = oracle_grid
        self._output_dir = output_dir
        self._notes = dict(notes or {})
        self.reset()

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> "SemSegEvaluator":
        """Reads the metadata of a registered dataset.

        Args:
            cfg: TEST.ORACLE_GRID, OUTPUT_DIR, MODEL.WEIGHTS.
            dataset_name: its metadata hold stuff_classes and ignore_label, and possibly vocabulary, class_groups and
                thing_ids.

        Returns:
            The evaluator.
        """
        metadata = MetadataCatalog.get(dataset_name)
        vocabulary = metadata.get("vocabulary", None)
        return cls(
            dataset_name,
            class_names=metadata.stuff_classes,
            ignore_label=metadata.ignore_label,
            channel_to_class=None if vocabulary is None else vocabulary.channel_to_class,
            class_groups=metadata.get("class_groups", None),
            thing_ids=metadata.get("thing_ids", None),
            oracle_grid=cfg.TEST.ORACLE_GRID,
            output_dir=cfg.OUTPUT_DIR,
            notes={
                "weights": cfg.MODEL.WEIGHTS,
                "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
                "synonyms": cfg.MODEL.VOCABULARY.SYNONYMS,
                "sliding_window": cfg.TEST.SLIDING_WINDOW.ENABLED,
            },
        )

    def reset(self) -> None:
        """Forgets all counts."""
        size = (len(self._class_names), len(self._class_names) + 1)
        self._confusion = np.zeros(size, dtype=np.int64)
        self._oracle = np.zeros(size, dtype=np.int64)
        self._images = 0

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, torch.Tensor]]) -> None:
        """Counts the pixels of a batch.

        Args:
            inputs: with "sem_seg" (h, w), the true labels, and "file_name".
            outputs: with "sem_seg" (T, h, w) or "labels" (h, w), one for each input.

        Raises:
            ValueError: no true labels, a prediction of another size, another number of channels, labels out of range.
        """
        for item, output in zip(inputs, outputs, strict=True):
            name = item.get("file_name", "an image")
            if "sem_seg" not in item:
                raise ValueError(f"{self._dataset_name}, {name}: got no labels, expected 'sem_seg' in the input")
            labels = np.asarray(item["sem_seg"])
            try:
                self._confusion += self._count(labels, self._predictions(output))
                if self._oracle_grid > 0:
                    self._oracle += self._count(labels, oracle_labels(labels, self._oracle_grid, self._ignore_label))
            except ValueError as error:
                raise ValueError(f"{self._dataset_name}, {name}: {error}") from error
            self._images += 1

    def evaluate(self) -> OrderedDict | None:
        """Merges the processes, logs a table and writes `<output>/<dataset>_results.json`.

        Returns:
            {"sem_seg": {score: percent}} on rank 0, None on the others.
        """
        gathered = comm.gather((self._confusion, self._oracle, self._images))
        if not comm.is_main_process():
            return None
        confusion, oracle = (sum(parts[i] for parts in gathered) for i in (0, 1))
        images = sum(parts[2] for parts in gathered)
        scores = summarize(confusion) | summarize_groups(confusion, self._groups)
        if self._oracle_grid > 0:
            scores |= self._oracle_scores(scores, oracle)
        logger.info("%s, %d images\n%s", self._dataset_name, images, _table(scores))
        self._log_classes(confusion)
        if self._output_dir:
            self._write(scores, confusion, images)
        return OrderedDict({"sem_seg": scores})

    def _count(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return confusion_matrix(labels, predictions, len(self._class_names), self._ignore_label)

    def _predictions(self, output: Mapping[str, torch.Tensor]) -> np.ndarray:
        if "labels" in output:
            return torch.as_tensor(output["labels"]).cpu().numpy()
        scores = output["sem_seg"]
        channels = len(self._class_names) if self._channel_to_class is None else len(self._channel_to_class)
        if scores.ndim != 3 or scores.shape[0] != channels:
            raise ValueError(f"sem_seg: got shape {tuple(scores.shape)}, expected ({channels}, h, w)")
        best = scores.argmax(dim=0).cpu().numpy()
        return best if self._channel_to_class is None else self._channel_to_class[best]

    def _oracle_scores(self, scores: Mapping[str, float], oracle: np.ndarray) -> dict[str, float]:
        best = {"mIoU": mean_iou(oracle)} | summarize_groups(oracle, self._groups)
        found = {f"oracle-{name}": value for name, value in best.items()}
        for name, value in best.items():
            found[f"share-{name}"] = 100 * scores[name] / value if value else float("nan")
        return found

    def _log_classes(self, confusion: np.ndarray) -> None:
        ious, pixels = 100 * class_ious(confusion), confusion.sum(axis=1)
        rows = [
            f"{name:<32}{iou:>8.2f}{count:>14,}"
            for name, iou, count in zip(self._class_names, ious, pixels, strict=True)
            if count
        ]
        logger.info("per class (%d of %d occur): IoU, pixels\n%s", len(rows), len(self._class_names), "\n".join(rows))

    def _write(self, scores: Mapping[str, float], confusion: np.ndarray, images: int) -> None:
        folder = Path(self._output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        ious = 100 * class_ious(confusion)
        content = {
            "dataset": self._dataset_name,
            "images": images,
            "oracle_grid": self._oracle_grid,
            **self._notes,
            "scores": {name: _json_number(value) for name, value in scores.items()},
            "classes": [
                {"name": name, "iou": _json_number(iou), "pixels": int(pixels)}
                for name, iou, pixels in zip(self._class_names, ious, confusion.sum(axis=1), strict=True)
            ],
        }
        path = folder / f"{self._dataset_name}_results.json"
        write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
        logger.info("results written to %s", path)


def _with_things(
    groups: Mapping[str, Sequence[int]], thing_ids: Sequence[int] | None
) -> dict[str, list[int]]:
    result = {name: list(classes) for name, classes in groups.items()}
    if thing_ids is not None:
        things = set(thing_ids)
        result |= {f"{name}-things": [c for c in classes if c in things] for name, classes in groups.items()}
        result["things"] = sorted(things)
    return result


def _table(scores: Mapping[str, float]) -> str:
    return "\n".join(f"{name:<32}{value:>8.2f}" for name, value in scores.items())


def _json_number(value: float) -> float | None:
    value = float(value)
    return None if math.isnan(value) else round(value, 4)
