"""Hashes of files that nobody published one of: noted when such a file is first loaded, compared ever after."""

import hashlib
import logging
import os
from pathlib import Path

from openvocab.files import write_atomically

logger = logging.getLogger(__name__)


def sha256_of(path: str | os.PathLike) -> str:
    """Gives the SHA-256 of a file's content.

    Args:
        path: the file.

    Returns:
        64 lower-case hexadecimal digits.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_note(path: Path, note: Path) -> None:
    """Notes the hash of a file, unless there is a note already.

    Args:
        path: the file.
        note: where its hash is noted, as sha256sum writes it. Where that cannot be written, the hash is only logged: a
            read-only cache is a legitimate set-up.
    """
    if note.is_file():
        return
    digest = sha256_of(path)
    logger.warning("%s: no hash is published for this file; noting sha256 %s in %s", path, digest, note)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, f"{digest}  {path.name}\n".encode())
    except OSError as error:
        logger.warning("cannot note the hash in %s: %s", note, error)


def compare_with_note(path: Path, note: Path) -> None:
    """Compares a file with what was noted of it, if anything was.

    Args:
        path: the file.
        note: from `write_note`.

    Raises:
        ValueError: the file has changed.
    """
    noted = note.read_text().split() if note.is_file() else []
    if not noted:
        return
    digest = sha256_of(path)
    if digest != noted[0].lower():
        raise ValueError(
            f"weights: {path} has changed: expected sha256 {noted[0]}, got {digest}; "
            f"delete it and {note} to fetch it again"
        )
