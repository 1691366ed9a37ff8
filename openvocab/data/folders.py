"""Datasets of one's own, by config alone: a folder of images, a folder of masks and a file of words."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.data.catalog import MEAN_IOU
from openvocab.data.preparation.sources import shown
from openvocab.vocab.vocabulary import Vocabulary

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
REQUIRED = ("NAME", "IMAGES", "LABELS", "WORDS")


@dataclass(frozen=True)
class FolderDataset:
    """Images and masks that belong together by their stems.

    Attributes:
        name: in Detectron2's catalog.
        images: folder of the images.
        labels: folder of the masks, 8 or 16 bits per pixel, whose values are lines of `words`, from 0.
        words: .txt or .json file, see `Vocabulary.from_file`.
        ignore_label: value of pixels that do not count.
    """

    name: str
    images: Path
    labels: Path
    words: Path
    ignore_label: int = 255

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> "FolderDataset":
        """Reads one entry of DATASETS.FOLDERS.

        Args:
            entry: NAME, IMAGES, LABELS, WORDS, and possibly IGNORE_LABEL.

        Raises:
            ValueError: missing or unknown keys, or values of another kind.
        """
        if not isinstance(entry, Mapping) or not {*REQUIRED} <= entry.keys() <= {*REQUIRED, "IGNORE_LABEL"}:
            got = sorted(entry) if isinstance(entry, Mapping) else repr(entry)
            raise ValueError(f"DATASETS.FOLDERS: got {got}, expected {', '.join(REQUIRED)} and possibly IGNORE_LABEL")
        name, ignore_label = entry["NAME"], entry.get("IGNORE_LABEL", 255)
        if not re.fullmatch(r"[\w.-]+", str(name)):
            raise ValueError(f"DATASETS.FOLDERS: got the NAME {name!r}, expected letters, digits, '_', '.' and '-'")
        if not isinstance(ignore_label, int) or not 0 <= ignore_label <= 65535:
            raise ValueError(f"DATASETS.FOLDERS: {name}: got IGNORE_LABEL {ignore_label!r}, expected 0 to 65535")
        images, labels, words = (Path(os.path.expanduser(str(entry[key]))) for key in REQUIRED[1:])
        if images == labels:
            raise ValueError(f"DATASETS.FOLDERS: {name}: got {images} for IMAGES and LABELS, expected two folders")
        return cls(str(name), images, labels, words, ignore_label)


def register_folders(entries: Sequence[Mapping[str, Any]]) -> None:
    """Registers the datasets of DATASETS.FOLDERS; doing it twice changes nothing.

    Their metadata hold `stuff_classes`, `vocabulary`, `words_file`, `ignore_label`, `evaluator_type`, `protocol`,
    `image_root` and `folder`, the `FolderDataset`.

    Args:
        entries: see `FolderDataset.from_config`.

    Raises:
        ValueError: a malformed entry, a name that belongs to another dataset, or a broken file of words.
        FileNotFoundError: no file of words.
    """
    for entry in entries:
        folder = FolderDataset.from_config(entry)
        if folder.name in DatasetCatalog:
            if MetadataCatalog.get(folder.name).get("folder", None) is None:
                raise ValueError(f"DATASETS.FOLDERS: got the NAME {folder.name}, which is another dataset's")
            DatasetCatalog.remove(folder.name)  # of an earlier job in the same process, perhaps with other folders
            MetadataCatalog.remove(folder.name)
        vocabulary = Vocabulary.from_file(folder.words, numbered=True)
        DatasetCatalog.register(folder.name, partial(list_pairs, folder))
        MetadataCatalog.get(folder.name).set(
            stuff_classes=list(vocabulary.names),
            vocabulary=vocabulary,
            words_file=str(folder.words),
            ignore_label=folder.ignore_label,
            evaluator_type="sem_seg",
            protocol=MEAN_IOU,
            image_root=str(folder.images),
            folder=folder,
        )


def list_pairs(folder: FolderDataset) -> list[dict[str, Any]]:
    """Pairs images and masks by stem, in the order of the stems.

    Args:
        folder: the dataset.

    Returns:
        Dicts with "file_name" and "sem_seg_file_name".

    Raises:
        FileNotFoundError: a folder is missing.
        ValueError: no images, an image without mask or the reverse, or two files of one stem.
    """
    images = _by_stem(folder, folder.images, IMAGE_SUFFIXES)
    labels = _by_stem(folder, folder.labels, LABEL_SUFFIXES)
    for have, other, text in ((images, labels, f"have no mask in {folder.labels}"),
                              (labels, images, f"have no image in {folder.images}")):  # fmt: skip
        alone = [have[stem].name for stem in sorted(have.keys() - other.keys())]
        if alone:
            raise ValueError(f"dataset {folder.name}: {shown(alone)} {text}")
    if not images:
        expected = ", ".join(IMAGE_SUFFIXES)
        raise ValueError(f"dataset {folder.name}: got no images in {folder.images}, expected some of {expected}")
    return [{"file_name": str(images[stem]), "sem_seg_file_name": str(labels[stem])} for stem in sorted(images)]


def _by_stem(folder: FolderDataset, place: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    if not place.is_dir():
        raise FileNotFoundError(f"dataset {folder.name}: no folder {place} (now in {Path.cwd()})")
    found: dict[str, Path] = {}
    for name in sorted(os.listdir(place)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in suffixes or name.startswith("."):
            continue
        if stem in found:
            raise ValueError(f"dataset {folder.name}: got {found[stem].name} and {name} in {place}, expected one")
        found[stem] = place / name
    return found
