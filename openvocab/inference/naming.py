"""Names of output files: one per picture, each its own, none too long."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from openvocab.files import PARTIAL_ROOM
from openvocab.inference.result import OUTPUT_ENDINGS

_USUAL_ROOM = 255  # bytes that most file systems allow a name
_DIGITS = 8  # of the digest that keeps shortened names apart


def stems_for(pictures: Sequence[Path], folder: Path) -> list[str]:
    """Gives every picture a file name of its own: a/cat.jpg and b/CAT.png become "cat" and "CAT-2".

    Args:
        pictures: paths.
        folder: of the outputs; it need not exist.

    Returns:
        One stem each: the picture's, cut with a digest behind it where the file system has no room for its outputs.
        No two outputs have the same name, also where upper and lower case are the same.
    """
    room = _room_in(folder) - PARTIAL_ROOM - max(map(len, OUTPUT_ENDINGS))
    taken: set[str] = set()
    stems = []
    for path in pictures:
        stem, number = shortened(path.stem, room), 1
        while not taken.isdisjoint(_compared(stem)):
            number += 1
            stem = shortened(f"{path.stem}-{number}", room)
        taken.update(_compared(stem))
        stems.append(stem)
    return stems


def outputs_of(stems: Sequence[str], folder: Path) -> list[Path]:
    """Lists the files that `Result.save_all` will write.

    Args:
        stems: of the pictures.
        folder: of the outputs.
    """
    return [folder / f"{stem}{ending}" for stem in stems for ending in OUTPUT_ENDINGS]


def shortened(stem: str, room: int) -> str:
    """Cuts a name that takes too many bytes, between two characters.

    Args:
        stem: the name.
        room: bytes that it may take.

    Returns:
        The same name where it fits; else its beginning, "~" and a digest of the whole.
    """
    raw = os.fsencode(stem)
    if len(raw) <= room:
        return stem
    end = f"~{hashlib.sha256(raw).hexdigest()[:_DIGITS]}"
    cut = stem[: room - len(end)]  # no character takes less than a byte
    while len(os.fsencode(cut)) > room - len(end):
        cut = cut[:-1]
    return cut + end


def _compared(stem: str) -> list[str]:
    return [unicodedata.normalize("NFC", f"{stem}{ending}").casefold() for ending in OUTPUT_ENDINGS]


def _room_in(folder: Path) -> int:
    """Bytes that a name may have there; the folder may still have to be made."""
    there = next((parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir()), None)
    if there is None or "PC_NAME_MAX" not in getattr(os, "pathconf_names", {}):
        return _USUAL_ROOM
    try:
        return os.pathconf(there, "PC_NAME_MAX")
    except OSError:  # a file system that does not say
        return _USUAL_ROOM
