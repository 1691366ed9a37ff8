"""Scores of the few-shot benchmarks: mIoU over the held-out classes, and FB-IoU (HSNet's protocol, 0-shot)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from openvocab.data.catalog import CATALOG
from openvocab.data.few_shot import FOLDS
from openvocab.evaluation.counting import PixelCounter
from openvocab.evaluation.result import ClassResult, Result
from openvocab.evaluation.statement import describe_model, describe_seen
from openvocab.evaluation.words import describe_words, training_words
from openvocab.vocab.cleaning import comparable

DENOMINATOR = "all held-out classes; one that no episode shows counts as 0"


class FewShotEvaluator(PixelCounter):
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
        seen: Sequence[bool] | None = None,
        statement: Mapping[str, Any] | None = None,
    ) -> None:
        """Fixes what is counted.

        Args:
            dataset_name: for messages and results.
            class_names: of the whole benchmark.
            class_ids: those that are scored.
            ignore_label: pixels that do not count.
            seen: for each of `class_ids`, whether training has named it; adds "mIoU-seen" and "mIoU-unseen".
            statement: put into the result.
        """
        self._class_names = tuple(class_names)
        self._class_ids = tuple(class_ids)
        self._ignore_label = ignore_label
        self._seen = None if seen is None else tuple(seen)
        super().__init__(dataset_name, statement)

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> "FewShotEvaluator":
        """Reads the metadata of a registered dataset of episodes.

        Args:
            cfg: MODEL.*, INPUT.*, TEST.*, DATASETS.TRAIN.
            dataset_name: its metadata hold episode_classes, episode_words, episode_class_ids, ignore_label, protocol.

        Returns:
            The evaluator.
        """
        metadata, trained = MetadataCatalog.get(dataset_name), training_words(cfg)
        statement = {"protocol": metadata.protocol, "vocabulary": describe_words(cfg, dataset_name, 2)}
        statement["vocabulary"] |= {"name": "per episode: 'others' and its class", "spelling": "prompts"}
        seen = None
        if trained:
            seen = [comparable(metadata.episode_words[index]) in trained[1] for index in metadata.episode_class_ids]
            statement["seen"] = describe_seen(trained[0], seen)
        return cls(
            dataset_name,
            class_names=metadata.episode_classes,
            class_ids=metadata.episode_class_ids,
            ignore_label=metadata.ignore_label,
            seen=seen,
            statement=statement | describe_model(cfg),
        )

    def zeros(self) -> dict[str, np.ndarray]:
        """Returns "intersection", "union" and "pixels" (N, 2: background, foreground), and "samples" ()."""
        counts = {name: np.zeros((len(self._class_names), 2), np.int64) for name in ("intersection", "union", "pixels")}
        return counts | {"samples": np.zeros((), np.int64)}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, torch.Tensor]]) -> None:
        """Counts the pixels of a batch.

        Args:
            inputs: with "sem_seg" (h, w), 0, 1 or the ignore label, and "class_id".
            outputs: with "labels" (h, w) or "sem_seg" (2, h, w), one for each input.

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
                    f"{self.dataset_name}, {item.get('file_name', 'an image')}: got a prediction of {channels} words, "
                    f"shape {predicted.shape}, labels {np.unique(labels).tolist()} of shape {labels.shape}; expected 2 "
                    f"words, equal shapes, and labels 0, 1 or {self._ignore_label}"
                )
            for value in (0, 1):
                wanted, got = (labels == value) & counted, (predicted == value) & counted
                place = (item["class_id"], value)
                self.counts["intersection"][place] += np.count_nonzero(wanted & got)
                self.counts["union"][place] += np.count_nonzero(wanted | got)
                self.counts["pixels"][place] += np.count_nonzero(wanted)
            self.counts["samples"] += 1

    def result(self, counts: Mapping[str, np.ndarray]) -> Result:
        """Computes the scores.

        Args:
            counts: as from `zeros`, over all episodes.

        Returns:
            The result.
        """
        classes = list(self._class_ids)
        intersection, union, pixels = (counts[name][classes] for name in ("intersection", "union", "pixels"))
        ious = 100 * intersection[:, 1] / np.maximum(union[:, 1], 1)
        both = 100 * intersection.sum(axis=0) / np.maximum(union.sum(axis=0), 1)
        scores = {"mIoU": float(ious.mean()), "FB-IoU": float(both.mean())}
        if self._seen is not None:
            seen = np.array(self._seen)
            for name, members in (("seen", seen), ("unseen", ~seen)):
                scores[f"mIoU-{name}"] = float(ious[members].mean()) if members.any() else float("nan")
        shown = int((pixels[:, 1] > 0).sum())
        statement = self.statement | {
            "denominator": {"classes": len(classes), "of": len(classes), "rule": DENOMINATOR, "shown": shown}
        }
        names = [self._class_names[index] for index in classes]
        rows = zip(names, ious.tolist(), pixels[:, 1].tolist(), self._seen or (None,) * len(names), strict=True)
        return Result(self.dataset_name, int(counts["samples"]), statement, scores,
                      tuple(ClassResult(*row) for row in rows))  # fmt: skip


def means_over_folds(results: Sequence[Result]) -> list[Result]:
    """Adds what the papers report: the mean over the folds of a benchmark.

    Args:
        results: of an evaluation.

    Returns:
        One for each few-shot benchmark whose test folds are all among the results: means of the folds' scores, and the
        classes of all folds.
    """
    found = {result.dataset: result for result in results}
    means = []
    for split in dict.fromkeys(entry.few_shot.split for entry in CATALOG if entry.few_shot):
        names = [entry.name for entry in CATALOG if entry.few_shot and entry.few_shot[:2] == (split, "test")]
        if len(names) == FOLDS and all(name in found for name in names):
            means.append(_mean(f"{split}_mean_of_folds", [found[name] for name in names]))
    return means


def _mean(name: str, folds: Sequence[Result]) -> Result:
    scores = {key: float(np.mean([fold.scores[key] for fold in folds])) for key in ("mIoU", "FB-IoU")}
    classes = sum(fold.statement["denominator"]["classes"] for fold in folds)
    statement = folds[0].statement | {
        "folds": [fold.dataset for fold in folds],
        "denominator": {"classes": classes, "of": classes, "rule": f"mean of the folds; in each {DENOMINATOR}"},
    }
    statement.pop("seen", None)
    rows = tuple(row for fold in folds for row in fold.classes)
    return Result(name, sum(fold.samples for fold in folds), statement, scores, rows)
