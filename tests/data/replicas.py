"""Miniatures of the benchmarks in their raw formats, for tests of preparation, checker and evaluation.

Nothing here uses the code or the libraries that the preparation reads with: PNGs and .mat files are packed by hand, run
lengths are counted by hand, photographs are written by OpenCV. A picture is given by the labels that preparation should
make of it; what lies on disk is computed from them by the rules of the datasets, with numbers written down here.
"""

import json
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

IGNORED = -1
SHAPE = (24, 32)


def png(path: Path, pixels: np.ndarray, palette: bool = False) -> None:
    """Packs a PNG: (h, w) uint8 grey or palette, or (h, w, 3) uint8 RGB."""
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 3 if palette else 0
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(np.uint8))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    if palette:
        colours = np.arange(256)[:, None] * (37, 101, 53) + (9, 0, 0)  # not the identity: colours are no labels
        chunks.append((b"PLTE", (colours % 256).astype(np.uint8).tobytes()))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def photograph(path: Path, shape: tuple[int, int] = SHAPE, seed: int = 0) -> None:
    """Writes a smooth JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC))


def mat(path: Path, name: str, values: np.ndarray) -> None:
    """Packs a MATLAB 5 file with one compressed uint16 matrix, as Octave would."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    matrix = element(6, struct.pack("<II", 11, 0))  # flags: class uint16
    matrix += element(5, struct.pack("<ii", *values.shape)) + element(1, name.encode())
    matrix += element(4, values.astype("<u2").tobytes(order="F"))
    packed = zlib.compress(struct.pack("<II", 14, len(matrix)) + matrix)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = b"MATLAB 5.0 MAT-file, a replica".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    path.write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)


def runs(mask: np.ndarray) -> list[int]:
    """Counts the runs of a mask, column by column, beginning with zeros."""
    counts, current = [0], False
    for value in mask.T.ravel().tolist():
        if bool(value) != current:
            counts.append(0)
            current = bool(value)
        counts[-1] += 1
    return counts


def packed_runs(mask: np.ndarray) -> str:
    """Packs runs as text, five bits per letter; from the fourth on the difference to the run before the last."""
    text, counts = "", runs(mask)
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            low, value = value & 31, value >> 5
            more = value != (-1 if low & 16 else 0)
            text += chr((low | (32 if more else 0)) + 48)
            if not more:
                break
    return text


def blocks(values: list[int], shape: tuple[int, int] = SHAPE, turn: int = 0) -> np.ndarray:
    """Fills an image with a block per value: vertical stripes, in another order for each `turn`."""
    stripes = np.array(values)[(np.arange(shape[1]) * len(values) // shape[1] + turn) % len(values)]
    labels = np.tile(stripes, (shape[0], 1))
    labels[: shape[0] // 4] = values[turn % len(values)]
    return labels


def raw(labels: np.ndarray, rule: Callable[[int], int], ignored: int) -> np.ndarray:
    """Undoes a preparation: `rule` gives the raw value of a label."""
    table = {int(label): ignored if label == IGNORED else rule(int(label)) for label in np.unique(labels)}
    return np.vectorize(table.__getitem__)(labels)


def ade20k_150(root: Path, split: str = "validation", count: int = 3) -> dict[str, np.ndarray]:
    """Scene Parsing Benchmark: grey PNG, raw 0 is "other", the classes 1 to 150."""
    place, expected = root / "ADEChallengeData2016", {}
    for number in range(count):
        stem = f"ADE_{'val' if split == 'validation' else 'train'}_{number + 1:08d}"
        expected[stem] = blocks([0, 7, 149, IGNORED], turn=number)
        png(place / "annotations" / split / f"{stem}.png", raw(expected[stem], lambda label: label + 1, 0))
        photograph(place / "images" / split / f"{stem}.jpg", seed=number)
    return expected


ADE_FULL = {0: 2978, 1: 312, 300: 3108, 846: 3148}
"""Object indices of some of the 847 classes."""


def ade20k_847(root: Path, count: int = 3) -> dict[str, np.ndarray]:
    """Full release: RGB masks, a pickle index, images in folders of scenes; number 2 is larger than 512."""
    place, expected = root / "ADE20K_2021_17_01", {}
    index = {"filename": [], "folder": [], "objectPresence": np.zeros((5, 2), dtype=np.uint8), "description": "replica"}
    for number in range(count + 1):
        split = "val" if number < count else "train"
        stem = f"ADE_{split}_{number + 1:08d}"
        scene = f"images/ADE/{'training' if split == 'train' else 'validation'}/urban/street__{number}"
        large = number == 1
        labels = blocks([0, 1, 300, 846, IGNORED], (600, 1100) if large else SHAPE, turn=number)
        if large:
            labels[::2, -20:], labels[1::2, -20:] = 0, 846  # lines of one pixel: averages of neighbours would show
        objects = raw(labels, ADE_FULL.__getitem__, (0, 1, 3500, 0)[number])  # 1 and 3500 are objects, but no classes
        mask = np.stack([objects // 256 * 10 + number, objects % 256, np.arange(labels.size).reshape(labels.shape) % 9])
        png(place / scene / f"{stem}_seg.png", mask.transpose(1, 2, 0))
        photograph(place / scene / f"{stem}.jpg", labels.shape, number)
        index["filename"].append(f"{stem}.jpg")
        index["folder"].append(f"ADE20K_2021_17_01/{scene}")
        if split == "val":
            expected[stem] = nearest(labels, (512, 939)) if large else labels  # 1100 / 600 * 512 = 938.7
    (place / "index_ade20k.pkl").write_bytes(pickle.dumps(index, protocol=4))
    return expected


def nearest(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Takes for each new pixel the old one below its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[rows][:, columns]


COCO_STUFF = {0: 0, 10: 10, 11: 12, 79: 89, 80: 91, 170: 181}
"""Raw values of some of the 171 classes: 11 ids are not used."""


def coco_stuff(root: Path, count: int = 3) -> dict[str, dict[str, np.ndarray]]:
    """COCO-Stuff: grey PNG, 255 unlabelled, and one pixel of an id that is not used."""
    place, expected = root / "coco-stuff", {}
    for split in ("train2017", "val2017"):
        expected[split] = {}
        for number in range(count):
            stem = f"{number + 9:012d}"
            labels = blocks([*COCO_STUFF, IGNORED], turn=number)
            values = raw(labels, COCO_STUFF.__getitem__, 255)
            labels[0, 0], values[0, 0] = IGNORED, 11
            png(place / "annotations" / split / f"{stem}.png", values)
            photograph(place / "images" / split / f"{stem}.jpg", seed=number)
            expected[split][stem] = labels
    return expected


CONTEXT_IMAGES = ("2008_000002", "2008_000003", "2008_000007")
CONTEXT_59 = {0: 2, 1: 9, 49: 397, 58: 458}


def pascal_context(root: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """.mat label maps (459 classes) and run-length segments (59); returns what is expected of the 59 and of the 459."""
    place = root / "VOCdevkit" / "VOC2010"
    few, many = {}, {}
    content = {"images": [], "annos_segmentation": [], "categories": []}
    for number, stem in enumerate(CONTEXT_IMAGES):
        photograph(place / "JPEGImages" / f"{stem}.jpg", seed=number)
        many[stem] = blocks([0, 300, 458, IGNORED], turn=number)
        mat(place / "trainval" / f"{stem}.mat", "LabelMap", raw(many[stem], lambda label: label + 1, 0))
        few[stem] = blocks([*CONTEXT_59, IGNORED], turn=number)
        image_id = int(stem.replace("_", ""))
        content["images"].append({"image_id": image_id, "file_name": f"{stem}.jpg", "phase": "val",
                                  "height": SHAPE[0], "width": SHAPE[1]})  # fmt: skip
        # The last class is painted over everything first, and the others over it: the order counts.
        layers = [(458, few[stem] != IGNORED)]
        layers += [(CONTEXT_59[label], few[stem] == label) for label in (0, 1, 49)]
        layers.append((300, few[stem] == IGNORED))  # a label of the 459 that is none of the 59
        for category, mask in layers:
            counts = packed_runs(mask) if category != 9 else runs(mask)
            content["annos_segmentation"].append({"image_id": image_id, "category_id": category, "iscrowd": 0,
                                                  "segmentation": {"size": list(SHAPE), "counts": counts}})  # fmt: skip
    photograph(place / "JPEGImages" / "2008_000001.jpg")  # a training image
    (place / "trainval_merged.json").write_text(json.dumps(content))
    return few, many


def pascal_voc(root: Path) -> dict[str, np.ndarray]:
    """VOC 2012 with the augmented masks; values 0 to 20 and 255 (IGNORED here). Images of the fold lists among them."""
    place, masks = root / "VOCdevkit" / "VOC2012", {}
    validation = ("2007_000033", "2007_000061", "2007_000129")
    for number, stem in enumerate((*validation, "2007_000032", "2007_000648")):
        masks[stem] = blocks([0, 1, 4, 20, IGNORED, 2, 15], turn=number)
        photograph(place / "JPEGImages" / f"{stem}.jpg", seed=number)
        values = raw(masks[stem], lambda value: value, 255)
        png(place / "SegmentationClassAug" / f"{stem}.png", values, palette=number % 2 == 0)
    listed = place / "ImageSets" / "Segmentation" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{stem}\n" for stem in validation))
    return masks


COCO_IMAGES = {"train": (9, 25), "val": (507081, 205594)}
"""The two of "val" belong to the first test episodes of fold 0: classes 72 and 32."""


def coco_20i(root: Path, shape: tuple[int, int] = (64, 80)) -> dict[str, np.ndarray]:
    """COCO 2014: instances as polygons and as run lengths; the values expected are class + 1."""
    place, expected = root / "COCO2014", {}
    for part, ids in COCO_IMAGES.items():
        content = {"images": [], "annotations": []}
        for number, image_id in enumerate(ids):
            stem = f"COCO_{part}2014_{image_id:012d}"
            photograph(place / f"{part}2014" / f"{stem}.jpg", shape, number)
            content["images"].append({"id": image_id, "height": shape[0], "width": shape[1]})
            # Category 82 is class 72, 37 is class 32, 1 is class 0; the last is painted over the others.
            large, over = ((82, 72), (37, 32)) if number == 0 else ((37, 32), (1, 0))
            box, mask = np.zeros(shape, bool), np.zeros(shape, bool)
            box[:, 10:60], mask[5:25, 30:70] = True, True
            polygon = [10, 0, 60, 0, 60, shape[0], 10, shape[0]]
            content["annotations"] += [
                {"image_id": image_id, "category_id": large[0], "iscrowd": 0, "segmentation": [polygon]},
                {"image_id": image_id, "category_id": over[0], "iscrowd": 1,
                 "segmentation": {"size": list(shape), "counts": runs(mask)}},
            ]  # fmt: skip
            expected[f"{part}2014/{stem}"] = np.where(mask, over[1] + 1, np.where(box, large[1] + 1, 0))
        path = place / "annotations" / f"instances_{part}2014.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return expected


FSS_CLASSES = ("ac_wall", "adhensive_tape", "ab_wheel", "accordion")


def fss_1000(root: Path, classes: tuple[str, ...] = FSS_CLASSES) -> dict[str, np.ndarray]:
    """FSS-1000: grey and RGB masks, the threshold is 128."""
    expected = {}
    for place, name in enumerate(classes):
        for number in range(1, 11):
            photograph(root / "FSS-1000" / name / f"{number}.jpg", seed=number)
            grey = blocks([0, 127, 128, 255], turn=place + number)
            mask = grey if number % 2 else np.stack([grey] * 3, axis=-1)
            png(root / "FSS-1000" / name / f"{number}.png", mask)
            expected[f"{name}/{number}"] = (grey > 127.5).astype(int)
    return expected
