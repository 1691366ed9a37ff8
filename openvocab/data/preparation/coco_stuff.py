"""COCO-Stuff: 171 things and stuffs; CAT-Seg's training set."""

from functools import partial
from pathlib import Path

from openvocab.data.catalog import DatasetEntry
from openvocab.data.preparation.indexed import read_indexed
from openvocab.data.preparation.labels import LabelTable
from openvocab.data.preparation.runner import Item, Plan
from openvocab.data.preparation.sources import require_count, require_folder, require_pairs, stems_in
from openvocab.vocab.vocabulary import builtin_dataset_ids

UNLABELLED = 255
LAST_VALUE = 181
"""Pixel values are the ids of COCO-Stuff's labels.txt (1..182) minus one."""


def plan(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans one split. The 171 values in use become 0..170; 255 and the values of the 11 unused ids are ignored.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw folders are missing.
        ValueError: an image without annotation or the reverse, or files are missing.
    """
    split = Path(entry.label_dir).name
    image_dir = require_folder(root / entry.image_dir, f"images of COCO 2017, {split}.zip")
    raw_dir = require_folder(root / "coco-stuff" / "annotations" / split, "stuffthingmaps_trainval2017.zip")
    stems = stems_in(raw_dir, ".png")
    require_pairs(stems_in(image_dir, entry.image_suffix), stems, image_dir, raw_dir)
    require_count(entry, stems, raw_dir, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    table = LabelTable(ids, entry.ignore_label, ignored=(*range(LAST_VALUE + 1), UNLABELLED))
    items = tuple(Item(stem, raw_dir / f"{stem}.png", image_dir / (stem + entry.image_suffix)) for stem in stems)
    return Plan(entry, root, items, partial(read_indexed, table), f"annotations/{split}", len(ids))
