"""Files that are either whole or absent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file beside its final place, flushes it to disk and renames it.

    A process that dies in between leaves the old file as it was, and at most a `<name>.partial`.

    Args:
        path: the final place; its folder exists.
        write: writes the content to the open file.

    Raises:
        OSError: it cannot be written (a full disk); names the file.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes bytes so that readers see the old file or the new one, never half of it.

    Args:
        path: the final place; its folder exists.
        content: the whole content.

    Raises:
        OSError: it cannot be written; names the file.
    """
    replace_atomically(path, lambda file: file.write(content))
