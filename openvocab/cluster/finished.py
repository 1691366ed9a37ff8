"""The folder of the answers: whose it is, what of the question is answered there, and what a killed run has left."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from openvocab.cluster.question import Question
from openvocab.cluster.rows import KEY
from openvocab.console import counted, message_of
from openvocab.inference.result import prepare_folder
from openvocab.locks import lock

LOCK = ".openvocab.lock"
_PORTION = 32  # pictures, of a large run
_PORTIONS = 256  # at least, of a small one, so that many workers have work and end together
_LEFT_BY_A_KILL = re.compile(r"part-[0-9a-f]{20}\.parquet\.[0-9a-f]{8}\.partial|\.part-[0-9a-f]{20}\.parquet\.begun")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Makes a folder this run's as long as the block runs: two at once would answer pictures twice.

    Where the block refuses the folder or what is asked (ValueError), the folder is left as it was.

    Args:
        folder: of the answers, on a disk of this machine or on one that all machines share; made if need be.

    Raises:
        ValueError: it cannot be made or written to, or another run is writing there.
    """
    made = not folder.exists()
    prepare_folder(folder)
    claim = lock(folder / LOCK, "--output")
    try:
        yield
    except ValueError:
        claim.close()
        if made:
            with suppress(OSError):  # not empty
                folder.rmdir()
        raise
    finally:
        claim.close()


def answered(folder: Path, question: Question) -> dict[str, bool]:
    """Reads which pictures have a row.

    Args:
        folder: of the answers; need not exist.
        question: that is asked.

    Returns:
        Path -> whether there is an answer, and no error, in its row.

    Raises:
        ValueError: files that no such run wrote, answers to another question, a file that is damaged, a picture that
            stands in two files, or the folder is a file.
    """
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise ValueError(f"output: {folder} is a file, expected a folder")
    names = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    names = [name for name in names if not _LEFT_BY_A_KILL.fullmatch(name)]
    foreign = [name for name in names if not name.endswith(".parquet")]
    if foreign:
        raise ValueError(
            f"output: expected a folder of its own for the answers, got {counted(foreign, 'others')} in "
            f"{folder} (left as it is; move it away, or write somewhere else)"
        )
    done: dict[str, bool] = {}
    for name in names:
        for path, error in _rows(folder / name, question):
            if path in done:
                raise ValueError(f"output: {path} stands twice in {folder}, at last in {name}; remove that file")
            done[path] = error is None
    return done


def _rows(path: Path, question: Question) -> list[tuple[str, str | None]]:
    try:
        file = parquet.ParquetFile(path)
        text = (file.schema_arrow.metadata or {}).get(KEY)
        if text is None:
            raise ValueError(f"output: {path} is none of ours, expected a folder of its own for the answers")
        difference = question.difference(text.decode())
        if difference:
            raise ValueError(
                f"output: {path.parent} holds the answers to another question, {difference}; choose another --output"
            )
        table = file.read(columns=["path", "error"])
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"output: {path} cannot be read as Parquet ({message_of(error)}); move it away") from error
    return list(zip(table.column("path").to_pylist(), table.column("error").to_pylist(), strict=True))


def tidy(folder: Path) -> None:
    """Removes what a killed worker has left; of nobody who still writes, as the folder is `claimed`.

    Args:
        folder: of the answers.
    """
    for path in folder.glob("*"):  # none, where the folder is gone
        if _LEFT_BY_A_KILL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def remaining(paths: list[str], done: dict[str, bool], size: int) -> list[list[str]]:
    """Divides what is to be done into portions, of which each becomes a file.

    Args:
        paths: of all pictures that are asked for.
        done: those that have a row.
        size: pictures in a portion. With the same paths and the same size, what is left after a kill falls into the
            portions that it was in before: a worker that outlives the kill writes a file that is written again.

    Returns:
        Portions of paths, sorted.
    """
    left = [path for path in sorted(paths) if path not in done]
    return [left[start : start + size] for start in range(0, len(left), size)]


def portion_size(count: int) -> int:
    """Chooses how many pictures a worker takes at a time: what its death costs, and how many rows a file has.

    Args:
        count: of all pictures.
    """
    return max(1, min(_PORTION, count // _PORTIONS))
