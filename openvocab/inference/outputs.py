"""The files that a result becomes: formats by name, their endings, what writes them. Every file carries our mark."""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from openvocab.console import did_you_mean
from openvocab.inference import marks
from openvocab.inference.labelme import labelme_of

if TYPE_CHECKING:
    from openvocab.inference.result import Result

USUAL = ("png", "json")
_LEVEL = 3  # instead of 6: two to three times as fast on pictures of 48 million pixels, a few per cent larger


class Picture(NamedTuple):
    """How a picture is called in files about it.

    Attributes:
        name: for COCO, seen from the folder of all pictures.
        path: for labelme, seen from the folder of the file.
    """

    name: str = ""
    path: str = ""


class Format(NamedTuple):
    """One way to write a result.

    Attributes:
        endings: of its files, behind a stem.
        write: for each ending, what writes a result to an open file.
    """

    endings: tuple[str, ...]
    write: "tuple[Callable[[Result, Picture, BinaryIO], object], ...]"


def encode(pixels: np.ndarray, form: str, file: BinaryIO) -> None:
    """Writes a picture that is marked as ours.

    Args:
        pixels: (h, w) or (h, w, 3), uint8 or uint16.
        form: "PNG", "JPEG" or "WEBP".
        file: open for writing.
    """
    options = {"compress_level": _LEVEL, "pnginfo": marks.png(marks.SEGMENTATION)}
    if form != "PNG":
        options = {"quality": 92, "exif": marks.exif(marks.SEGMENTATION)}
    Image.fromarray(pixels).save(file, format=form, **options)


def _write_json(content: dict[str, Any], file: BinaryIO, indent: int | None = None) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=indent) + "\n"
    # Of a path that is no UTF-8, Python holds single surrogates: backslashes make JSON's own escapes of them.
    file.write(text.encode(errors="backslashreplace"))


def _write_npz(result: "Result", picture: Picture, file: BinaryIO) -> None:
    """Writes what `numpy.load` reads; the mark comes first and uncompressed, where `marks.kind_of` looks for it."""
    mark = {marks.JSON_KEY: np.array(marks.TEXTS[marks.SEGMENTATION].encode())}
    arrays = {"labels": result.labels, "scores": result.scores, "names": np.array(result.names, str)}
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in (mark | arrays).items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: the same result gives the same bytes
            member.compress_type = zipfile.ZIP_STORED if name == marks.JSON_KEY else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as part:
                np.lib.format.write_array(part, array, allow_pickle=False)


FORMATS = {
    "png": Format(
        ("_overlay.png", "_labels.png"),
        (
            lambda result, _, file: encode(result.sheet(), "PNG", file),
            lambda result, _, file: encode(result.label_map(), "PNG", file),
        ),
    ),
    "json": Format((".json",), (lambda result, _, file: _write_json(result.summary(), file, 2),)),
    "coco": Format(("_coco.json",), (lambda result, picture, file: _write_json(result.to_coco(picture.name), file),)),
    "npz": Format((".npz",), (_write_npz,)),
    "labelme": Format(
        ("_labelme.json",), (lambda result, picture, file: _write_json(labelme_of(result, picture.path), file),)
    ),
}
"""Name -> format, in the order in which files are written."""


def checked_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Brings names of formats into the order of the table.

    Args:
        formats: names; twice is once.

    Raises:
        ValueError: none, or one that does not exist.
    """
    unknown = next((name for name in formats if name not in FORMATS), None)
    if unknown is not None or not formats or isinstance(formats, str):
        got = f"got {unknown!r}{did_you_mean(str(unknown), FORMATS)}" if formats else "got none"
        raise ValueError(f"format: {got}, expected some of {', '.join(FORMATS)}")
    return tuple(name for name in FORMATS if name in formats)


def endings_of(formats: Sequence[str]) -> tuple[str, ...]:
    """Lists what stands behind a stem.

    Args:
        formats: of `FORMATS`.
    """
    return tuple(ending for name in formats for ending in FORMATS[name].endings)


def writers_of(
    result: "Result", folder: Path, stem: str, formats: Sequence[str], name: str, picture: str | os.PathLike
) -> dict[Path, Callable[[BinaryIO], object]]:
    """Says which files a result becomes; see `openvocab.inference.result.Result.save_all`.

    Args:
        result: of one picture.
        folder: of the files.
        stem: in front of their endings; may lead into folders below.
        formats: of `FORMATS`.
        name: of the picture, for COCO.
        picture: its path, for labelme; "" where there is none.

    Returns:
        Paths, and what writes each to an open file.
    """
    below = (folder / stem).parent
    path = os.path.relpath(picture, below) if os.fspath(picture) else ""
    called = Picture(name or os.path.basename(picture), path.replace(os.sep, "/"))
    writers = {}
    for form in (FORMATS[key] for key in formats):
        for ending, write in zip(form.endings, form.write, strict=True):
            writers[folder / f"{stem}{ending}"] = lambda file, write=write: write(result, called, file)
    return writers
