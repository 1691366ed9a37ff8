"""PASCAL VOC 2012: 20 classes without (20) and with the background (20b), and the masks of PASCAL-5i."""

from functools import partial
from pathlib import Path

from openvocab.data.catalog import DatasetEntry
from openvocab.data.few_shot import LABEL_VALUES, read_split
from openvocab.data.preparation.indexed import read_indexed
from openvocab.data.preparation.labels import LabelTable
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import require_count, require_file, require_folder, shown, stems_in
from openvocab.vocab.vocabulary import builtin_dataset_ids

MASKS = "SegmentationClassAug"
BOUNDARY = 255


def plan(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the validation split. Raw 1..20 become 0..19, 255 (boundary) is ignored; raw 0 is ignored, or class 20.

    Which of the two, the vocabulary says: that of 20b has a class of raw value 0.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw folders or files are missing.
        ValueError: the list has another length than it should.
    """
    image_dir, raw_dir = _folders(entry, root)
    listed = raw_dir.parent / "ImageSets" / "Segmentation" / "val.txt"
    stems = sorted(require_file(listed, "split list of VOCtrainval_11-May-2012.tar").read_text().split())
    require_count(entry, stems, listed, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    items = _items(entry, stems, image_dir, raw_dir, listed.name)
    table = LabelTable(ids, entry.ignore_label, ignored=(0, BOUNDARY))
    return Plan(entry, root, items, partial(read_voc, table), MASKS, len(ids))


def plan_5i(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the masks of PASCAL-5i, which keep their values: 0, 1..20, and 255 for the boundary.

    For arguments and answer see `Planner`; all folds share one label folder.

    Raises:
        FileNotFoundError: raw folders, or masks or images of the lists, are missing.
    """
    image_dir, raw_dir = _folders(entry, root)
    lists = read_split("pascal_5i")
    stems = sorted({stem for by_class in lists.values() for stems in by_class.values() for stem in stems})
    if part:
        have = set(stems_in(raw_dir, ".png"))
        stems = [stem for stem in stems if stem in have]
    require_count(entry, stems, raw_dir, part)
    table = LabelTable(range(LABEL_VALUES["pascal_5i"]), entry.ignore_label, ignored=(BOUNDARY,))
    items = _items(entry, stems, image_dir, raw_dir, "the lists of PASCAL-5i")
    return Plan(entry, root, items, partial(read_indexed, table), MASKS, LABEL_VALUES["pascal_5i"])


def read_voc(table: LabelTable, item: Item) -> Prepared:
    """Reads a mask; see `read_indexed`.

    Args:
        table: from raw values to labels.
        item: `source` is a palette or grey PNG.

    Returns:
        The labels.

    Raises:
        ValueError: a file is missing; as `read_indexed`, or nothing in the image would count.
    """
    prepared = read_indexed(table, item)
    if (prepared.labels == table.ignore_label).all():
        raise ValueError(f"{item.source}: got a mask in which no pixel counts, expected one class at least")
    return prepared


def _folders(entry: DatasetEntry, root: Path) -> tuple[Path, Path]:
    image_dir = require_folder(root / entry.image_dir, "images of VOCtrainval_11-May-2012.tar")
    raw_dir = image_dir.parent / MASKS
    return image_dir, require_folder(raw_dir, f"masks of {MASKS}.zip; the tar's SegmentationClass is not the same")


def _items(entry: DatasetEntry, stems: list[str], image_dir: Path, raw_dir: Path, listed: str) -> tuple[Item, ...]:
    items = tuple(Item(stem, raw_dir / f"{stem}.png", image_dir / (stem + entry.image_suffix)) for stem in stems)
    missing = [path.name for item in items for path in (item.source, item.image) if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{image_dir.parent}: {shown(missing)} of {listed} are missing")
    return items
