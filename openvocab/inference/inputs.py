"""Which pictures files, folders and patterns stand for, and what becomes of everything else that lies there."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openvocab.console import counted
from openvocab.inference import marks
from openvocab.inference.formats import JPEG_SIGNATURE, PNG_SIGNATURE, picture_suffixes

_RAW = "a camera's raw file"
_KNOWN = {
    "HEIC": "heic heif hif heics heifs",
    _RAW: "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f",
    "JPEG XL": "jxl",
    "JPEG XR": "jxr wdp hdp",
    "SVG": "svg svgz",
    "EPS": "eps epsf epsi ps",
    "a large Photoshop document": "psb",
    "OpenEXR": "exr",
    "Radiance HDR": "hdr",
    "a GIMP project": "xcf",
    "a Krita project": "kra",
    "Windows Metafile": "wmf emf",
    "Adobe Illustrator": "ai",
    "DjVu": "djvu djv",
    "DICOM": "dcm",
}
NOT_READ = {f".{suffix}": what for what, suffixes in _KNOWN.items() for suffix in suffixes.split()}
"""Suffix -> what it is: pictures that nothing here can read, unless a plugin of Pillow is registered for them."""


@dataclass
class Inputs:
    """What was found, in the order in which it was given; of folders, sorted by name.

    Attributes:
        pictures: to be read, each once.
        outputs: files that our own segmentation wrote, which are no pictures to segment.
        refused: one sentence per file that stands for a picture and cannot be read; each names its file.
        others: number of further files and folders in the folders.
        below: of pictures in folders below a given one, which.
        roots: the folders that were given, or those of the files.
    """

    pictures: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    others: int = 0
    below: dict[Path, str] = field(default_factory=dict)
    roots: set[Path] = field(default_factory=set)

    def left_out(self) -> str:
        """Says in one line what is neither a picture nor refused; "" if there is nothing."""
        parts = [counted([path.name for path in self.outputs], "outputs of this program")] if self.outputs else []
        if self.others:
            parts.append("1 other file" if self.others == 1 else f"{self.others} other files or folders")
        return "; ".join(parts)


def find_inputs(inputs: Sequence[str | os.PathLike], recursive: bool = False) -> Inputs:
    """Lists the pictures that files, globs and folders stand for.

    A folder gives its pictures (by suffix, no hidden files); a glob may use `**` and gives
    every file that it matches, as does a plain path. Only regular files are ever opened.

    Args:
        inputs: paths and patterns.
        recursive: whether a folder gives those of its sub-folders as well (no hidden ones, no links to folders).

    Returns:
        pictures and what is left out.

    Raises:
        ValueError: nothing given, or an input that holds neither pictures nor outputs nor anything refused.
        OSError: a folder cannot be listed.
    """
    if not inputs:
        raise ValueError("input: expected at least one file, folder or pattern, got none")
    found, seen = Inputs(), set()
    for entry in inputs:
        path = Path(entry)
        is_folder = os.path.isdir(path)
        if is_folder:
            files = _files_below(path, found) if recursive else _files_in(sorted(path.iterdir()), found)
            paths, what = files, f"no pictures in the folder {path}"
        elif not os.path.lexists(path) and glob.has_magic(str(entry)):
            paths, what = _matches(str(entry), found), f"the pattern {str(entry)!r} matches no file"
        else:
            paths, what = iter([path]), ""
        matched = list(paths)
        if not matched:
            raise ValueError(f"input: {what}{f' ({found.left_out()})' if found.others else ''}")
        for each in matched:
            if each not in seen:
                seen.add(each)
                found.roots.add(path if is_folder else each.parent)
                _sort(each, found)
    return found


def _files_below(folder: Path, found: Inputs) -> Iterator[Path]:
    """Yields what a folder and those below it hold for us, and counts the rest."""
    for parent, folders, names in os.walk(folder, onerror=_raise):
        kept = sorted(name for name in folders
                      if not name.startswith(".") and not os.path.islink(os.path.join(parent, name)))  # fmt: skip
        found.others += len(folders) - len(kept)
        folders[:] = kept
        place = os.path.relpath(parent, folder)
        for path in _files_in([Path(parent, name) for name in sorted(names)], found):
            if place != ".":
                found.below.setdefault(path, place)
            yield path


def _raise(error: OSError) -> None:
    raise error


def _files_in(paths: Iterable[Path], found: Inputs) -> Iterator[Path]:
    """Yields those of a folder's files that are for us, and counts the rest."""
    suffixes = picture_suffixes()
    for path in paths:
        suffix = path.suffix.lower()
        ours = suffix in (".json", ".npz") and marks.kind_of(path) is not None
        known = suffix in suffixes or suffix in NOT_READ or ours
        if known and not path.name.startswith(".") and not _is_special(path):
            yield path
        else:
            found.others += 1


def _matches(pattern: str, found: Inputs) -> Iterator[Path]:
    for path in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if _is_special(path):
            found.others += 1
        else:
            yield path


def _is_special(path: Path) -> bool:
    """Tells folders, pipes, sockets and devices from files and from links that lead nowhere."""
    return os.path.exists(path) and not os.path.isfile(path)


def _sort(path: Path, found: Inputs) -> None:
    suffix = path.suffix.lower()
    if not os.path.exists(path):
        found.refused.append(f"image: {_why_missing(path)}: {path}")
    elif _is_special(path):
        found.refused.append(f"image: expected a file, got a pipe, a socket or a device: {path}")
    elif marks.kind_of(path) in (marks.SEGMENTATION, marks.PREDICTION, marks.SHEET):
        found.outputs.append(path)
    elif suffix in NOT_READ and suffix not in picture_suffixes() and not _is_jpeg_or_png(path):
        found.refused.append(f"image: {NOT_READ[suffix]} cannot be read here: {path} (convert it to PNG or JPEG)")
    else:
        found.pictures.append(path)


def _why_missing(path: Path) -> str:
    if os.path.islink(path):
        return f"no such file, the link leads to {os.readlink(path)}"
    try:
        os.stat(path)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return error.strerror
    return "the file has just appeared"


def _is_jpeg_or_png(path: Path) -> bool:
    """Telephones name what they have converted to JPEG as before."""
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith((JPEG_SIGNATURE, PNG_SIGNATURE))
    except OSError:  # reading it as a picture says why
        return True
