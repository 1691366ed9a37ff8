"""Many pictures, one after the other: the trouble of one is its own, and what stops all of them stops at once."""

import errno
import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from openvocab import exit_codes
from openvocab.console import message_of, report, shown
from openvocab.inference.ordered import in_order
from openvocab.inference.result import Result

if TYPE_CHECKING:  # it brings torch along
    from openvocab.inference.many import Answer

logger = logging.getLogger(__name__)

# While writing, the next picture would fail as this one did.
_NOT_ONE_PICTURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# torch says it in a RuntimeError; where it has a class of its own, the words are the same.
_OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot|not enough memory: you tried to) allocate", re.IGNORECASE)
_WRITERS = 2  # threads


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


class Job(NamedTuple):
    """A picture of a batch.

    Attributes:
        number: from 1.
        picture: to be read.
        stem: of its output files.
    """

    number: int
    picture: Path
    stem: str


class Written(NamedTuple):
    """What became of a job.

    Attributes:
        job: it.
        result: None where there is none.
        files: that were written.
        error: why there are none, or None.
    """

    job: Job
    result: Result | None = None
    files: Sequence[Path] = ()
    error: Exception | None = None


def run_batch(
    jobs: Sequence[Job],
    answers: "Iterable[Answer]",
    save: Callable[[Job, Result], list[Path]],
    show: Callable[[Written, float], None],
    tally: Tally,
) -> None:
    """Writes the files of pictures beside their computation; an error of one is reported, and the next one follows.

    Args:
        jobs: the pictures.
        answers: for each of them, in order.
        save: writes the files of one; in a thread.
        show: called with what became of each picture, in order, and the seconds since the one before; prints.
        tally: is counted up, so that it is right also when this is interrupted.

    Raises:
        BatchStoppedError: what would stop the next ones, too: a full or read-only disk, no permission to write.
    """
    start = time.perf_counter()
    pairs = zip(jobs, answers, strict=True)
    with closing(in_order(lambda pair: _write(*pair, save), pairs, _WRITERS, _WRITERS + 1)) as all_written:
        for written in all_written:
            if written.error is None:
                tally.done += 1
            else:
                tally.failed += 1
                _report(written)
            now = time.perf_counter()
            show(written, now - start)
            start = now


def _write(job: Job, answer: "Answer", save: Callable[[Job, Result], list[Path]]) -> Written:
    if answer.error is not None:
        return Written(job, error=answer.error)
    try:
        return Written(job, answer.result, save(job, answer.result))
    except Exception as error:  # noqa: BLE001 - reported as this picture's, in its turn
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _NOT_ONE_PICTURES:
            raise BatchStoppedError(message_of(error)) from error
        return Written(job, error=error)


def _report(written: Written) -> None:
    picture, error = shown(written.job.picture), written.error
    expected = isinstance(error, ValueError | OSError | MemoryError) or (
        isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
    )
    if not expected:
        logger.error("%s: not foreseen, please report this:", picture, exc_info=error)
    report(line_of(picture, error))


def line_of(picture: str, error: Exception) -> str:
    """Gives one line that names the picture, whether or not the error does.

    Args:
        picture: its path, as it is shown.
        error: of reading, answering or writing it.
    """
    text = message_of(error)
    if not isinstance(error, ValueError | OSError):  # its message alone may say little
        text = f"{type(error).__name__}: {text}" if text != type(error).__name__ else text
    return text if picture in text else f"{picture}: {text}"
