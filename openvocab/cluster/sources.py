"""What is to be read: folders with all below them, buckets, files, patterns, and lists of them in a manifest."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, fs, parquet

from openvocab.console import message_of, shown
from openvocab.inference.formats import picture_suffixes
from openvocab.inference.images import read_image
from openvocab.inference.inputs import find_inputs

_COLUMN = "path"  # of a table that is a manifest
_WHY = 300  # letters of what a cloud's library says; it goes on for many lines
_GCS_LIMIT = "retry_limit_seconds=20"  # without it, Google's library goes on asking for a quarter of an hour


@dataclass
class Pictures:
    """What was found.

    Attributes:
        paths: of the pictures, each once: absolute, or an address such as s3://bucket/name.jpg.
        refused: one sentence for each that is asked for by name and cannot be read.
        left_out: number of other files in the folders.
    """

    paths: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    left_out: int = 0


def find_pictures(inputs: Sequence[str], manifest: str | None = None) -> Pictures:
    """Lists the pictures that are asked for.

    Args:
        inputs: folders, buckets (both with all that lies below them), files and patterns.
        manifest: a text file with a path or an address on each line, or a .csv or .parquet with a column "path".
            Paths are relative to the manifest's folder.

    Returns:
        Pictures, in no order.

    Raises:
        ValueError: there are none, a manifest that cannot be read, a bucket that does not answer or is not there.
        OSError: a folder cannot be listed.
    """
    found, seen = Pictures(), set()
    named = [] if manifest is None else _listed(Path(manifest))
    for path in (*_expanded(inputs, found), *_existing(named, found)):
        if path in seen:
            continue
        seen.add(path)
        if _is_text(path):
            found.paths.append(path)
        else:
            found.refused.append(f"image: the name is no UTF-8, which Parquet cannot hold: {shown(path)}")
    if not found.paths and not found.refused:
        where = ", ".join(map(shown, [*inputs, *([] if manifest is None else [manifest])]))
        raise ValueError(f"input: no pictures in {where}{f', {found.left_out} other files' * bool(found.left_out)}")
    return found


def _expanded(inputs: Sequence[str], found: Pictures) -> Iterator[str]:
    for entry in inputs:
        if "://" in entry:
            yield from _in_bucket(entry, found)
        else:
            matched = find_inputs([entry], recursive=True)
            found.refused += matched.refused
            found.left_out += len(matched.outputs) + matched.others
            yield from (os.path.abspath(path) for path in matched.pictures)


def _in_bucket(address: str, found: Pictures) -> Iterator[str]:
    suffixes = picture_suffixes()
    root = address.partition("?")[0].partition("://")[0]
    try:
        system, base = filesystem(address)
        info = system.get_file_info(base)
        if info.type == fs.FileType.NotFound:
            raise ValueError(f"input: nothing is there: {shown(address)}")
        selected = [info] if info.is_file else system.get_file_info(fs.FileSelector(base, recursive=True))
    except (OSError, pa.ArrowException) as error:
        why = message_of(error)
        why = why if len(why) <= _WHY else f"{why[:_WHY]} ..."
        raise ValueError(f"input: {shown(address)} cannot be listed: {why}") from error
    for each in selected:
        if each.is_file and Path(each.path).suffix.lower() in suffixes:
            yield f"{root}://{each.path}"
        elif each.is_file:
            found.left_out += 1


def filesystem(address: str) -> tuple[fs.FileSystem, str]:
    """Opens the file system of an address, with an end to how long it may take.

    Args:
        address: such as s3://bucket/folder; what may stand behind "?" is pyarrow's affair.

    Returns:
        The file system and the place in it.

    Raises:
        OSError, pyarrow.ArrowInvalid: there is no such kind of address, or it does not answer.
    """
    if address.startswith(("gs://", "gcs://")) and "retry_limit_seconds" not in address:
        address += ("&" if "?" in address else "?") + _GCS_LIMIT
    return fs.FileSystem.from_uri(address)


def _listed(manifest: Path) -> list[str]:
    """The paths of a manifest; relative ones are relative to its folder."""
    what = f"manifest: {shown(manifest)}"
    try:
        if manifest.suffix.lower() == ".parquet":
            entries = parquet.read_table(manifest, columns=[_COLUMN], partitioning=None).column(_COLUMN).to_pylist()
        elif manifest.suffix.lower() == ".csv":
            texts = csv.ConvertOptions(column_types={_COLUMN: pa.string()}, include_columns=[_COLUMN])
            entries = csv.read_csv(manifest, convert_options=texts).column(_COLUMN).to_pylist()
        else:
            entries = [line.strip() for line in manifest.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: expected UTF-8 text, a path on each line ({error.reason})") from error
    except (KeyError, pa.ArrowException) as error:
        raise ValueError(f'{what}: expected a table with a column "{_COLUMN}" ({message_of(error)})') from error
    except OSError as error:
        raise ValueError(f"{what}: {error.strerror or message_of(error)}") from error
    if not entries:
        raise ValueError(f"{what}: got no paths, expected one per line")
    empty = [number for number, entry in enumerate(entries, 1) if not isinstance(entry, str) or not entry.strip()]
    if empty:
        raise ValueError(f"{what}: got no path in row {empty[0]}, expected text")
    base = manifest.absolute().parent
    return [entry if "://" in entry else os.path.abspath(base / entry) for entry in entries]


def _existing(paths: Sequence[str], found: Pictures) -> Iterator[str]:
    """Of a manifest; whether an object of a bucket is there shows when it is read, a request for each would be dear."""
    for path in paths:
        if "://" in path or os.path.isfile(path):
            yield path
        else:
            wrong = "expected a file, got a folder" if os.path.isdir(path) else "no such file"
            found.refused.append(f"image: {wrong}: {shown(path)}")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


class Reader:
    """Reads pictures from disks and buckets; keeps a bucket's connection."""

    def __init__(self) -> None:
        self._systems: dict[str, fs.FileSystem] = {}

    def __call__(self, path: str) -> np.ndarray:
        """Reads a picture as RGB.

        Args:
            path: or an address.

        Returns:
            (h, w, 3) uint8, as `openvocab.inference.images.read_image`.

        Raises:
            ValueError: it is no picture, or damaged; names it.
            OSError: it cannot be had, which another try may mend.
        """
        if "://" not in path:
            os.stat(path)  # a file that is gone, a disk that does not answer: the system's own words
            return read_image(path)
        kind, _, place = path.partition("://")
        bucket = f"{kind}://{place.partition('/')[0]}"
        if bucket not in self._systems:
            self._systems[bucket] = filesystem(bucket)[0]
        with self._systems[bucket].open_input_file(place) as file:
            content = file.read()
        # A file, so that what the name and broken metadata decide is decided as for every other picture.
        with tempfile.TemporaryDirectory(prefix="openvocab-") as folder:
            copy = Path(folder, f"picture{Path(place).suffix}")
            copy.write_bytes(content)
            try:
                return read_image(copy)
            except ValueError as error:
                raise ValueError(str(error).replace(str(copy), path)) from error.__cause__
