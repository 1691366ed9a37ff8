"""PASCAL-Context: 459 classes from the .mat label maps, 59 from the segments of trainval_merged.json."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from openvocab.data.catalog import DatasetEntry
from openvocab.data.few_shot import read_split
from openvocab.data.preparation.labels import LabelTable, check_image
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import require_count, require_file, require_folder, shown, stems_in
from openvocab.vocab.vocabulary import Vocabulary, builtin_dataset_ids

SEGMENTS = "trainval_merged.json"
LABEL_MAPS = "trainval"
NAMES = "labels.txt"


def plan_459(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the 459 classes: values 1..459 of the .mat label maps become 0..458, 0 is ignored.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw folders or files are missing.
        ImportError: SciPy, which reads .mat files, is missing.
        ValueError: `labels.txt` names other classes, or files are missing.
    """
    _loadmat()  # before any work is done
    place = root / "VOCdevkit" / "VOC2010"
    raw_dir = require_folder(place / LABEL_MAPS, "label maps of PASCAL-Context, trainval.tar.gz")
    check_names(place / NAMES, entry.vocabulary)
    stems = _listed(entry, root, stems_in(raw_dir, ".mat"), raw_dir, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    table = LabelTable(ids, entry.ignore_label, ignored=(0,))
    items = tuple(Item(stem, raw_dir / f"{stem}.mat", _image(entry, root, stem)) for stem in stems)
    return Plan(entry, root, items, partial(read_label_map, table), f"{LABEL_MAPS}/*.mat", len(ids))


def plan_59(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the 59 classes, from the segments of the json file; everything that is none of the 59 is ignored.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw files are missing.
        ValueError: the json file is broken, or files are missing.
    """
    path = require_file(root / "VOCdevkit" / "VOC2010" / SEGMENTS, "segments of PASCAL-Context from its Detail API")
    images = read_segments(path)
    stems = _listed(entry, root, images, path, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    table = LabelTable(ids, entry.ignore_label)
    items = tuple(Item(stem, images[stem], _image(entry, root, stem)) for stem in stems)
    return Plan(entry, root, items, partial(paint_segments, table), SEGMENTS, len(ids))


def read_label_map(table: LabelTable, item: Item) -> Prepared:
    """Reads a .mat file.

    Args:
        table: from raw values to labels.
        item: `source` is a file with the variable LabelMap.

    Returns:
        The labels.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: no such variable, a cut file, unknown values, or another size than the image.
    """
    try:
        raw = np.asarray(_loadmat()(item.source, variable_names=["LabelMap"])["LabelMap"])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{item.source}: no such file") from error
    except Exception as error:  # noqa: BLE001 -- SciPy's reader raises whatever a broken file makes it stumble over
        raise ValueError(f"{item.source}: not a readable .mat file with LabelMap ({error!r})") from error
    if raw.ndim != 2 or (raw != raw.astype(np.int32)).any() or raw.min(initial=0) < 0:
        raise ValueError(f"{item.source}: got a LabelMap of {raw.shape} {raw.dtype}, expected (h, w) whole numbers")
    labels = table(raw.astype(np.int32), item.source)
    check_image(labels, item.source, item.image)
    return Prepared(labels)


def read_segments(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the json file of the 59 classes.

    Args:
        path: of trainval_merged.json.

    Returns:
        Per image (stem): "size" (h, w), and "segments", (category, RLE) in the order of the file.

    Raises:
        ValueError: the file is cut or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stems = {image["image_id"]: Path(image["file_name"]).stem for image in content["images"]}
        images: dict[str, dict[str, Any]] = {
            stems[image["image_id"]]: {"size": (image["height"], image["width"]), "segments": []}
            for image in content["images"]
        }
        for segment in content["annos_segmentation"]:
            images[stems[segment["image_id"]]]["segments"].append((segment["category_id"], segment["segmentation"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: got no segments of PASCAL-Context, a cut download? ({error!r})") from error
    return images


def paint_segments(table: LabelTable, item: Item) -> Prepared:
    """Paints the segments of an image over each other, in the order of the file.

    Args:
        table: from category ids to labels.
        item: `source` as in `read_segments`.

    Returns:
        The labels.

    Raises:
        ValueError: the image is missing; a segment is broken, or sizes differ.
    """
    raw = np.zeros(item.source["size"], dtype=np.int32)
    name = f"{SEGMENTS}, {item.stem}"
    for category, segmentation in item.source["segments"]:
        raw[decode_segment(segmentation, raw.shape, name)] = category
    labels = table(raw, name)
    check_image(labels, name, item.image)
    return Prepared(labels)


def decode_segment(segmentation: Any, size: tuple[int, int], name: str) -> np.ndarray:
    """Decodes a segment in one of COCO's three forms.

    Args:
        segmentation: a list of polygons, or a run-length code: "counts" as text or as a list of numbers, and "size".
        size: (h, w) of the image.
        name: for the message.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: it is none of them, or of another size.
    """
    try:
        if isinstance(segmentation, list):
            code = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
        elif isinstance(segmentation["counts"], list):
            code = coco_mask.frPyObjects(segmentation, *segmentation["size"])
        else:
            code = segmentation
        mask = coco_mask.decode(code).astype(bool)
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{name}: got a broken segment ({error!r})") from error
    if mask.shape != tuple(size):
        raise ValueError(f"{name}: got a segment of {mask.shape} (h, w), expected {tuple(size)}")
    return mask


def check_names(path: Path, vocabulary: str) -> None:
    """Compares the archive's list of names with ours; blanks do not count.

    Args:
        path: of labels.txt, lines like "3: air conditioner"; nothing is checked where there is none.
        vocabulary: a built-in one.

    Raises:
        ValueError: they differ; names the first difference.
    """
    if not path.is_file():
        return
    lines = (re.fullmatch(r"\s*(\d+)\s*:\s*(.*?)\s*", line) for line in path.read_text(encoding="utf-8").splitlines())
    listed = {int(line[1]): line[2] for line in lines if line}
    ours = dict(zip(builtin_dataset_ids(vocabulary), Vocabulary.builtin(vocabulary).names))
    for value, name in ours.items():
        found = listed.get(value, "")
        if found.replace(" ", "") != name.replace(" ", ""):
            raise ValueError(f"{path}: got {found!r} for the value {value}, expected {name!r}: another list?")


def _listed(entry: DatasetEntry, root: Path, have: Any, place: Path, part: bool) -> list[str]:
    """Returns the validation images in order, which are those of the published list."""
    require_folder(root / entry.image_dir, "images of VOCtrainval_03-May-2010.tar")
    wanted, have = read_split("pascal_context")["val"], set(have)
    stems = [stem for stem in wanted if stem in have] if part else wanted
    missing = [stem for stem in stems if stem not in have]
    if missing:
        raise FileNotFoundError(
            f"{place}: {shown(missing)} of the {len(wanted)} validation images are missing "
            "(--part prepares what is there; scores then mean little)"
        )
    require_count(entry, stems, place, part)
    alone = [stem for stem in stems if not _image(entry, root, stem).is_file()]
    if alone:
        raise FileNotFoundError(f"{root / entry.image_dir}: {shown(alone)} that have labels are missing")
    return stems


def _image(entry: DatasetEntry, root: Path, stem: str) -> Path:
    return root / entry.image_dir / (stem + entry.image_suffix)


def _loadmat() -> Any:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError("PASCAL-Context's .mat files need SciPy: pip install scipy") from error
    return loadmat
