"""COCO-20i: label maps of COCO 2014's things, and which image shows which class."""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openvocab.data.catalog import DatasetEntry
from openvocab.data.few_shot import (
    COCO_LISTS,
    FOLDS,
    LABEL_VALUES,
    classes_of,
    coco_stem,
    missing_files,
    read_split,
)
from openvocab.data.preparation.indexed import read_indexed
from openvocab.data.preparation.labels import LabelTable, check_image
from openvocab.data.preparation.pascal_context import decode_segment
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import require_count, require_file, require_folder, shown, stems_in
from openvocab.data.preparation.stamp import FileSummary
from openvocab.files import write_atomically
from openvocab.vocab.vocabulary import builtin_category_ids

logger = logging.getLogger(__name__)

PARTS = ("train", "val")
CLASSES = 80
MIN_PIXELS = 2048
"""An image is listed for a class that covers as many pixels (2 x 32 x 32): the rule that PFENet publishes."""


def plan(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the label maps: class + 1, and 0 where there is no thing.

    Ready-made maps (HSNet's `annotations/train2014` and `val2014`) are taken where both folders are there. Else the
    instances of COCO's json files are painted over each other in the order of the file, crowds included.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw folders or files are missing.
        ValueError: a json file is broken, or files are missing.
    """
    place = root / entry.image_dir
    for name in PARTS:
        require_folder(place / f"{name}2014", f"images of COCO 2014, {name}2014.zip")
    masks = [place / "annotations" / f"{name}2014" for name in PARTS]
    if all(folder.is_dir() for folder in masks):
        items = [
            Item(f"{folder.name}/{stem}", folder / f"{stem}.png", place / folder.name / (stem + entry.image_suffix))
            for folder in masks
            for stem in stems_in(folder, ".png")
        ]
        table = LabelTable(range(LABEL_VALUES["coco_20i"]), entry.ignore_label, ignored=())
        read, source = partial(read_indexed, table), "annotations/{train,val}2014"
    else:
        items = [item for name in PARTS for item in _painted(place, name)]
        read, source = paint_instances, "annotations/instances_{train,val}2014.json"
    items.sort(key=lambda item: item.stem)
    require_count(entry, [item.stem for item in items], place / "annotations", part)
    alone = missing_files(place, (item.stem + entry.image_suffix for item in items))
    if alone:
        raise FileNotFoundError(f"{place}: {shown(alone)} that have annotations are missing")
    finish = partial(write_lists, len(items) == entry.label_files)
    return Plan(entry, root, tuple(items), read, source, LABEL_VALUES["coco_20i"], finish=finish)


def paint_instances(item: Item) -> Prepared:
    """Paints the instances of an image.

    Args:
        item: `source` holds "size" (h, w) and "segments", (class, segmentation) in order.

    Returns:
        The labels.

    Raises:
        ValueError: the image is missing; an instance is broken, or sizes differ.
    """
    labels = np.zeros(item.source["size"], dtype=np.uint8)
    for class_id, segmentation in item.source["segments"]:
        labels[decode_segment(segmentation, labels.shape, item.stem)] = class_id + 1
    check_image(labels, item.stem, item.image)
    return Prepared(labels)


def read_instances(path: Path) -> dict[int, dict[str, Any]]:
    """Reads one of COCO's instance files (half a gigabyte, which takes some of memory).

    Args:
        path: of instances_train2014.json or instances_val2014.json.

    Returns:
        Per image id what `paint_instances` takes.

    Raises:
        ValueError: the file is cut or holds something else.
    """
    classes = {category: class_id for class_id, category in enumerate(builtin_category_ids("coco_20i"))}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images: dict[int, dict[str, Any]] = {
            image["id"]: {"size": (image["height"], image["width"]), "segments": []} for image in content["images"]
        }
        for instance in content["annotations"]:
            segments = images[instance["image_id"]]["segments"]
            segments.append((classes[instance["category_id"]], instance["segmentation"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: got no instances of COCO, a cut download? ({error!r})") from error
    return images


def class_lists(summaries: Sequence[FileSummary]) -> dict[str, dict[str, list[int]]]:
    """Finds out which images show which class.

    Args:
        summaries: of all label maps.

    Returns:
        {"train" or "val": {class: image ids in ascending order}}.
    """
    lists: dict[str, dict[str, list[int]]] = {name: {str(c): [] for c in range(CLASSES)} for name in PARTS}
    for summary in summaries:
        name, image_id = summary.stem.partition("2014/")[0], int(summary.stem.rpartition("_")[2])
        for class_id in np.flatnonzero(summary.pixels[1:] >= MIN_PIXELS):
            lists[name][str(class_id)].append(image_id)
    for by_class in lists.values():
        for ids in by_class.values():
            ids.sort()
    return lists


def compare_lists(lists: dict[str, dict[str, list[int]]]) -> list[str]:
    """Compares lists with the recorded counts and hashes of HSNet's, class by class and fold by fold.

    Args:
        lists: of the whole dataset, as `class_lists` makes them.

    Returns:
        A line per difference; none means that the lists are the published ones.
    """
    recorded = read_split("coco_20i")
    differences = []
    for name in PARTS:
        for class_id in range(CLASSES):
            ids = lists[name][str(class_id)]
            if [len(ids), ids_digest(ids)] != recorded["classes"][class_id][name]:
                expected = recorded["classes"][class_id][name][0]
                differences.append(
                    f"{name}, class {class_id}: got {len(ids)} images, expected {expected}"
                    + (", other ones" if len(ids) == expected else "")
                )
        for fold in range(FOLDS):
            classes = classes_of("coco_20i", "train" if name == "train" else "test", fold)
            members = [lists[name][str(c)] for c in classes]
            distinct = sorted(set().union(*members))
            found = [sum(map(len, members)), len(distinct), ids_digest(distinct)]
            if found != recorded["folds"][fold][name]:
                pairs, images, _ = recorded["folds"][fold][name]
                differences.append(
                    f"{name}, fold {fold}: got {found[0]} pairs of {found[1]} images, expected {pairs} of {images}"
                )
    return differences


def ids_digest(ids: Sequence[int]) -> str:
    """Hashes image ids as the recorded hashes do: decimal, ascending, one per line, no line end behind the last."""
    return hashlib.sha256("\n".join(map(str, sorted(ids))).encode()).hexdigest()


def write_lists(complete: bool, label_dir: Path, summaries: Sequence[FileSummary]) -> None:
    """Writes which image shows which class, and says whether that is what was published.

    Args:
        complete: whether the whole dataset was prepared; a part cannot be compared.
        label_dir: where the file goes.
        summaries: of all label maps.
    """
    lists = class_lists(summaries)
    write_atomically(label_dir / COCO_LISTS, (json.dumps(lists) + "\n").encode())
    if not complete:
        return
    differences = compare_lists(lists)
    if differences:
        logger.warning(
            "the lists of COCO-20i differ from the published ones in %d places (the test episodes are "
            "shipped and do not depend on them):\n  %s",
            len(differences),
            "\n  ".join(differences[:10]),
        )
    else:
        logger.info("the lists of COCO-20i are the published ones: all counts and hashes agree")


def _painted(place: Path, name: str) -> list[Item]:
    path = require_file(place / "annotations" / f"instances_{name}2014.json", "annotations_trainval2014.zip")
    return [Item(coco_stem(name, image_id), source, place / f"{coco_stem(name, image_id)}.jpg")
            for image_id, source in read_instances(path).items()]  # fmt: skip
