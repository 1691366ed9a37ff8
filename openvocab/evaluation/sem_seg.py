"""The evaluator of both methods: mIoU over any vocabulary, by groups of classes, beside the oracle of a grid."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from openvocab.data.catalog import MEAN_IOU
from openvocab.evaluation.counting import PixelCounter
from openvocab.evaluation.metrics import (
    DENOMINATOR,
    OLDER_DENOMINATOR,
    class_ious,
    confusion_matrix,
    mean_iou,
    oracle_labels,
    summarize,
    summarize_groups,
)
from openvocab.evaluation.predictions import PredictionFiles
from openvocab.evaluation.result import ClassResult, Result
from openvocab.evaluation.statement import describe_model, describe_seen
from openvocab.evaluation.words import describe_words, seen_classes, training_words, words_for_test


class SemSegEvaluator(PixelCounter):
    """Accumulates one integer confusion matrix over a dataset, in any number of processes.

    Takes `{"labels": (h, w)}` class indices, -1 for "none of these", or `{"sem_seg": (N, h, w)}` scores, one
    channel per class. Inputs bring the true labels as "sem_seg" (h, w) at full size.

    Attributes:
        predictions: where the label maps are written as well; None for nowhere.
    """

    predictions: PredictionFiles | None = None

    def __init__(
        self,
        dataset_name: str,
        *,
        class_names: Sequence[str],
        ignore_label: int,
        class_groups: Mapping[str, Sequence[int]] | None = None,
        thing_ids: Sequence[int] | None = None,
        seen: Sequence[bool] | None = None,
        oracle_grid: int = 0,
        statement: Mapping[str, Any] | None = None,
    ) -> None:
        """Fixes the protocol.

        Args:
            dataset_name: for messages and results.
            class_names: N names, in the order of the labels.
            ignore_label: pixels that do not count.
            class_groups: e.g. {"base": [...], "novel": [...]}, scored on their own as well.
            thing_ids: classes that are things; adds the groups "things" and "<group>-things".
            seen: for each class, whether training has named it; adds "mIoU-seen" and "mIoU-unseen".
            oracle_grid: side of a grid; > 0 adds the scores that true labels averaged to it would reach, and shares.
            statement: put into the result (protocol, vocabulary, weights, ...).
        """
        self._class_names = tuple(class_names)
        self._ignore_label = ignore_label
        self._groups = _with_things(class_groups or {}, thing_ids)
        self._seen = None if seen is None else tuple(seen)
        self._oracle_grid = oracle_grid
        super().__init__(dataset_name, statement)

    @classmethod
    def from_config(cls, cfg: CfgNode, dataset_name: str) -> "SemSegEvaluator":
        """Reads the metadata of a registered dataset.

        Args:
            cfg: TEST.*, MODEL.*, DATASETS.TRAIN.
            dataset_name: its metadata hold stuff_classes and ignore_label, and possibly vocabulary, class_groups,
                thing_ids and protocol.

        Returns:
            The evaluator.

        Raises:
            ValueError: the words of MODEL.VOCABULARY.TEST are not as many as the classes.
        """
        metadata = MetadataCatalog.get(dataset_name)
        vocabulary, trained = words_for_test(cfg, dataset_name), training_words(cfg)
        if vocabulary is not None and len(vocabulary.names) != len(metadata.stuff_classes):
            raise ValueError(
                f"dataset {dataset_name}: got words for {len(vocabulary.names)} classes, expected "
                f"{len(metadata.stuff_classes)} (MODEL.VOCABULARY.TEST)"
            )
        seen = seen_classes(vocabulary, trained[1]) if vocabulary is not None and trained else None
        statement = {"protocol": metadata.get("protocol", MEAN_IOU)}
        if vocabulary is not None:
            statement["vocabulary"] = describe_words(cfg, dataset_name, len(vocabulary))
        if seen is not None:
            statement["seen"] = describe_seen(trained[0], seen)
        return cls(
            dataset_name,
            class_names=metadata.stuff_classes,
            ignore_label=metadata.ignore_label,
            class_groups=metadata.get("class_groups", None),
            thing_ids=metadata.get("thing_ids", None),
            seen=seen,
            oracle_grid=cfg.TEST.ORACLE_GRID,
            statement=statement | describe_model(cfg),
        )

    def zeros(self) -> dict[str, np.ndarray]:
        """Returns "confusion" (N, N + 1), with `oracle_grid` also "oracle" (N, N + 1), and "samples" ()."""
        names = ("confusion", "oracle") if self._oracle_grid > 0 else ("confusion",)
        size = (len(self._class_names), len(self._class_names) + 1)
        return {name: np.zeros(size, np.int64) for name in names} | {"samples": np.zeros((), np.int64)}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, torch.Tensor]]) -> None:
        """Counts the pixels of a batch.

        Args:
            inputs: with "sem_seg" (h, w), the true labels, and "file_name".
            outputs: with "labels" (h, w) or "sem_seg" (N, h, w), one for each input.

        Raises:
            ValueError: no true labels, a prediction of another size, another number of channels, labels out of range.
            OSError: a label map cannot be written.
        """
        for item, output in zip(inputs, outputs, strict=True):
            name = item.get("file_name", "an image")
            if "sem_seg" not in item:
                raise ValueError(f"{self.dataset_name}, {name}: got no labels, expected 'sem_seg' in the input")
            labels = np.asarray(item["sem_seg"])
            try:
                predicted = self._predictions(output)
                self.counts["confusion"] += self._count(labels, predicted)
                if self._oracle_grid > 0:
                    best = oracle_labels(labels, self._oracle_grid, self._ignore_label)
                    self.counts["oracle"] += self._count(labels, best)
            except ValueError as error:
                raise ValueError(f"{self.dataset_name}, {name}: {error}") from error
            if self.predictions is not None:
                self.predictions.write(item["file_name"], predicted)
            self.counts["samples"] += 1

    def result(self, counts: Mapping[str, np.ndarray]) -> Result:
        """Computes the scores.

        Args:
            counts: as from `zeros`, over all images.

        Returns:
            The result, with the number of classes in each mean.
        """
        confusion = counts["confusion"]
        scores = summarize(confusion) | summarize_groups(confusion, self._groups)
        if self._oracle_grid > 0:
            scores |= self._oracle_scores(scores, counts["oracle"])
        pixels, ious = confusion.sum(axis=1), 100 * class_ious(confusion)
        statement = self.statement | {
            "denominator": {"classes": int((pixels > 0).sum()), "of": len(pixels), "rule": DENOMINATOR},
            "older_denominator": {"classes": int((~np.isnan(ious)).sum()), "of": len(pixels),
                                  "rule": OLDER_DENOMINATOR},
        }  # fmt: skip
        if self._oracle_grid > 0:
            statement["oracle_grid"] = self._oracle_grid
        if self._seen is not None:
            groups = {"seen": np.flatnonzero(self._seen), "unseen": np.flatnonzero(np.logical_not(self._seen))}
            scores |= summarize_groups(confusion, groups)
            in_mean = {f"{name}_in_mean": int((pixels[members] > 0).sum()) for name, members in groups.items()}
            statement["seen"] = {**statement.get("seen", {}), **in_mean}
        seen = self._seen or (None,) * len(pixels)
        rows = zip(self._class_names, ious.tolist(), pixels.tolist(), seen, strict=True)
        return Result(self.dataset_name, int(counts["samples"]), statement, scores,
                      tuple(ClassResult(*row) for row in rows))  # fmt: skip

    def _count(self, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return confusion_matrix(labels, predictions, len(self._class_names), self._ignore_label)

    def _predictions(self, output: Mapping[str, torch.Tensor]) -> np.ndarray:
        if "labels" in output:
            return torch.as_tensor(output["labels"]).cpu().numpy()
        scores = output["sem_seg"]
        if scores.ndim != 3 or scores.shape[0] != len(self._class_names):
            raise ValueError(f"sem_seg: got shape {tuple(scores.shape)}, expected ({len(self._class_names)}, h, w)")
        return scores.argmax(dim=0).cpu().numpy()

    def _oracle_scores(self, scores: Mapping[str, float], oracle: np.ndarray) -> dict[str, float]:
        best = {"mIoU": mean_iou(oracle)} | summarize_groups(oracle, self._groups)
        found = {f"oracle-{name}": value for name, value in best.items()}
        for name, value in best.items():
            found[f"share-{name}"] = 100 * scores[name] / value if value else float("nan")
        return found


def _with_things(groups: Mapping[str, Sequence[int]], thing_ids: Sequence[int] | None) -> dict[str, list[int]]:
    result = {name: list(classes) for name, classes in groups.items()}
    if thing_ids is not None:
        things = set(thing_ids)
        result |= {f"{name}-things": [c for c in classes if c in things] for name, classes in groups.items()}
        result["things"] = sorted(things)
    return result
