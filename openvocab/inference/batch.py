"""Many pictures, one after the other: the trouble of one is its own, and what stops all of them stops at once."""

import errno
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openvocab import exit_codes
from openvocab.console import message_of, report, shown
from openvocab.inference.result import Result

logger = logging.getLogger(__name__)

# While writing, the next picture would fail as this one did.
_NOT_ONE_PICTURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# torch says it in a RuntimeError; where it has a class of its own, the words are the same.
_OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot|not enough memory: you tried to) allocate", re.IGNORECASE)


class BatchStoppedError(Exception):
    """No picture could go on; the message says why."""


@dataclass
class Tally:
    """How far a batch has come.

    Attributes:
        asked: number of pictures.
        done: whose files are written.
        failed: of which an error was reported.
    """

    asked: int
    done: int = 0
    failed: int = 0

    @property
    def exit_code(self) -> int:
        """Of all, of some, or of none."""
        return exit_codes.of_count(self.done, self.asked)


def run_batch(
    jobs: Sequence[tuple[Path, str]],
    segment: Callable[[Path], Result],
    folder: Path,
    show: Callable[[int, Path, Result, list[Path], float], None],
    tally: Tally,
) -> None:
    """Segments pictures and writes their files; an error of one is reported, and the next one follows.

    Args:
        jobs: picture and stem of its output files.
        segment: reads and answers.
        folder: of the outputs.
        show: called with number (from 1), picture, result, written files and seconds; prints.
        tally: is counted up, so that it is right also when this is interrupted.

    Raises:
        BatchStoppedError: what would stop the next ones, too: a full or read-only disk, no permission to write.
    """
    for number, (picture, stem) in enumerate(jobs, start=1):
        start = time.perf_counter()
        try:
            result = segment(picture)
            seconds = time.perf_counter() - start
            files = _save(result, folder, stem)
        except BatchStoppedError:
            raise
        except Exception as error:
            tally.failed += 1
            if not _is_expected(error):
                logger.exception("%s: not foreseen, please report this:", shown(picture))
            report(_named(picture, error))
            continue
        tally.done += 1
        show(number, picture, result, files, seconds)


def _save(result: Result, folder: Path, stem: str) -> list[Path]:
    try:
        return result.save_all(folder, stem)
    except (OSError, ValueError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NOT_ONE_PICTURES:
            raise BatchStoppedError(message_of(error)) from error
        raise


def _is_expected(error: Exception) -> bool:
    return isinstance(error, ValueError | OSError | MemoryError) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )


def _named(picture: Path, error: Exception) -> str:
    """One line that names the picture, whether or not the error does."""
    text = message_of(error)
    if not isinstance(error, ValueError | OSError):
        text = f"{type(error).__name__}: {text}" if text != type(error).__name__ else text
    return text if shown(picture) in text else f"{shown(picture)}: {text}"
