"""Names of output files: one per picture, each its own, none too long."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from openvocab.files import PARTIAL_ROOM
from openvocab.inference.outputs import USUAL, endings_of

_USUAL_ROOM = 255  # bytes that most file systems allow a name
_DIGITS = 8  # of the digest that keeps shortened names apart


def stems_for(
    pictures: Sequence[Path],
    folder: Path,
    formats: Sequence[str] = USUAL,
    below: Mapping[Path, str] | None = None,
    reserved: Sequence[str] = (),
) -> list[str]:
    """Gives every picture a file name of its own: a/cat.jpg and b/CAT.png become "cat" and "CAT-2".

    Args:
        pictures: paths.
        folder: of the outputs; it need not exist.
        formats: of the outputs.
        below: picture -> the folder below `folder` that its outputs go to; none for those that go into it.
        reserved: names of other files in the folder.

    Returns:
        One stem each: the picture's, cut with a digest behind it where the file system has no room for its outputs.
        No two outputs have the same name, also where upper and lower case are the same.
    """
    endings = endings_of(formats)
    room = _room_in(folder) - PARTIAL_ROOM - max(map(len, endings))
    taken, numbers = {_alike(name) for name in reserved}, {}
    stems = []
    for path in pictures:
        place = os.path.join((below or {}).get(path, ""), "")
        key = place, path.stem
        for number in count(numbers.get(key, 1)):  # ten thousand pictures of one name: the numbers before are taken
            stem = place + shortened(path.stem if number == 1 else f"{path.stem}-{number}", room)
            outputs = {_alike(stem + ending) for ending in endings}
            if taken.isdisjoint(outputs):
                break
        numbers[key] = number + 1
        taken |= outputs
        stems.append(stem)
    return stems


def outputs_of(stems: Sequence[str], folder: Path, formats: Sequence[str] = USUAL) -> Iterator[Path]:
    """Lists the files that `Result.save_all` will write.

    Args:
        stems: of the pictures.
        folder: of the outputs.
        formats: of the outputs.
    """
    endings = endings_of(formats)
    return (folder / f"{stem}{ending}" for stem in stems for ending in endings)


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


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _room_in(folder: Path) -> int:
    """Bytes that a name may have there; the folder may still have to be made."""
    there = next((parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir()), None)
    if there is None or "PC_NAME_MAX" not in getattr(os, "pathconf_names", {}):
        return _USUAL_ROOM
    try:
        return os.pathconf(there, "PC_NAME_MAX")
    except OSError:  # a file system that does not say
        return _USUAL_ROOM
