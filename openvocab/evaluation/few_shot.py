"""Scores of the few-shot benchmarks: mIoU over the held-out classes, and FB-IoU (HSNet's protocol, 0-shot)."""

import json
import logging
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

from openvocab.files import write_atomically

logger = logging.getLogger(__name__)


class FewShotEvaluator(DatasetEvaluator):
    """Counts pixels of episodes: one image, the words "others" and one class.

    Sums over all episodes of a class come first: mIoU is the mean over classes of (intersection / union) of the class;
    FB-IoU the mean over background and foreground of (sum of intersections / sum of unions).
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        class_names: Sequence[str],
        class_ids: Sequence[int],
        ignore_label: int,
        output_dir: str | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Fixes what is counted.

        Args:
            dataset_name: for messages and the file of results.
            class_names: of the whole benchmark.
            class_ids: those that are scored.
            ignore_label: pixels that do not count.
            output_dir: where `<dataset>_results.json` goes; None writes nothing.
            notes: put into the file of results.
        """
        self._dataset_name = dataset_name
        self._class_names = tuple(class_names)
        self._class_ids = tuple(class_ids)
        self._ignore_label = ignore_label
        self._output_dir = output_dir
        self._notes = dict(notes or {})
        self.reset()

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> "FewShotEvaluator":
        """Reads the metadata of a registered dataset of episodes.

        Args:
            cfg: OUTPUT_DIR, MODEL.WEIGHTS.
            dataset_name: its metadata hold episode_classes, episode_class_ids, ignore_label and protocol.

        Returns:
            The evaluator.
        """
        metadata = MetadataCatalog.get(dataset_name)
        return cls(
            dataset_name,
            class_names=metadata.episode_classes,
            class_ids=metadata.episode_class_ids,
            ignore_label=metadata.ignore_label,
            output_dir=cfg.OUTPUT_DIR,
            notes={
                "protocol": metadata.protocol,
                "weights": cfg.MODEL.WEIGHTS,
                "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
            },
        )

    def reset(self) -> None:
        """Forgets all counts."""
        shape = (len(self._class_names), 2)  # background, foreground
        self._intersection = np.zeros(shape, dtype=np.int64)
        self._union = np.zeros(shape, dtype=np.int64)
        self._episodes = 0

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, torch.Tensor]]) -> None:
        """Counts the pixels of a batch.

        Args:
            inputs: with "sem_seg" (h, w), 0, 1 or the ignore label, and "class_id".
            outputs: with "sem_seg" (2, h, w) or "labels" (h, w), one for each input.

        Raises:
            ValueError: a prediction of another size or number of channels, or labels out of range.
        """
        for item, output in zip(inputs, outputs, strict=True):
            labels = np.asarray(item["sem_seg"])
            predicted = (output["labels"] if "labels" in output else output["sem_seg"].argmax(dim=0)).cpu().numpy()
            channels = 2 if "labels" in output else len(output["sem_seg"])
            counted = labels != self._ignore_label
            if predicted.shape != labels.shape or channels != 2 or not np.isin(labels[counted], (0, 1)).all():
                raise ValueError(
                    f"{self._dataset_name}, {item.get('file_name', 'an image')}: got a prediction of {channels} words, "
                    f"shape {predicted.shape}, labels {np.unique(labels).tolist()} of shape {labels.shape}; expected 2 "
                    f"words, equal shapes, and labels 0, 1 or {self._ignore_label}")
            for value in (0, 1):
                wanted, got = (labels == value) & counted, (predicted == value) & counted
                self._intersection[item["class_id"], value] += np.count_nonzero(wanted & got)
                self._union[item["class_id"], value] += np.count_nonzero(wanted | got)
            self._episodes += 1

    def evaluate(self) -> OrderedDict | None:
        """Merges the processes, logs the scores and writes `<output>/<dataset>_results.json`.

        Returns:
            {"sem_seg": {"mIoU", "FB-IoU" in percent}} on rank 0, None on the others.
        """
        gathered = comm.gather((self._intersection, self._union, self._episodes))
        if not comm.is_main_process():
            return None
        intersection, union, episodes = (sum(parts[i] for parts in gathered) for i in range(3))
        intersection, union = (counts[list(self._class_ids)] for counts in (intersection, union))
        ious = 100 * intersection[:, 1] / np.maximum(union[:, 1], 1)
        both = 100 * intersection.sum(axis=0) / np.maximum(union.sum(axis=0), 1)
        scores = {"mIoU": float(ious.mean()), "FB-IoU": float(both.mean())}
        logger.info("%s, %d episodes: mIoU %.2f, FB-IoU %.2f", self._dataset_name, episodes, *scores.values())
        if self._output_dir:
            content = {
                "dataset": self._dataset_name,
                "episodes": episodes,
                **self._notes,
                "scores": {name: round(value, 4) for name, value in scores.items()},
                "classes": [
                    {"name": self._class_names[class_id], "iou": round(float(iou), 4)}
                    for class_id, iou in zip(self._class_ids, ious, strict=True)
                ],
            }
            path = Path(self._output_dir) / f"{self._dataset_name}_results.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
            logger.info("results written to %s", path)
        return OrderedDict({"sem_seg": scores})
