"""A few training pictures, always the same ones, and what a model makes of them before and while it is trained."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.evaluation.evaluator import inference_context
from torch import Tensor

from openvocab.data.loader import TrainingData
from openvocab.data.mapper import SemSegTestMapper
from openvocab.data.reading import unreadable
from openvocab.engine.rng import preserved_rng
from openvocab.evaluation.metrics import confusion_matrix
from openvocab.interfaces import TextFeatures
from openvocab.model import OpenVocabularyModel
from openvocab.vocab.vocabulary import Vocabulary, as_vocabulary

logger = logging.getLogger(__name__)

_SIDE = 128  # pixels; CLIP's grid of tokens has fewer
_WORDS = 64  # compared at a time: all cosines of 847 words would take gigabytes


class FixedPictures:
    """Training pictures as an evaluation sees them, with the words of the training.

    Attributes:
        names: T words, of the dataset.
    """

    def __init__(self, cfg: CfgNode, data: TrainingData) -> None:
        """Reads the pictures.

        Args:
            cfg: INPUT.*, TEST.AUG, DATALOADER.SKIP_UNREADABLE.
            data: of the training.

        Raises:
            ValueError: one cannot be read, and none may be left out.
        """
        self.names, self._ignore_label = data.metadata.stuff_classes, data.metadata.ignore_label
        read = SemSegTestMapper.from_config(cfg)
        self._samples = [read(item) for item in data.some
                         if not (cfg.DATALOADER.SKIP_UNREADABLE and unreadable(item))]  # fmt: skip

    def most_similar(self, model: OpenVocabularyModel) -> np.ndarray:
        """Counts which word every pixel is most similar to, before anything is aggregated (`similarity`).

        Args:
            model: in any mode, which it keeps, as random states keep theirs.

        Returns:
            (T, T + 1) pixels, see `confusion_matrix`; at most `_SIDE` pixels of each side are looked at.
        """

        def answer(sample: Mapping[str, Any], words: Vocabulary) -> np.ndarray:
            size = tuple(min(_SIDE, side) for side in sample["sem_seg"].shape)
            return _most_similar(model, sample["image"], size, model.text_features(words)).cpu().numpy()

        return self._confusion(model, answer)

    def predicted(self, model: OpenVocabularyModel) -> np.ndarray:
        """Counts which word the whole model gives every pixel.

        Args:
            model: as for `most_similar`.

        Returns:
            (T, T + 1) pixels, see `confusion_matrix`.
        """

        def answer(sample: Mapping[str, Any], words: Vocabulary) -> np.ndarray:
            return model([sample | {"vocabulary": words, "output": "labels"}])[0]["labels"].cpu().numpy()

        return self._confusion(model, answer)

    def _confusion(self, model: OpenVocabularyModel, answer: Any) -> np.ndarray:
        total = np.zeros((len(self.names), len(self.names) + 1), np.int64)
        with preserved_rng(), inference_context(model), torch.no_grad():
            for sample, words in self._with_words(model):
                found = answer(sample, words)
                found[found >= len(self.names)] = -1  # words beyond the labels
                labels = sample["sem_seg"].numpy()[_nearest(sample["sem_seg"].shape, found.shape)]
                total += confusion_matrix(labels, found, len(self.names), self._ignore_label)
        return total

    def _with_words(self, model: OpenVocabularyModel) -> Iterator[tuple[Mapping[str, Any], Vocabulary]]:
        """Yields the pictures whose words are known."""
        for sample in self._samples:
            words = sample.get("vocabulary", model.vocabulary.train)
            if words is not None:
                yield sample, as_vocabulary(words)


def _most_similar(model: OpenVocabularyModel, image: Tensor, size: tuple[int, int], text: TextFeatures) -> Tensor:
    seen, parts = model.see(image), text.embeddings.split(_WORDS)
    best, index = model.similarity(seen, size, TextFeatures(parts[0])).max(dim=0)
    for number, part in enumerate(parts[1:], start=1):
        values, places = model.similarity(seen, size, TextFeatures(part)).max(dim=0)
        index = torch.where(values > best, places + number * _WORDS, index)
        best = best.maximum(values)
    return index


def _nearest(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Indexes the pixels in the middles of a coarser grid."""
    return np.ix_(*(((np.arange(wanted) + 0.5) * have / wanted).astype(int)
                    for have, wanted in zip(shape, size, strict=True)))  # fmt: skip
