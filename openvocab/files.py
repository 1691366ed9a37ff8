"""Files that are either whole or absent."""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

PARTIAL_ROOM = len(".0123abcd.partial")
"""Bytes that the name of a file needs beyond its own while it is written."""


def replace_together(
    writers: Mapping[Path, Callable[[BinaryIO], object]], check: Callable[[Iterable[Path]], object] | None = None
) -> None:
    """Writes every file beside its final place, flushes it to disk, and renames them all once the last one is whole.

    If a write fails, the old files stay as they were and nothing is left behind. A process that is killed in between
    leaves at most `<name>.<random digits>.partial`.

    Args:
        writers: final place -> what writes the content to the open file; the folders exist.
        check: is called with the final places before anything is written and again before anything is renamed, and
            raises where something must not be replaced.

    Raises:
        OSError: a file cannot be written (full disk, no permission); names its final place.
    """
    check = check or (lambda paths: None)
    check(writers)
    token = secrets.token_hex(4)  # new with each call: a leftover of a process of the same number is not in the way
    partials = {path: path.with_name(f"{path.name}.{token}.partial") for path in writers}
    made = []
    try:
        for path, write in writers.items():
            _write(partials[path], path, write, made)
        check(writers)
        for path, partial in partials.items():
            os.replace(partial, path)
    finally:
        for partial in made:
            partial.unlink(missing_ok=True)


def _write(partial: Path, path: Path, write: Callable[[BinaryIO], object], made: list[Path]) -> None:
    try:
        with open(partial, "xb") as file:
            made.append(partial)
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # of a full disk Python does not say which file it was
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def replace_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes one file as `replace_together` does: readers see the old file or the new one, never half of it.

    Args:
        path: the final place; its folder exists.
        write: writes the content to the open file.

    Raises:
        OSError: the file cannot be written.
    """
    replace_together({path: write})


def write_atomically(path: Path, content: bytes) -> None:
    """Writes bytes as `replace_atomically` does.

    Args:
        path: the final place; its folder exists.
        content: the whole content.

    Raises:
        OSError: the file cannot be written.
    """
    replace_atomically(path, lambda file: file.write(content))


def remove_partials(paths: Callable[[], Iterable[Path]]) -> None:
    """Removes what a process that was killed has left of files that it was writing.

    Args:
        paths: gives the files' final places, whose folders belong to this process; asked once or twice.

    Raises:
        OSError: a folder cannot be listed, or a file not be removed.
    """
    left: dict[Path, list[Path]] = {}
    for folder in {path.parent for path in paths()}:
        for name in os.listdir(folder) if folder.is_dir() else ():
            if found := re.fullmatch(r"(.+)\.[0-9a-f]{8}\.partial", name, re.DOTALL):
                left.setdefault(folder / found[1], []).append(folder / name)
    for path in paths() if left else ():
        for partial in left.get(path, ()):
            partial.unlink(missing_ok=True)


def existing_part(folder: Path) -> Path:
    """Gives a folder, or where it is not made yet the nearest one above it that is there: whose disk it will take.

    Args:
        folder: need not exist.
    """
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
