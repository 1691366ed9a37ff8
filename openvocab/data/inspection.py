"""Sheets of what a training is fed: augmented pictures, the labels over them, and their shares under the words."""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from openvocab.data.loader import build_train_loader
from openvocab.evaluation.words import words_for_training
from openvocab.inference import sheets
from openvocab.inference.legend import colours
from openvocab.vocab.vocabulary import as_vocabulary

TITLES = ("picture, as fed", "labels (untinted: ignored)", "share of each label, with its number and words")
_BARS = 13  # lines beside a picture


class TrainingFeed:
    """The first samples of a training.

    Attributes:
        samples: as `SemSegTrainMapper` makes them, in the order in which they are drawn.
    """

    def __init__(self, cfg: CfgNode, count: int) -> None:
        """Draws the samples as the training will.

        Args:
            cfg: of the training. Where SEED is negative, a training draws a seed of its own; here it is 0.
            count: of samples.

        Raises:
            ValueError: what `build_train_loader` refuses, or unknown words.
            OSError: a dataset is not on disk.
        """
        cfg = cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0  # what is drawn does not depend on it
        self._seed = max(0, cfg.SEED)
        batches = islice(build_train_loader(cfg, seed=self._seed), -(-count // cfg.SOLVER.IMS_PER_BATCH))
        self.samples = [sample for batch in batches for sample in batch][:count]
        self._ignored, self._names = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, cfg.DATASETS.TRAIN
        self._words, self._per_batch = _words_of(cfg), cfg.MODEL.VOCABULARY.TRAIN_SAMPLE

    def sheet(self, first: int, count: int) -> np.ndarray:
        """Draws a sheet, on which a colour means the same label in every row.

        Args:
            first: index of its first sample.
            count: of samples on it.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        samples = self.samples[first : first + count]
        pixels = [self._pixels(sample) for sample in samples]
        ranks = {label: rank for rank, (label, _) in enumerate(sum(pixels, Counter()).most_common())}
        table, rows = colours(len(ranks)), []
        for draw, (sample, found) in enumerate(zip(samples, pixels, strict=True), start=first):
            picture = np.ascontiguousarray(sample["image"].numpy().transpose(1, 2, 0))
            labels = sample["sem_seg"].numpy()
            lines = [
                sheets.Bar(
                    self._text(sample, label),
                    tuple(table[ranks[label]]),
                    number / found.total(),
                    f"{100 * number / found.total():.1f} %",
                )
                for label, number in found.most_common()
            ]
            ignored = 1 - found.total() / labels.size
            caption = (
                f"draw {draw}: {labels.shape[0]} x {labels.shape[1]}, original {sample['height']} x "
                f"{sample['width']} (h x w), {ignored:.0%} ignored: {sample['file_name']}"
            )
            rows.append(sheets.row([picture, sheets.numbered(picture, labels, ranks)], caption,
                                   beside=sheets.bars(lines, most=_BARS)))  # fmt: skip
        return sheets.page(self._heading(first, len(samples)), TITLES, rows)

    def histogram(self) -> np.ndarray:
        """Draws the shares of all labels over all samples.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        pixels, shown = Counter(), Counter()
        for sample in self.samples:
            found = {self._text(sample, label): number for label, number in self._pixels(sample).items()}
            pixels.update(found)
            shown.update(found.keys())
        lines = [sheets.Bar(text, (90, 130, 200), number / pixels.total(),
                            f"{100 * number / pixels.total():.2f} %, in {shown[text]}")
                 for text, number in pixels.most_common()]  # fmt: skip
        occur = f"{len(lines)} of {len(self._words)} labels occur: " if self._words else ""
        heading = [*self._heading(0, len(self.samples)), f"{occur}share of what counts, and in how many draws"]
        return sheets.under(heading, sheets.bars(lines))

    def _heading(self, first: int, count: int) -> list[str]:
        words = f"{len(self._words)} words" if self._words else "two words for each draw"
        if self._per_batch:
            words += f", of which a batch is given {self._per_batch}"
        return [f"{', '.join(self._names)}, seed {self._seed}", f"draws {first} to {first + count - 1}; {words}"]

    def _pixels(self, sample: Mapping[str, Any]) -> Counter:
        values, numbers = np.unique(sample["sem_seg"].numpy(), return_counts=True)
        return Counter({label: number for label, number in zip(values.tolist(), numbers.tolist(), strict=True)
                        if label != self._ignored})  # fmt: skip

    def _text(self, sample: Mapping[str, Any], label: int) -> str:
        words = self._words
        if "vocabulary" in sample:  # of an episode
            words = as_vocabulary(sample["vocabulary"]).texts()
        return f"{label} {'|'.join(words[label]) if label < len(words) else '(no word)'}"


def _words_of(cfg: CfgNode) -> tuple[tuple[str, ...], ...]:
    """Lists per label what the text encoder is given; empty where the samples bring their words."""
    vocabulary = words_for_training(cfg)
    if vocabulary is not None:
        return vocabulary.texts()
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    return () if metadata.get("episode_words", None) else tuple((word,) for word in metadata.stuff_classes)
