"""Puts the datasets into Detectron2's catalogs: explicitly, and as often as one likes."""

import logging
import os
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.data.catalog import CATALOG, DatasetEntry
from openvocab.data.emojiscapes import register_emojiscapes
from openvocab.vocab.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


def register_all(root: str | Path | None = None) -> None:
    """Registers every dataset of the project; names that are already there stay as they are.

    Nothing is read from disk before a dataset is asked for.

    Args:
        root: folder of the datasets; default: the environment variable DETECTRON2_DATASETS, else "datasets".
    """
    folder = Path(root if root is not None else os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()
    for entry in CATALOG:
        if entry.name not in DatasetCatalog:
            register_entry(entry, folder)
    register_emojiscapes()


def register_entry(entry: DatasetEntry, root: Path) -> None:
    """Registers one dataset of files.

    Args:
        entry: a row of the table, or one's own.
        root: folder that the row's folders are relative to.
    """
    vocabulary = Vocabulary.builtin(entry.vocabulary)
    DatasetCatalog.register(entry.name, partial(list_samples, entry, root))
    MetadataCatalog.get(entry.name).set(
        stuff_classes=list(vocabulary.names),
        vocabulary=vocabulary,
        ignore_label=entry.ignore_label,
        evaluator_type=entry.evaluator_type,
        image_root=str(root / entry.image_dir),
        sem_seg_root=str(root / entry.label_dir),
    )


def list_samples(entry: DatasetEntry, root: Path) -> list[dict[str, str]]:
    """Lists the samples of a dataset, in the order of their names.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.

    Returns:
        Dicts with "file_name" and "sem_seg_file_name".

    Raises:
        FileNotFoundError: a folder is missing, or an image that a label file belongs to; names it.
    """
    image_dir, label_dir = root / entry.image_dir, root / entry.label_dir
    for folder in (image_dir, label_dir):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"dataset {entry.name}: no folder {folder} (datasets lie below DETECTRON2_DATASETS, now {root})"
            )
    images = set(os.listdir(image_dir))
    samples = []
    for label in sorted(name for name in os.listdir(label_dir) if name.endswith(entry.label_suffix)):
        image = label.removesuffix(entry.label_suffix) + entry.image_suffix
        if image not in images:
            raise FileNotFoundError(f"dataset {entry.name}: {label_dir / label} has no image {image_dir / image}")
        samples.append({"file_name": str(image_dir / image), "sem_seg_file_name": str(label_dir / label)})
    return samples
