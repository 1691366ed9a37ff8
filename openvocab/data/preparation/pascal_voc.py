"""PASCAL VOC 2012: 20 classes without (20) and with the background (20b)."""

from functools import partial
from pathlib import Path

from openvocab.data.catalog import DatasetEntry
from openvocab.data.preparation.indexed import read_indexed
from openvocab.data.preparation.labels import LabelTable
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import require_count, require_file, require_folder, shown
from openvocab.vocab.vocabulary import builtin_dataset_ids

MASKS = "SegmentationClassAug"
BOUNDARY = 255


def plan(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the validation split. Raw 1..20 become 0..19, 255 (boundary) is ignored; raw 0 is ignored, or class 20.

    Which of the two, the vocabulary says: that of 20b has a class of raw value 0.

    Args:
        entry: of the table.
        root: folder of the datasets.
        part: whether less than all files are meant.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: raw folders or files are missing.
        ValueError: the list has another length than it should.
    """
    place = root / "VOCdevkit" / "VOC2012"
    image_dir = require_folder(root / entry.image_dir, "images of VOCtrainval_11-May-2012.tar")
    raw_dir = require_folder(place / MASKS, f"masks of {MASKS}.zip; SegmentationClass of the tar is not the same")
    listed = place / "ImageSets" / "Segmentation" / "val.txt"
    stems = sorted(require_file(listed, "split list of VOCtrainval_11-May-2012.tar").read_text().split())
    require_count(entry, stems, listed, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    items = tuple(Item(stem, raw_dir / f"{stem}.png", image_dir / (stem + entry.image_suffix)) for stem in stems)
    missing = [path.name for item in items for path in (item.source, item.image) if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{place}: {shown(missing)} of {listed.name} are missing")
    table = LabelTable(ids, entry.ignore_label, ignored=(0, BOUNDARY))
    return Plan(entry, root, items, partial(read_voc, table), MASKS, len(ids))


def read_voc(table: LabelTable, item: Item) -> Prepared:
    """Reads a mask; see `read_indexed`.

    Args:
        table: from raw values to labels.
        item: `source` is a palette or grey PNG.

    Returns:
        The labels.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: as `read_indexed`, or nothing in the image would count.
    """
    prepared = read_indexed(table, item)
    if (prepared.labels == table.ignore_label).all():
        raise ValueError(f"{item.source}: got a mask in which no pixel counts, expected one class at least")
    return prepared
