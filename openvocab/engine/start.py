"""The model that a training started from, which says what it saw of other words: so that they are not forgotten.

Learning without forgetting (arXiv 1606.09282), for words instead of tasks. Shape letters: K words that are kept.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from openvocab.assets import weights_path
from openvocab.checkpoint.load import Unfilled, load_weights
from openvocab.console import counted
from openvocab.engine.global_batch import MicroBatch
from openvocab.engine.setup import build_model
from openvocab.evaluation.words import training_words, vocabulary_of
from openvocab.interfaces import KeptWords, TextFeatures
from openvocab.model import OpenVocabularyModel
from openvocab.versions import digest_of_parameters
from openvocab.vocab.cleaning import comparable
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary

logger = logging.getLogger(__name__)

KEY = "start_sha256"
"""Of a checkpoint: which weights its training started from."""


class Start:
    """Adds to training inputs what the model said of other words before it was trained.

    Args:
        model: that answers as it does in training; its weights are never changed.
        words: that are kept.
        sample: K, how many of them are asked for in a step.

    Attributes:
        record: entry of the training's checkpoints.
    """

    def __init__(self, model: OpenVocabularyModel, words: Vocabulary, sample: int):
        self.record = {KEY: digest_of_parameters(model)}
        # In training mode, which computes otherwise: class aggregation pools. The difference would count as forgotten.
        self._model, self._words, self._sample = model.train().requires_grad_(False), words, min(sample, len(words))

    @classmethod
    def from_config(cls, cfg: CfgNode, earlier: dict[str, Any] | None) -> "Start | None":
        """Loads MODEL.WEIGHTS once more.

        Args:
            cfg: SOLVER.KEEP, MODEL, the training's words.
            earlier: content of the checkpoint that the training goes on with, or None.

        Returns:
            None where SOLVER.KEEP.WEIGHT is 0.

        Raises:
            ValueError: a method that cannot do it, other weights than the training started from, or no words
                but those that are trained.
        """
        if not cfg.SOLVER.KEEP.WEIGHT:
            return None
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.CLIP.RANK = 0
        with Unfilled():
            model = build_model(cfg)
        if not getattr(model, "keeps_words", False):
            raise ValueError(
                f"SOLVER.KEEP.WEIGHT: got {cfg.SOLVER.KEEP.WEIGHT} for {type(model).__name__}, expected "
                "0: words are kept for CATSeg alone"
            )
        trained = load_weights(model, weights_path(cfg.MODEL.WEIGHTS))
        start = cls(model, _kept_words(cfg, trained), cfg.SOLVER.KEEP.SAMPLE)
        if earlier is not None and earlier.get(KEY) != start.record[KEY]:
            raise ValueError(
                f"MODEL.WEIGHTS: got {cfg.MODEL.WEIGHTS}, expected the weights that the training which "
                "goes on started from: SOLVER.KEEP asks them what they see"
            )
        logger.info("SOLVER.KEEP: %s of %s are kept, %d in each step", counted(start._words.names, "words"),
                    cfg.MODEL.WEIGHTS, start._sample)  # fmt: skip
        return start

    def ask(self, parts: Sequence[MicroBatch], seed: int, step: int) -> list[MicroBatch]:
        """Adds answers to inputs, for the same words in all processes.

        Args:
            parts: micro-batches of this process.
            seed: of the words that are drawn.
            step: number of the global batch.

        Returns:
            The micro-batches, with "kept" in their inputs.
        """
        drawn = np.random.default_rng((seed, step, 1)).permutation(len(self._words))[: self._sample].tolist()
        words = _of_entries([self._words.entries[index] for index in drawn], self._words.synonyms)
        with torch.no_grad():
            text = TextFeatures(self._model.text_features(self._words).embeddings[drawn])
            return [self._answered(part, words, text) for part in parts]

    def _answered(self, part: MicroBatch, words: Vocabulary, text: TextFeatures) -> MicroBatch:
        logits = self._model.training_logits([item["image"] for item in part.inputs], text)
        answers = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
        return part._replace(
            inputs=[
                item | {"kept": KeptWords(words, answer)} for item, answer in zip(part.inputs, answers, strict=True)
            ]
        )


def require_start(cfg: CfgNode) -> None:
    """Checks that there is something to keep, before a model is built.

    Args:
        cfg: of the training.

    Raises:
        ValueError: SOLVER.KEEP.WEIGHT without MODEL.WEIGHTS.
    """
    if cfg.SOLVER.KEEP.WEIGHT and not cfg.MODEL.WEIGHTS:
        raise ValueError(
            f"SOLVER.KEEP.WEIGHT: got {cfg.SOLVER.KEEP.WEIGHT} without MODEL.WEIGHTS, expected the "
            "checkpoint whose words are to be kept"
        )


def _kept_words(cfg: CfgNode, trained: TrainedWords | None) -> Vocabulary:
    """Words of SOLVER.KEEP.WORDS, or of the checkpoint, but those that are trained now."""
    named, rule = cfg.SOLVER.KEEP.WORDS, cfg.MODEL.VOCABULARY.SYNONYMS
    if not named and (trained is None or not trained.seen):
        raise ValueError(
            f"SOLVER.KEEP.WORDS: got none, and {cfg.MODEL.WEIGHTS} does not say which words it was "
            "trained on; expected the words that are to be kept: a dataset's name, or as for "
            "MODEL.VOCABULARY.TRAIN"
        )
    words = _named(cfg, named) if named else Vocabulary.from_words(sorted(trained.seen))
    words = words.with_synonyms(rule)
    own = training_words(cfg)
    rest = [entry for entry in words.entries if own is None or not own[1].intersection(map(comparable, entry))]
    if not rest:
        raise ValueError(f"SOLVER.KEEP.WORDS: got {len(words)} words that are all trained, expected others")
    return _of_entries(rest, words.synonyms)


def _named(cfg: CfgNode, name: str) -> Vocabulary:
    words = cfg.MODEL.VOCABULARY
    of_dataset = vocabulary_of(name, words.WORDS) if name in DatasetCatalog else None
    return of_dataset or named_vocabulary(name, words.SYNONYMS)


def _of_entries(entries: Sequence[tuple[str, ...]], synonyms: str | None) -> Vocabulary:
    return Vocabulary(tuple(entries), tuple(entry[0] for entry in entries), synonyms=synonyms)
