"""Puts the datasets into Detectron2's catalogs: explicitly, and as often as one likes."""

import logging
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.assets import dataset_root
from openvocab.data.catalog import CATALOG, DatasetEntry
from openvocab.data.emojiscapes.register import register_emojiscapes
from openvocab.data.few_shot import OTHERS, classes_of
from openvocab.data.samples import list_samples
from openvocab.vocab.vocabulary import Vocabulary, builtin_colors

logger = logging.getLogger(__name__)


def register_all(root: str | Path | None = None) -> None:
    """Registers every dataset of the project; names that are already there stay as they are.

    Nothing is read from disk before a dataset is asked for.

    Args:
        root: folder of the datasets; default: the environment variable DETECTRON2_DATASETS, else "datasets".
    """
    folder = dataset_root(root)
    for entry in CATALOG:
        if entry.name not in DatasetCatalog:
            register_entry(entry, folder)
    register_emojiscapes()


def register_entry(entry: DatasetEntry, root: Path) -> None:
    """Registers one dataset of files.

    The metadata of a dataset with one vocabulary: `vocabulary`, `vocabulary_name` (of the built-in one),
    `stuff_classes`, `stuff_colors`. Of a few-shot dataset, whose dicts bring their words: `stuff_classes` ("others",
    "class", what the labels 0 and 1 mean), and `episode_classes`, `episode_words`, `episode_class_ids` (names and words
    of all classes, and which of them occur in the episodes). Of all: `ignore_label`, `evaluator_type`, `protocol`,
    `benchmark`, `expected_count`, `image_root`, `sem_seg_root`.

    Args:
        entry: a row of the table, or one's own.
        root: folder that the row's folders are relative to.
    """
    vocabulary = Vocabulary.builtin(entry.vocabulary)
    DatasetCatalog.register(entry.name, partial(list_samples, entry, root))
    metadata = MetadataCatalog.get(entry.name).set(
        ignore_label=entry.ignore_label,
        evaluator_type=entry.evaluator_type,
        protocol=entry.protocol,
        benchmark=entry.benchmark,
        expected_count=entry.count,
        image_root=str(root / entry.image_dir),
        sem_seg_root=str(root / entry.label_dir),
    )
    if entry.few_shot:
        metadata.set(
            stuff_classes=[OTHERS, "class"],
            episode_classes=list(vocabulary.names),
            episode_words=[words[0] for words in vocabulary.entries],
            episode_class_ids=classes_of(*entry.few_shot),
        )
    else:
        metadata.set(
            stuff_classes=list(vocabulary.names),
            stuff_colors=[list(color) for color in builtin_colors(entry.vocabulary)],
            vocabulary=vocabulary,
            vocabulary_name=entry.vocabulary,
        )
