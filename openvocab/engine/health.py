"""Tells a training early what it is fed and whether it learns: before the first step, after some, at evaluations."""

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import hooks
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openvocab.data.label_counts import LabelCounts
from openvocab.data.loader import TrainingData, TrainLoader
from openvocab.engine.errors import failing_together
from openvocab.engine.first_look import FixedPictures
from openvocab.engine.shifted import shifted_labels
from openvocab.engine.verdict import Findings
from openvocab.model import OpenVocabularyModel
from openvocab.vocab.sampling import chance_to_be_named

logger = logging.getLogger(__name__)

LAST = 50  # steps whose losses are compared with a constant answer; at most half of TEST.HEALTH_STEPS
AGREEMENT = "agreement_at_start"  # entry of a checkpoint


class CountedBatches:
    """Hands a loader's batches on, and counts the labels of the last ones of this process."""

    def __init__(self, loader: TrainLoader, ignore_label: int, most: int) -> None:
        """Begins with none.

        Args:
            loader: without end.
            ignore_label: of the samples.
            most: batches that are kept.
        """
        self._loader, self._ignore_label, self.counts = loader, ignore_label, deque(maxlen=most)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yields the batches."""
        for batch in self._loader:
            counts = LabelCounts(len(self._loader.about.labels.pixels))
            for sample in batch:
                counts.add(sample["sem_seg"].numpy(), self._ignore_label)
            self.counts.append(counts)
            yield batch


class HealthHook(hooks.HookBase):
    """Logs what was found and puts it into metrics.json as `health/...`.

    The means are over the steps of this process: after a resumption they begin anew.

    Args:
        cfg: TEST.HEALTH_STEPS, TEST.EVAL_PERIOD, MODEL.CLIP.PRETRAINED, MODEL.SEM_SEG_HEAD.IGNORE_VALUE, and what
            `FixedPictures` reads.
    """

    def __init__(self, cfg: CfgNode) -> None:
        self._cfg, self._steps = cfg, cfg.TEST.HEALTH_STEPS
        self._losses: deque[float] = deque(maxlen=max(1, min(LAST, self._steps // 2)))
        self._batches: CountedBatches | None = None
        self._pictures: FixedPictures | None = None
        self._compares = False
        self._at_start: float | None = None

    def begin(self, model: nn.Module, loader: TrainLoader, earlier: Mapping[str, Any]) -> CountedBatches | TrainLoader:
        """Looks at labels, words and model before the first step; every process enters it, the first one looks.

        Args:
            model: possibly wrapped.
            loader: of the training.
            earlier: further entries of the checkpoint that it goes on with, or none.

        Returns:
            What the training takes its batches from.

        Raises:
            ValueError: more labels than words, or a picture that cannot be read.
        """
        model = model.module if isinstance(model, DistributedDataParallel) else model
        logger.info("%s", loader.about.labels.table(loader.about.metadata.stuff_classes))
        if not isinstance(model, OpenVocabularyModel):
            logger.info("%s is none of the package's methods: whether it learns is not looked at", type(model).__name__)
            return loader
        _check_words(model, loader.about)
        with failing_together():
            if comm.is_main_process():
                self._look(model, loader.about, earlier.get(AGREEMENT))
        if not self._steps or not comm.is_main_process():
            return loader
        ignore_label = self._cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        self._batches = CountedBatches(loader, ignore_label, self._losses.maxlen)
        return self._batches

    def at_start(self) -> dict[str, float]:
        """Entries of a checkpoint, for `begin` of a run that goes on with it."""
        return {} if self._at_start is None else {AGREEMENT: self._at_start}

    def after_step(self) -> None:
        """Keeps the loss; looks again where it is time."""
        if self._batches is None:
            return
        latest = self.trainer.storage.latest()
        self._losses.append(latest.get("loss_sem_seg", latest["total_loss"])[0])  # alone, it stands as the total only
        done, period = self.trainer.iter + 1, self._cfg.TEST.EVAL_PERIOD
        if done in (self._steps, self.trainer.max_iter) or (period > 0 and done % period == 0):
            self._check(done)

    def _look(self, model: OpenVocabularyModel, data: TrainingData, at_start: float | None) -> None:
        self._pictures = FixedPictures(self._cfg, data)
        self._compares = self._knows_words(model)
        if not self._compares:
            return
        confusion = self._pictures.most_similar(model)
        agreement = _agreement(confusion)
        logger.info("before the first step the most similar word is right at %.1f %% of the pixels of %d training "
                    "pictures", 100 * agreement, len(data.some))  # fmt: skip
        self._at_start = agreement if at_start is None else at_start
        if shifted := shifted_labels(confusion, self._pictures.names):
            logger.warning("%s", shifted)

    def _knows_words(self, model: OpenVocabularyModel) -> bool:
        """Tells whether the model's similarity of pixels and words means anything before training."""
        if model.is_random and not (model.similarity_is_clips and self._cfg.MODEL.CLIP.PRETRAINED):
            logger.info("the model starts without knowledge of words: labels are not compared with what it sees")
            return False
        try:
            model.check_seen_once()
        except ValueError as error:
            logger.info("labels are not compared with what the model sees: %s", error)
            return False
        return True

    def _check(self, done: int) -> None:
        model = self.trainer.model
        model = model.module if isinstance(model, DistributedDataParallel) else model
        found = Findings(
            loss=float(np.mean(self._losses)),
            constant=constant_answer(model, self._batches.counts),
            confusion=self._pictures.predicted(model),
            agreement=_agreement(self._pictures.most_similar(model)) if self._compares else None,
            agreement_at_start=self._at_start,
        )
        logger.info("after %d iterations: %s", done, found.line())
        numbers = {"constant_answer": found.constant, "classes_predicted": found.predicted_share}
        numbers |= {} if found.agreement is None else {"words_agree": found.agreement}
        self.trainer.storage.put_scalars(smoothing_hint=False, **{f"health/{key}": numbers[key] for key in numbers})
        if done >= self._steps and (warning := found.warning()):
            logger.warning("%s", warning)


def constant_answer(model: OpenVocabularyModel, batches: deque[LabelCounts]) -> float:
    """Computes what the best answer that ignores the picture would have lost on some batches.

    Args:
        model: whose loss is meant.
        batches: counts of each, one or more.
    """
    total = LabelCounts(len(batches[0].pixels))
    total.pixels, total.ignored = sum(counts.pixels for counts in batches), sum(counts.ignored for counts in batches)
    in_batch = torch.from_numpy(np.mean([counts.pixels > 0 for counts in batches], axis=0))
    named = chance_to_be_named(in_batch, model.vocabulary.train_sample)
    return model.constant_loss(torch.from_numpy(total.shares), total.ignored_share, named)


def _agreement(confusion: np.ndarray) -> float:
    return float(np.trace(confusion) / max(1, confusion.sum()))


def _check_words(model: OpenVocabularyModel, data: TrainingData) -> None:
    """A list that is too short would be an error as soon as the first such label is drawn, maybe after hours."""
    words, names = model.vocabulary.train, data.metadata.stuff_classes
    if words is None or len(words) == len(names):
        return
    text = f"MODEL.VOCABULARY.TRAIN: got {len(words)} words, expected {len(names)}, the classes of {data.metadata.name}"
    if len(words) < len(names):
        raise ValueError(text)
    logger.warning("%s: no label stands for the last %d", text, len(words) - len(names))
