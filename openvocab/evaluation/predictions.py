"""What an evaluation saw, on disk: a label map for each image, and Detectron2's JSON, made of them at the end."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from PIL import Image
from pycocotools import mask as coco_mask

from openvocab.data.masks import read_indices
from openvocab.files import PARTIAL_ROOM, replace_atomically
from openvocab.inference import marks
from openvocab.inference.naming import shortened
from openvocab.inference.result import label_dtype, prepare_folder

FOLDER = "predictions"
JSON_NAME = "sem_seg_predictions.json"
_SUFFIX = ".png"
_LEFT_BY_A_KILL = re.compile(r".+\.(png|json)\.[0-9a-f]{8}\.partial")
_NAME_ROOM = 255 - PARTIAL_ROOM - len(_SUFFIX)  # bytes that most file systems allow, without what is added


class PredictionFiles:
    """The label maps of one dataset, `predictions/<dataset>/<name>.png` below OUTPUT_DIR.

    They are grey, of 8 bits where there are fewer than 255 classes, else of 16. The largest value is -1, "none of
    these", which no model of ours answers in an evaluation; in the JSON such pixels belong to no segment.
    """

    def __init__(
        self,
        folder: Path,
        file_names: Sequence[str],
        num_classes: int,
        image_root: str = "",
        dataset_ids: Mapping[int, int] | None = None,
    ) -> None:
        """Gives every image a name of its own.

        Args:
            folder: of this dataset; need not exist.
            file_names: of the images, in the order of the dataset.
            num_classes: N.
            image_root: names are relative to it; "" and where an image lies elsewhere: to what all have in common.
            dataset_ids: what the JSON calls each class; None: its number.

        Raises:
            ValueError: `dataset_ids` lacks a class.
        """
        if dataset_ids is not None and not set(range(num_classes)) <= dataset_ids.keys():
            raise ValueError(
                f"{folder.name}: got stuff_dataset_id_to_contiguous_id for the classes "
                f"{sorted(dataset_ids)}, expected 0 to {num_classes - 1}"
            )
        self.folder = folder
        self._file_names = tuple(file_names)
        self._ids = dataset_ids or range(num_classes)
        self._dtype = label_dtype(num_classes)
        self._paths = {name: folder / f"{stem}{_SUFFIX}" for name, stem in _stems(self._file_names, image_root).items()}

    @classmethod
    def from_config(cls, cfg: CfgNode, name: str, samples: Sequence[Mapping[str, Any]]) -> "PredictionFiles":
        """Reads the metadata of a registered dataset.

        Args:
            cfg: OUTPUT_DIR.
            name: its metadata hold stuff_classes, and possibly image_root and stuff_dataset_id_to_contiguous_id.
            samples: its dicts.
        """
        metadata = MetadataCatalog.get(name)
        contiguous = metadata.get("stuff_dataset_id_to_contiguous_id", None)
        return cls(
            Path(cfg.OUTPUT_DIR) / FOLDER / name,
            [sample["file_name"] for sample in samples],
            len(metadata.stuff_classes),
            metadata.get("image_root", ""),
            None if contiguous is None else {label: number for number, label in contiguous.items()},
        )

    def path_of(self, file_name: str) -> Path:
        """Returns where the label map of an image lies."""
        return self._paths[file_name]

    def missing(self, done: int) -> list[Path]:
        """Lists the label maps of the first `done` samples that are not there."""
        paths = dict.fromkeys(self._paths[name] for name in self._file_names[:done])
        return [path for path in paths if not path.is_file()]

    def prepare(self, done: int) -> None:
        """Makes the folders and clears them; in one process, before any writes.

        Half-written files of a kill go, and without a sample that is done, all that an earlier evaluation has left.

        Args:
            done: samples whose label maps are kept.

        Raises:
            ValueError: a folder cannot be written to, or a file that no evaluation wrote is in the way.
        """
        for folder in dict.fromkeys([self.folder, *(path.parent for path in self._paths.values())]):
            prepare_folder(folder)
        for path in sorted(self.folder.rglob("*")):
            earlier = not done and (path == self.folder / JSON_NAME or marks.kind_of(path) == marks.PREDICTION)
            if path.is_file() and (earlier or _LEFT_BY_A_KILL.fullmatch(path.name)):
                path.unlink()
        marks.refuse_foreign(self._paths.values(), marks.PREDICTION)

    def write(self, file_name: str, labels: np.ndarray) -> None:
        """Writes a label map, whole or not at all.

        Args:
            file_name: of the image, as in the dataset.
            labels: (h, w) integers, 0 to N - 1, or -1.

        Raises:
            OSError: it cannot be written; names the file.
        """
        replace_atomically(self._paths[file_name], partial(_write_png, labels.astype(self._dtype)))

    def read(self, file_name: str) -> np.ndarray:
        """Reads a label map.

        Args:
            file_name: of the image, as in the dataset.

        Returns:
            (h, w) int32, 0 to N - 1, or -1.

        Raises:
            ValueError: it is missing or damaged.
        """
        labels = read_indices(self._paths[file_name])
        labels[labels == np.iinfo(self._dtype).max] = -1
        return labels

    def write_json(self) -> None:
        """Writes what Detectron2's `SemSegEvaluator` writes into a file of this name, one image at a time in memory.

        Raises:
            OSError: it cannot be written.
            ValueError: a label map is missing or damaged.
        """

        def write(file: BinaryIO) -> None:
            file.write(b"[")
            for number, segment in enumerate(self._segments()):
                file.write((", " * (number > 0) + json.dumps(segment)).encode())
            file.write(b"]")

        replace_atomically(self.folder / JSON_NAME, write)

    def _segments(self) -> Iterator[dict[str, Any]]:
        for file_name in self._file_names:
            labels = self.read(file_name)
            for label in np.unique(labels[labels >= 0]).tolist():
                mask = coco_mask.encode(np.asfortranarray(labels == label, dtype=np.uint8))
                mask["counts"] = mask["counts"].decode()
                yield {"file_name": file_name, "category_id": self._ids[label], "segmentation": mask}


def _stems(file_names: Sequence[str], root: str) -> dict[str, str]:
    """Maps each file name to a path without suffix below `root`, all different also where case does not count."""
    places = {name: os.path.abspath(name) for name in file_names}
    root = os.path.abspath(root) if root else ""
    if not root or any(os.path.commonpath([root, place]) != root for place in places.values()):
        root = os.path.commonpath([os.path.dirname(place) for place in places.values()])
    stems = {name: os.path.splitext(os.path.relpath(place, root))[0] for name, place in places.items()}
    if len({stem.casefold() for stem in stems.values()}) < len(stems):  # a.jpg beside a.png, or beside A.jpg
        width = len(str(len(stems)))
        stems = {name: os.path.join(os.path.dirname(stem), f"{number:0{width}d}_{os.path.basename(stem)}")
                 for number, (name, stem) in enumerate(stems.items())}  # fmt: skip
    return {name: "/".join(shortened(part, _NAME_ROOM) for part in Path(stem).parts) for name, stem in stems.items()}


def _write_png(labels: np.ndarray, file: BinaryIO) -> None:
    # Level 3 instead of 6: two to three times as fast, a few per cent larger.
    Image.fromarray(labels).save(file, format="PNG", compress_level=3, pnginfo=marks.png(marks.PREDICTION))
