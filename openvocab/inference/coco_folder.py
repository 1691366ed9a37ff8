"""One COCO file for a folder of results, made of those of its pictures, of which no two are in memory at once."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from openvocab.files import replace_together
from openvocab.inference import marks

WHOLE = "coco.json"


def write_whole(path: Path, parts: Callable[[], Iterable[Path]]) -> None:
    """Joins the COCO files of pictures; their numbers are counted on.

    A file for each picture can be written when the picture is done, and is what an interrupted run goes on with; this
    one is what tools for COCO read. Pictures are read twice, as COCO has all images in front of all annotations.

    Args:
        path: of the whole.
        parts: gives the files of the pictures, in order, as often as it is asked; all of one question.

    Raises:
        ValueError: a file that no segmentation wrote lies there, or a part is none of ours.
        OSError: a part cannot be read, or the whole not be written.
    """
    replace_together({path: partial(_write, parts)}, partial(marks.refuse_foreign, kind=marks.SEGMENTATION))


def _write(parts: Callable[[], Iterable[Path]], file: BinaryIO) -> None:
    first = next(_read(parts()))
    head = {key: first[key] for key in (marks.JSON_KEY, "info", "categories")}
    file.write(_text(head)[:-1])
    _write_list(file, "images", (part["images"][0] | {"id": number} for number, part in enumerate(_read(parts()), 1)))
    _write_list(file, "annotations", _annotations(parts()))
    file.write(b"}\n")


def _annotations(parts: Iterable[Path]) -> Iterator[dict[str, Any]]:
    count = 0
    for number, part in enumerate(_read(parts), 1):
        for annotation in part["annotations"]:
            count += 1
            yield annotation | {"id": count, "image_id": number}


def _write_list(file: BinaryIO, key: str, items: Iterable[dict[str, Any]]) -> None:
    file.write(f', "{key}": ['.encode())
    for number, item in enumerate(items):
        file.write((b",\n" if number else b"\n") + _text(item))
    file.write(b"]")


def _read(parts: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in parts:
        content = json.loads(path.read_bytes())
        if content.get(marks.JSON_KEY) != marks.TEXTS[marks.SEGMENTATION]:
            raise ValueError(f"coco: expected a file of this program, got {path}")
        yield content


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")
