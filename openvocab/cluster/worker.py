"""One of many workers: loads the model once, and makes a file of each portion of pictures that it is given."""

import logging
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from openvocab.checkpoint import zoo
from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.checkpoint.notes import sha256_of
from openvocab.cluster.deaths import Deaths
from openvocab.cluster.question import Question
from openvocab.cluster.rows import error_row, name_of, parquet_of, row_of
from openvocab.cluster.sources import Reader
from openvocab.console import counted, message_of, shown
from openvocab.files import write_atomically
from openvocab.inference.batch import line_of
from openvocab.vocab.background import combine

if TYPE_CHECKING:
    from openvocab.inference.segmenter import Segmenter

logger = logging.getLogger(__name__)

PATHS = "paths"
"""The column of a portion that holds its paths."""


class Report(NamedTuple):
    """What became of a portion.

    Attributes:
        file: name of the file that was written; "" where no picture has a row.
        answered: number of pictures with an answer.
        failed: one line for each of the others.
        stop: why no portion can go on, one line; "" where they can.
    """

    file: str
    answered: int
    failed: list[str]
    stop: str


def open_model(question: Question, device: str) -> "Segmenter":
    """Loads the model that is asked.

    Args:
        question: names it.
        device: "cpu" or "cuda".

    Raises:
        ValueError: it is not on this machine, is another one than that of the machine where the run began, or the words
            do not fit it.
        DownloadError: its parameters cannot be had.
    """
    import torch

    from openvocab.inference.absent import cut_of
    from openvocab.inference.segmenter import Segmenter

    if device == "cpu":
        # Sums depend on the number of threads: the rows of two workers are to be those of one. A worker per core is
        # faster besides, operations on small models gain nothing from more threads.
        torch.set_num_threads(1)
    weights = question.weights or zoo.weights_file(zoo.find(question.model), download=question.download)
    digest = sha256_of(weights) if Path(weights).is_file() else "nothing"
    if digest != question.sha256:
        raise ValueError(
            f"weights: {socket.gethostname()} has {digest} at {shown(weights)}, expected the file of "
            f"sha256 {question.sha256}, as where the run was started"
        )
    segmenter = Segmenter.load(question.model, weights, device, question.dtype, question.overrides, question.synonyms)
    words = combine(question.vocabulary, question.background)[1]
    segmenter.text_embeddings(words)
    if question.absent is not None:
        cut_of(segmenter, question.absent, len(words))  # a curve that is missing is one error, and not one per picture
    return segmenter


def trial(question: Question, device: str) -> dict[str, Any]:
    """Loads the model once where the workers will be, so that what is wrong is one line before the work.

    Args:
        question: that will be asked.
        device: "cpu" or "cuda".

    Returns:
        "error", or "model", "weights", "device", "dtype", "synonyms" and a list of "warnings" to be shown.
    """
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("openvocab").addHandler(handler)  # a worker's own lines go into a file of Ray's
    try:
        segmenter = open_model(question, device)
    except (ValueError, OSError, DownloadError) as error:
        return {"error": message_of(error)}
    finally:
        logging.getLogger("openvocab").removeHandler(handler)
    unknown = segmenter.unknown_words(question.vocabulary)
    if unknown:
        warnings.append(f"{segmenter.name} has never seen {counted(unknown, 'words')}; expect no sense from them")
    return {
        "warnings": warnings,
        "model": f"{segmenter.name} ({segmenter.cfg.MODEL.META_ARCHITECTURE})", "weights": segmenter.weights,
        "device": str(segmenter.device), "dtype": segmenter.dtype, "synonyms": segmenter.synonyms,
    }  # fmt: skip


class Worker:
    """Answers portions; Ray keeps one in each of its processes."""

    def __init__(self, question: Question, folder: str, device: str) -> None:
        """Loads the model.

        Args:
            question: that every picture is asked.
            folder: of the answers, which all machines see.
            device: "cpu" or "cuda".
        """
        self._question, self._folder = question, Path(folder)
        self._segmenter = open_model(question, device)
        self._read = Reader()

    def __call__(self, portions: pa.Table) -> pa.Table:
        """Answers portions, as Ray calls it.

        Args:
            portions: a row each, with a column of paths.

        Returns:
            A row with the fields of `Report` each.
        """
        reports = [self.answer(paths)._asdict() for paths in portions.column(PATHS).to_pylist()]
        return pa.Table.from_pylist(reports, _REPORTS)

    def answer(self, paths: Sequence[str]) -> Report:
        """Segments pictures and writes their rows into one file, which appears whole or not at all.

        Args:
            paths: of the pictures.

        Returns:
            What became of them. What is wrong with a picture itself is a row with its error. What another try may mend
            (a file that is gone, a disk or a bucket that does not answer, memory, a worker that died over it) has no
            row: the next run tries again.
        """
        name = name_of(paths)
        rows, failed = [], []
        deaths = Deaths(self._folder / f".{name}.begun")
        try:
            with deaths:
                for number, pixels in self._ahead(paths, deaths.given_up):
                    deaths.begin(number)
                    self._one(paths[number], pixels, rows, failed)
                failed += [f"{shown(paths[number])}: {deaths.LIMIT} workers died over it" for number in deaths.given_up]
                if rows:
                    write_atomically(self._folder / name, parquet_of(rows, self._question))
        except OSError as error:  # of writing: reading has its own, in `_one`
            return Report("", 0, [], f"{socket.gethostname()}: {message_of(error)}")
        answered = sum(row["error"] is None for row in rows)
        return Report(name if rows else "", answered, failed, "")

    def _ahead(self, paths: Sequence[str], without: set[int]) -> Iterator[tuple[int, Future]]:
        """Yields pictures while a thread reads the one behind: a bucket's answer takes as long as a GPU's."""
        numbers = [number for number in range(len(paths)) if number not in without]
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(self._read, paths[numbers[0]]) if numbers else None
            for place, number in enumerate(numbers):
                pixels = following
                if place + 1 < len(numbers):
                    following = pool.submit(self._read, paths[numbers[place + 1]])
                yield number, pixels

    def _one(self, path: str, pixels: Future, rows: list[dict[str, Any]], failed: list[str]) -> None:
        asked = self._question
        try:
            result = self._segmenter(
                pixels.result(), asked.vocabulary, asked.background, asked.threshold, absent=asked.absent
            )
            rows.append(row_of(path, result))
        except Exception as error:
            line = line_of(shown(path), error)
            failed.append(line)
            if _is_the_pictures(error):
                rows.append(error_row(path, line, self._segmenter, asked))
            elif not isinstance(error, OSError | MemoryError | ValueError):
                logger.exception("%s: not foreseen:", shown(path))


_REPORTS = pa.schema([("file", pa.string()), ("answered", pa.int64()), ("failed", pa.list_(pa.string())),
                      ("stop", pa.string())])  # fmt: skip


def _is_the_pictures(error: Exception) -> bool:
    """Whether another try would end as this one did.

    Decoders' errors are ValueErrors with the decoder's own as their cause; an error of the system has a number.
    """
    if not isinstance(error, ValueError):
        return False
    cause = error.__cause__
    mends = isinstance(cause, MemoryError | RuntimeError) or isinstance(cause, OSError) and cause.errno is not None
    return not mends
