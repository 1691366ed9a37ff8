"""ADE20K: the 150 classes of the Scene Parsing Benchmark, and the 847 most frequent ones of the full release."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openvocab.data.catalog import DatasetEntry
from openvocab.data.preparation.indexed import read_indexed
from openvocab.data.preparation.labels import LabelTable
from openvocab.data.preparation.runner import Item, Plan, Prepared
from openvocab.data.preparation.sources import (
    require_count,
    require_file,
    require_folder,
    require_pairs,
    shown,
    stems_in,
)
from openvocab.inference.decoding import decode
from openvocab.vocab.vocabulary import builtin_dataset_ids

BENCHMARK = "ADEChallengeData2016"
FULL = "ADE20K_2021_17_01"
INDEX = "index_ade20k.pkl"
SHORT_SIDE = 512
"""Of images and labels of the 847 classes, in pixels; smaller ones keep their size."""

# The index holds NumPy arrays; nothing else may be built from a pickle file that came over the network.
_ARRAY_PARTS = (
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
)  # fmt: skip


def plan_150(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the 150 classes: raw 1..150 become 0..149, raw 0 ("other") is ignored.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw folders are missing; names the release of ADE20K that is there instead.
        ValueError: an image without annotation or the reverse, or files are missing.
    """
    split = Path(entry.label_dir).name
    what = f"the Scene Parsing Benchmark, {BENCHMARK}.zip"
    _require_release(root, BENCHMARK)
    image_dir = require_folder(root / entry.image_dir, what)
    raw_dir = require_folder(root / BENCHMARK / "annotations" / split, what)
    stems = stems_in(raw_dir, ".png")
    require_pairs(stems_in(image_dir, entry.image_suffix), stems, image_dir, raw_dir)
    require_count(entry, stems, raw_dir, part)
    ids = builtin_dataset_ids(entry.vocabulary)
    table = LabelTable(ids, entry.ignore_label, ignored=(0,))
    items = tuple(Item(stem, raw_dir / f"{stem}.png", image_dir / (stem + entry.image_suffix)) for stem in stems)
    return Plan(entry, root, items, partial(read_indexed, table), f"annotations/{split}", len(ids))


def plan_847(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Plans the 847 classes of the full release; see `read_full` for what happens to an image.

    For arguments and answer see `Planner`.

    Raises:
        FileNotFoundError: raw files are missing; names the release of ADE20K that is there instead.
        ValueError: the index is broken, or files are missing.
    """
    _require_release(root, FULL)
    place = require_folder(root / FULL, f"the full release {FULL}")
    index = read_index(require_file(place / INDEX, f"index of the full release {FULL}"))
    items = []
    for folder, name in index:
        if name.split("_")[1] == "val":  # the folders lie as they please; the split is in the name
            # The index counts from the folder that the release was unpacked in, whatever that is called here.
            image = place.joinpath(*Path(folder).parts[1:]) / name
            stem = name.removesuffix(".jpg")
            items.append(Item(stem, image.with_name(f"{stem}_seg.png"), image))
    items.sort()
    require_count(entry, [item.stem for item in items], place / INDEX, part)
    missing = [str(path.relative_to(place)) for item in items for path in (item.image, item.source)
               if not path.is_file()]  # fmt: skip
    if missing:
        raise FileNotFoundError(f"{place}: {shown(missing)} that the index names are missing")
    ids = builtin_dataset_ids(entry.vocabulary)
    table = LabelTable(ids, entry.ignore_label)
    source = "images/ADE, validation"
    return Plan(entry, root, tuple(items), partial(read_full, table), source, len(ids), writes_images=True)


def read_full(table: LabelTable, item: Item) -> Prepared:
    """Reads a segmentation of the full release, and shrinks it together with its image.

    The red and green channels hold the object index, the blue one tells instances apart. A shorter side
    above 512 becomes 512: the image bilinearly, the labels by nearest neighbour. Scores are counted at this size.

    Args:
        table: from object indices to labels.
        item: `source` is the file `*_seg.png`.

    Returns:
        Labels and image.

    Raises:
        ValueError: a file is missing; indices where colours belong, another size than the image, or a cut file.
    """
    image, segmentation = _open_rgb(item.image), _open_rgb(item.source, exact=True)
    if image.size != segmentation.size:
        raise ValueError(f"{item.source}: got {segmentation.size} (w, h), expected {image.size} as in {item.image}")
    labels = table(object_indices(np.asarray(segmentation)), item.source)
    size = shrunk(image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
        nearest = Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        labels = np.asarray(nearest).astype(table.dtype)
    return Prepared(labels, image)


def object_indices(segmentation: np.ndarray) -> np.ndarray:
    """Decodes the colours of the full release.

    Args:
        segmentation: (h, w, 3) uint8 RGB.

    Returns:
        (h, w) int32 object index; 0 is unannotated.
    """
    red, green = segmentation[..., 0].astype(np.int32), segmentation[..., 1].astype(np.int32)
    return red // 10 * 256 + green


def shrunk(size: tuple[int, int]) -> tuple[int, int]:
    """Returns the size of an image after preparation.

    Args:
        size: two sides in pixels.

    Returns:
        The same sides if the shorter one is at most 512, else 512 and the other in proportion, rounded.
    """
    short = min(size)
    if short <= SHORT_SIDE:
        return size
    first, second = (SHORT_SIDE if side == short else round(side / short * SHORT_SIDE) for side in size)
    return first, second


def read_index(path: Path) -> list[tuple[str, str]]:
    """Reads the index of the full release.

    Args:
        path: of the pickle file.

    Returns:
        (folder, file name) of every image.

    Raises:
        ValueError: it is no index of ADE20K, or wants to run code.
    """
    try:
        with open(path, "rb") as file:
            index = _ArrayUnpickler(file).load()
        pairs = list(zip(index["folder"], index["filename"], strict=True))
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: got no index of ADE20K with 'folder' and 'filename' ({error!r})") from error
    for _, name in pairs:
        if len(name.split("_")) < 3 or not name.endswith(".jpg"):
            raise ValueError(f"{path}: got the file name {name!r}, expected one like ADE_val_00000001.jpg")
    return [(str(folder), str(name)) for folder, name in pairs]


def recognise(folder: Path) -> str | None:
    """Says which release of ADE20K lies in a folder.

    Args:
        folder: need not exist.

    Returns:
        Its name, or None if it is none that is known.
    """
    if (folder / INDEX).is_file():
        return FULL
    if (folder / "index_ade20k.mat").is_file():
        return "ADE20K_2016_07_26 (the first full release, with other object indices)"
    if (folder / "annotations" / "validation").is_dir() or (folder / "objectInfo150.txt").is_file():
        return BENCHMARK
    if (folder / "images" / "ADE").is_dir():
        return f"{FULL} without its {INDEX}"
    if (folder / "images" / "validation").is_dir() and any((folder / "images" / "validation").glob("*/*/*_seg.png")):
        return "ADE20K_2016_07_26 (the first full release, with other object indices)"
    return None


def wrong_release(root: Path, wanted: str) -> str | None:
    """Looks whether another release of ADE20K lies where the wanted one belongs.

    Args:
        root: folder of the datasets.
        wanted: `BENCHMARK` or `FULL`.

    Returns:
        A sentence that names both, or None if the right one is there or nothing is known.
    """
    found = recognise(root / wanted)
    if found == wanted:
        return None
    if found is not None:
        return f"{root / wanted} holds {found}, expected {wanted}"
    if (root / wanted).is_dir() or not root.is_dir():
        return None
    others = {other.name: recognise(other) for other in sorted(root.iterdir()) if other.is_dir()}
    named = [f"{name} holds {release}" for name, release in others.items() if release is not None]
    return f"no {root / wanted}; {', '.join(named)}" if named else None


def _require_release(root: Path, wanted: str) -> None:
    problem = wrong_release(root, wanted)
    if problem:
        about = (
            f"The 150 classes need the Scene Parsing Benchmark {BENCHMARK}, the full releases have other labels"
            if wanted == BENCHMARK
            else f"The 847 classes need the full release {FULL} with {INDEX}, which is given out on request"
        )
        raise FileNotFoundError(f"{problem}. {about}")


def _open_rgb(path: Path, exact: bool = False) -> Image.Image:
    image = decode(path).image
    if exact and image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"{path}: got an image of mode {image.mode}, expected RGB, whose colours hold indices")
    return image.convert("RGB")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads containers, strings and NumPy arrays, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses every class but the parts of an array."""
        if (module, name) not in _ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)
