"""What all preparations ask of raw folders: are they there, do files pair up, are they all there."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from openvocab.data.catalog import DatasetEntry


def require_folder(folder: Path, what: str) -> Path:
    """Returns a folder that has to exist.

    Args:
        folder: where raw files are expected.
        what: they are and come from, for the message.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: it does not exist; names the deepest folder above it that does.
    """
    if folder.is_dir():
        return folder
    above = next((parent for parent in folder.parents if parent.is_dir()), Path("/"))
    held = sorted(os.listdir(above))[:8]
    raise FileNotFoundError(
        f"no folder {folder} ({what}); {above} is there and holds {', '.join(held) if held else 'nothing'}"
    )


def require_file(path: Path, what: str) -> Path:
    """Returns a file that has to exist.

    Args:
        path: of a raw file.
        what: it is and comes from, for the message.

    Returns:
        The path.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if not path.is_file():
        require_folder(path.parent, what)
        raise FileNotFoundError(f"no file {path} ({what})")
    return path


def stems_in(folder: Path, suffix: str) -> list[str]:
    """Lists the files of one suffix in a folder, sorted, without the suffix."""
    return [name.removesuffix(suffix) for name in sorted(os.listdir(folder)) if name.endswith(suffix)]


def require_pairs(images: Collection[str], labels: Collection[str], image_dir: Path, label_dir: Path) -> None:
    """Checks that every image has a label and every label an image.

    Args:
        images: stems.
        labels: stems.
        image_dir: for the message.
        label_dir: for the message.

    Raises:
        ValueError: names the first few that stand alone.
    """
    images, labels = set(images), set(labels)
    for alone, place, missing_in in ((images - labels, image_dir, label_dir), (labels - images, label_dir, image_dir)):
        if alone:
            raise ValueError(f"{place}: {shown(sorted(alone))} without a partner in {missing_in}")


def require_count(entry: DatasetEntry, stems: Sequence[str], place: Path, part: bool) -> None:
    """Checks that the raw files are complete.

    Args:
        entry: of the table, with the count.
        stems: found.
        place: where, for the message.
        part: whether less than all is meant.

    Raises:
        ValueError: none, or not as many as there should be.
    """
    if not stems:
        raise ValueError(f"{place}: got no files, expected {entry.label_files}")
    if not part and entry.label_files not in (None, len(stems)):
        raise ValueError(
            f"{place}: got {len(stems)} files, expected {entry.label_files}: an incomplete download? "
            "(--part prepares what is there; scores then mean little)"
        )


def shown(names: Iterable[str], limit: int = 5) -> str:
    """Writes a list of names for a message: how many, and the first few."""
    names = list(names)
    return f"{len(names)} files ({', '.join(names[:limit])}{', ...' if len(names) > limit else ''})"
