"""`openvocab segment --engine ray`: pictures in portions, workers that answer them, a Parquet file for each portion."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cluster.finished import answered, claimed, portion_size, remaining, tidy
from openvocab.cluster.places import Places, find_places
from openvocab.cluster.question import Question
from openvocab.cluster.session import last_line, ray_session
from openvocab.cluster.sources import Pictures
from openvocab.cluster.worker import PATHS, Report, Worker, trial
from openvocab.console import OutputClosedError, report, say, shown
from openvocab.inference.pace import duration

if TYPE_CHECKING:
    import ray.data

_NAMED = 20  # errors are printed; of more, the rest is counted
_BETWEEN = 5.0  # seconds between two lines of progress
_WAITING = 30.0  # seconds after which waiting for a free place is said


@dataclass(frozen=True)
class Wish:
    """Where the work is to be done; None where it is Ray's to choose.

    Attributes:
        workers: number of them.
        gpus: of each, 0 to 1.
        device: "cpu" or "cuda".
        address: of a head node.
    """

    workers: int | None = None
    gpus: float | None = None
    device: str | None = None
    address: str | None = None


class StoppedError(Exception):
    """No portion could go on; the message says why."""


@dataclass
class _Progress:
    """Counts pictures and says now and then how far it is."""

    asked: int
    done: int
    failed: int
    said: float = 0.0
    clock: float | None = None  # starts with the first portion, behind which lies the loading of models
    new: int = 0

    def fail(self, line: str) -> None:
        self.failed += 1
        if self.failed <= _NAMED:
            report(line)
        elif self.failed == _NAMED + 1:
            report(
                "further pictures failed, too; those of which nothing else is to be had have their error in the answers"
            )

    def take(self, part: Report) -> None:
        self.done += part.answered
        for line in part.failed:
            self.fail(line)
        now = time.monotonic()
        if self.clock is None:
            self.clock = self.said = now
            return
        self.new += part.answered + len(part.failed)
        if now - self.said >= _BETWEEN:
            self.said = now
            rate = self.new / (now - self.clock)
            left = self.asked - self.done - self.failed
            say(f"[{self.done + self.failed}/{self.asked}] {rate:.2g} pictures/s, about {duration(left / rate)} left")


def segment(question: Question, pictures: Pictures, folder: Path, wish: Wish, model_size: int) -> int:
    """Answers pictures on many workers; what a folder holds already is not asked again.

    Args:
        question: that is put to each.
        pictures: to be read.
        folder: of the answers.
        wish: which workers.
        model_size: bytes of the file of parameters.

    Returns:
        Exit code, see `openvocab.exit_codes`.

    Raises:
        ValueError: the folder holds something else, or there is no Ray, no GPU, no model.
    """
    with claimed(folder):
        tidy(folder)
        before = answered(folder, question)
        asked = [path for path in pictures.paths if path in before]
        progress = _Progress(len(pictures.paths) + len(pictures.refused), sum(before[path] for path in asked),
                             sum(not before[path] for path in asked))  # fmt: skip
        if asked:
            say(f"there already {len(asked)} of {progress.asked} pictures, {progress.failed} of them with an error")
        for line in pictures.refused:
            progress.fail(line)
        portions = remaining(pictures.paths, before, portion_size(len(pictures.paths)))
        try:
            if portions:
                with closing(_answers(question, portions, folder, wish, model_size)) as parts:
                    for part in parts:
                        progress.take(part)
        except (StoppedError, OutputClosedError) as error:
            report(f"stopped, {progress.done} of {progress.asked} pictures done: {error}")
        except KeyboardInterrupt:
            print(f"interrupted, {progress.done} of {progress.asked} pictures done", file=sys.stderr)
            return exit_codes.INTERRUPTED
        else:
            others = "1 other file" if pictures.left_out == 1 else f"{pictures.left_out} other files"
            left_out = f", left out {others}" if pictures.left_out else ""
            say(f"{progress.done} done, {progress.failed} failed{left_out}: {shown(folder)}/")
        finally:
            tidy(folder)
        return exit_codes.of_count(progress.done, progress.asked)


def _answers(
    question: Question, portions: list[list[str]], folder: Path, wish: Wish, model_size: int
) -> Iterator[Report]:
    from ray.exceptions import RayError, RayTaskError

    with ray_session(wish.address) as nodes:
        places = find_places(nodes, wish.workers, wish.gpus, wish.device, model_size)
        places = places._replace(workers=min(places.workers, len(portions)))
        try:
            _introduce(question, places)
            for part in _reports(_dataset(question, portions, folder, places)):
                if part.stop:
                    raise StoppedError(part.stop)
                if part.file and not (folder / part.file).is_file():
                    raise StoppedError(
                        f"{part.file} was written by a worker and is not in {folder}, expected a folder "
                        "that all machines share"
                    )
                yield part
        except RayTaskError:  # of our own code: a fault of this program, with its traceback
            raise
        except RayError as error:
            raise StoppedError(f"Ray: {last_line(error)}") from error


def _introduce(question: Question, places: Places) -> None:
    """Loads the model where the workers will be, and shows what it is."""
    import ray

    # A process of its own, which gives back what it took before the workers come.
    task = ray.remote(num_cpus=1, num_gpus=places.gpus, max_calls=1)(trial).remote(question, places.device)
    if not ray.wait([task], timeout=_WAITING)[0]:
        say("waiting     for a place on the machines, or for the model to be loaded there")
    found = ray.get(task)
    if "error" in found:
        raise ValueError(found["error"])
    for line in found["warnings"]:
        print(f"warning: {line}", file=sys.stderr)
    share = f", {places.gpus:g} GPU each" if places.gpus else ""
    say(
        f"model       {found['model']}\nweights     {shown(found['weights'])}\n"
        f"workers     {places.workers} on {found['device']}{share}, {found['dtype']}\n"
        f"vocabulary  {len(question.vocabulary)} words ({found['synonyms']} of the synonyms)"
    )


def _dataset(question: Question, portions: list[list[str]], folder: Path, places: Places) -> "ray.data.Dataset":
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # One row is one portion, one block and one call of a worker: what a death costs.
    dataset = ray.data.from_items([{PATHS: paths} for paths in portions], override_num_blocks=len(portions))
    return dataset.map_batches(
        Worker,
        fn_constructor_args=(question, str(folder.absolute()), places.device),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=1, max_size=places.workers, initial_size=places.workers, max_tasks_in_flight_per_actor=2
        ),
        num_cpus=1,
        num_gpus=places.gpus or None,
    )


def _reports(dataset: "ray.data.Dataset") -> Iterator[Report]:
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        for row in batch.to_pylist():
            yield Report(**row)
