"""FSS-1000: masks of 1,000 classes with ten images each, from grey values to 0 (others) and 1 (the class)."""

from pathlib import Path

import numpy as np

from openvocab.data.catalog import DatasetEntry
from openvocab.data.few_shot import FSS_IMAGES, LABEL_VALUES, missing_files
from openvocab.data.preparation.labels import check_image
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import require_count, require_folder, shown
from openvocab.inference.decoding import decode
from openvocab.vocab.vocabulary import Vocabulary

THRESHOLD = 128


def plan(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans all classes.

    For arguments and answer see `Planner`; all parts share one label folder.

    Raises:
        FileNotFoundError: the folder, or images or masks of a class are missing.
        ValueError: a folder that is no class, or classes are missing.
    """
    place = require_folder(root / entry.image_dir, "FSS-1000, one folder per class")
    classes = [words[0] for words in Vocabulary.builtin(entry.vocabulary).entries]
    folders = {path.name for path in place.iterdir() if path.is_dir() and path.name != Path(entry.label_dir).name}
    unknown = sorted(folders - set(classes))
    if unknown:
        raise ValueError(f"{place}: got the folders {', '.join(unknown[:5])}, expected only classes of FSS-1000")
    stems = [f"{name}/{number}" for name in sorted(folders) for number in FSS_IMAGES]
    require_count(entry, stems, place, part)
    missing = missing_files(place, (stem + suffix for stem in stems for suffix in (entry.image_suffix, ".png")))
    if missing:
        raise FileNotFoundError(f"{place}: {shown(missing)} are missing")
    items = tuple(Item(stem, place / f"{stem}.png", place / (stem + entry.image_suffix)) for stem in sorted(stems))
    return Plan(entry, root, items, read_mask, "*/*.png", LABEL_VALUES["fss_1000"])


def read_mask(item: Item) -> Prepared:
    """Reads a mask.

    Args:
        item: `source` is a grey or RGB picture.

    Returns:
        The labels, 1 where the grey value is at least 128.

    Raises:
        ValueError: a file is missing; no picture, a cut file, or another size than the image.
    """
    grey = np.asarray(decode(item.source).image.convert("L"))
    labels = (grey >= THRESHOLD).astype(np.uint8)
    check_image(labels, item.source, item.image)
    return Prepared(labels)
