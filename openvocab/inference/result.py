"""What a segmentation gives back: labels, scores and names, and the files that can be made of them."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from openvocab.files import replace_together
from openvocab.inference import legend, marks
from openvocab.inference.coco import coco_of
from openvocab.inference.detections import detections_of
from openvocab.inference.labelme import labelme_of
from openvocab.inference.outputs import USUAL, checked_formats, encode, writers_of

if TYPE_CHECKING:
    from supervision import Detections

    from openvocab.inference.absent import Cut

NONE_COLOUR = (128, 128, 128)  # of the "none of these" line in a legend; such pixels stay untinted
_STRIP_PIXELS = 1 << 22  # pixels handled at once, so that temporary arrays stay small on huge pictures
_READABLE_SIDE = 320  # pixels; a legend under a narrower picture could not hold a word
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


class WordArea(NamedTuple):
    """How much of a picture one name covers.

    Attributes:
        name: as in `Result.names`; None for "none of these".
        label: index into `Result.names`; -1 for "none of these".
        pixels: number of pixels.
        share: of all pixels, 0..1.
        mean_score: mean of `Result.scores` over these pixels, 0..1; None where there are none.
    """

    name: str | None
    label: int
    pixels: int
    share: float
    mean_score: float | None


@dataclass(frozen=True)
class Result:
    """The segmentation of one picture.

    Attributes:
        image: (h, w, 3) uint8 RGB, the picture.
        labels: (h, w) int32, index into `names`; -1 only where a background word, a threshold or `absent` says so.
        scores: (h, w) float32, 0..1, of the best word of each pixel, also where the label is -1.
        names: the classes.
        vocabulary: the synonyms of each channel, as they were asked for (background words not included).
        synonyms: "mean" or "first": which synonyms counted.
        templates: name of the prompt templates.
        background: the words that come out as -1.
        threshold: scores below it come out as -1; None if there was none.
        model: name of the model.
        weights: the file the parameters came from.
        precision: that was computed in, "float32", "bfloat16" or "float16".
        notice: what everybody who looks has to know, such as that another model stands in; "" where there is nothing.
        absent: the rule for words that the picture does not hold; None if there was none.

    Examples:
        >>> result = segmenter("img.jpg", ["cat", "sofa|couch"])
        >>> [(area.name, area.share) for area in result.areas]
        [('cat', 0.25), ('sofa', 0.75)]
    """

    image: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    names: list[str]
    vocabulary: tuple[tuple[str, ...], ...] = ()
    synonyms: str = "mean"
    templates: str = ""
    background: tuple[tuple[str, ...], ...] = ()
    threshold: float | None = None
    model: str = ""
    weights: str = ""
    precision: str = "float32"
    notice: str = ""
    absent: "Cut | None" = None

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        if self.image.dtype != np.uint8 or self.image.shape != (*size, 3):
            raise ValueError(f"image: expected (h, w, 3) uint8, got {self.image.shape} {self.image.dtype}")
        for name, array, dtype in (("labels", self.labels, np.int32), ("scores", self.scores, np.float32)):
            if array.shape != size or array.dtype != dtype:
                raise ValueError(f"{name}: expected {size} {np.dtype(dtype)}, got {array.shape} {array.dtype}")

    @cached_property
    def areas(self) -> tuple[WordArea, ...]:
        """One entry per name, in the order of `names`; names that do not occur have 0 pixels."""
        return self._all_areas[1:]

    @property
    def none_area(self) -> WordArea:
        """The part of the picture whose label is -1."""
        return self._all_areas[0]

    @cached_property
    def _all_areas(self) -> tuple[WordArea, ...]:
        count = len(self.names) + 1
        pixels, total = np.zeros(count, np.int64), np.zeros(count, np.float64)
        for rows in self._strips():
            index = self.labels[rows].ravel() + 1
            pixels += np.bincount(index, minlength=count)
            total += np.bincount(index, weights=self.scores[rows].ravel(), minlength=count)
        size = self.labels.size
        return tuple(
            WordArea(name, label, int(n), int(n) / size, float(s) / int(n) if n else None)
            for label, name, n, s in zip(range(-1, count - 1), [None, *self.names], pixels, total, strict=True)
        )

    def occurring(self) -> list[WordArea]:
        """Lists the names that occur, the largest area first."""
        return sorted((area for area in self.areas if area.pixels), key=lambda area: -area.pixels)

    def overlay(self, alpha: float = 0.5, legend_box: bool = True) -> np.ndarray:
        """Tints every pixel in the colour of its word and draws a legend of the words that occur.

        Args:
            alpha: 0 shows the picture only, 1 the colours only. Pixels with label -1 stay untinted.
            legend_box: whether a legend is drawn into the upper left corner. Pictures too small for a readable line
                get none; `save` writes the legend under an enlarged picture instead.

        Returns:
            (h, w, 3) uint8 RGB.

        Raises:
            ValueError: alpha is outside 0..1.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: expected 0..1, got {alpha!r}")
        tinted = np.empty_like(self.image)
        table = np.concatenate([np.zeros((1, 3), np.uint8), legend.colours(len(self.names))])
        weight = round(alpha * 256)
        for rows in self._strips():
            labels, picture = self.labels[rows] + 1, self.image[rows]
            mixed = (picture.astype(np.uint16) * (256 - weight) + table[labels] * np.uint16(weight)) >> 8
            tinted[rows] = np.where(labels[..., None] > 0, mixed, picture)
        return legend.draw_inside(tinted, self._legend()) if legend_box else tinted

    def sheet(self, alpha: float = 0.5) -> np.ndarray:
        """Gives the tinted picture with the legend underneath: what `save` writes.

        Args:
            alpha: as in `overlay`.

        Returns:
            (h', w', 3) uint8 RGB. A picture narrower than 320 pixels is enlarged by a whole factor without smoothing,
            so that one pixel stays one square and the legend stays readable.
        """
        tinted = self.overlay(alpha, legend_box=False)
        factor = -(-_READABLE_SIDE // tinted.shape[1])
        factor = max(1, min(factor, 4096 // tinted.shape[0]))  # a picture 1 wide and 8000 high stays as it is
        tinted = tinted.repeat(factor, axis=0).repeat(factor, axis=1)
        sheet = legend.draw_below(tinted, self._legend())
        return legend.draw_notice(sheet, self.notice) if self.notice else sheet

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the overlay with its legend underneath (`sheet`); the file appears whole or not at all.

        Args:
            path: ends in .png, .jpg, .jpeg or .webp; missing folders are made.

        Returns:
            the path.

        Raises:
            ValueError: another suffix, the folder cannot be written to, or a file lies there that is none of ours.
            OSError: the file cannot be written.
        """
        path = Path(path)
        form = _FORMATS.get(path.suffix.lower())
        if form is None:
            raise ValueError(f"path: expected one of {' '.join(_FORMATS)}, got {path.name!r}")
        prepare_folder(path.parent)
        replace_together({path: lambda file: encode(self.sheet(), form, file)}, _refuse_foreign)
        return path

    def save_all(
        self,
        folder: str | os.PathLike,
        stem: str,
        formats: Sequence[str] = USUAL,
        name: str = "",
        picture: str | os.PathLike = "",
    ) -> list[Path]:
        """Writes the result in several formats; either all files appear or none.

        Each is marked as ours (`openvocab.inference.marks`); of what lies there already, only such files are replaced.

        - "png": STEM_overlay.png as `save`; STEM_labels.png: `labels` as grey values, 8 bits if there are fewer than
          255 names, else 16 bits; -1 is written as 255 or 65535.
        - "json": STEM.json: names with area and mean score, model, weights, vocabulary and the rule for synonyms.
        - "coco": STEM_coco.json: `to_coco`.
        - "npz": STEM.npz: labels, scores and names, for `numpy.load`.
        - "labelme": STEM_labelme.json: `to_labelme`.

        Args:
            folder: made if missing.
            stem: first part of the file names; may lead into folders below.
            formats: of these.
            name: of the picture in COCO's file. Default: that of `picture`.
            picture: its path, which labelme opens.

        Returns:
            the paths, in this order.

        Raises:
            ValueError: the folder cannot be written to, there are more than 65535 names, or a file that no
                segmentation wrote lies there; an unknown format.
            OSError: a file cannot be written.
        """
        writers = writers_of(self, Path(folder), stem, checked_formats(formats), name, picture)
        prepare_folder(next(iter(writers)).parent)
        replace_together(writers, _refuse_foreign)
        return list(writers)

    def to_coco(self, file_name: str = "") -> dict[str, Any]:
        """Gives the result in COCO's form; see `openvocab.inference.coco.coco_of`.

        Args:
            file_name: of the picture.
        """
        return coco_of(self, file_name)

    def to_labelme(self, file_name: str = "") -> dict[str, Any]:
        """Gives the result in labelme's form; see `openvocab.inference.labelme.labelme_of`.

        Args:
            file_name: of the picture, seen from the folder of the JSON.
        """
        return labelme_of(self, file_name)

    def to_supervision(self) -> "Detections":
        """Gives the result as detections of supervision; see `openvocab.inference.detections.detections_of`.

        Raises:
            ImportError: supervision is not installed.
        """
        return detections_of(self)

    def label_map(self) -> np.ndarray:
        """Gives the labels in the form that is written as PNG.

        Returns:
            (h, w) uint8 with 255 for -1 if there are fewer than 255 names, else uint16 with 65535 for -1.

        Raises:
            ValueError: more than 65535 names, which a 16-bit picture cannot hold.
        """
        if len(self.names) > 65535:
            raise ValueError(f"names: expected at most 65535 for a label map of 16 bits, got {len(self.names)}")
        return self.labels.astype(self._label_dtype)  # wraps -1 to the largest value of the type

    def summary(self) -> dict:
        """Gives what the JSON file holds: plain numbers and strings; areas in pixels and as shares 0..1."""
        none = self.none_area
        words = [
            {
                "name": area.name,
                "label": area.label,
                "area_pixels": area.pixels,
                "area_share": round(area.share, 6),
                "mean_score": None if area.mean_score is None else round(area.mean_score, 6),
            }
            for area in self.areas
        ]
        return {
            marks.JSON_KEY: marks.TEXTS[marks.SEGMENTATION],
            "height": self.labels.shape[0],
            "width": self.labels.shape[1],
            "model": self.model,
            "weights": self.weights,
            "precision": self.precision,
            "notice": self.notice,
            "vocabulary": [list(entry) for entry in self.vocabulary],
            "synonyms": self.synonyms,
            "templates": self.templates,
            "background": [list(entry) for entry in self.background],
            "threshold": self.threshold,
            "absent": self.absent and self.absent._asdict(),
            "none_label_in_png": np.iinfo(self._label_dtype).max,
            "none": {"area_pixels": none.pixels, "area_share": round(none.share, 6)},
            "words": words,
        }

    @property
    def _label_dtype(self) -> type:
        return label_dtype(len(self.names))

    def _legend(self) -> list[legend.Entry]:
        table = legend.colours(len(self.names))
        entries = [legend.Entry(area.name, tuple(table[area.label]), _percent(area.share)) for area in self.occurring()]
        if self.none_area.pixels:
            entries.append(legend.Entry("(none of these)", NONE_COLOUR, _percent(self.none_area.share)))
        return entries

    def _strips(self) -> Iterator[slice]:
        height, width = self.labels.shape
        rows = max(1, _STRIP_PIXELS // width)
        return (slice(start, start + rows) for start in range(0, height, rows))


def label_dtype(count: int) -> type:
    """Returns the type of a label map on disk: uint8 below 255 classes, else uint16; the largest value is -1."""
    return np.uint8 if count < 255 else np.uint16


def prepare_folder(folder: str | os.PathLike) -> Path:
    """Makes a folder and tries to write to it, so that a missing permission shows before the work and not after it.

    Args:
        folder: made with its parents if missing.

    Returns:
        the folder.

    Raises:
        ValueError: it cannot be made or written to.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"output: {folder} is a file, expected a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"output: cannot write to the folder {folder} ({error.strerror or error})") from error
    return folder


def _refuse_foreign(paths: Iterable[Path]) -> None:
    marks.refuse_foreign(paths, marks.SEGMENTATION)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
