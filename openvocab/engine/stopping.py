"""A job that a scheduler ends keeps what it has done and says so, for it to be started again."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from detectron2.utils import comm

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What schedulers send before they kill: the second is what SLURM's `--signal=USR1@120` asks for."""


class Stopped(BaseException):
    """The job was asked to stop and has kept its work; the text says what goes on with it.

    No `Exception`: nothing has failed, and what catches failures must not take it for one.
    """


class StopRequest:
    """Whether a job shall stop: because a signal has come, or because its time is nearly over.

    Args:
        deadline: of `time.monotonic`, by which the process has to be gone; None for none.

    Attributes:
        reason: why it shall; "" for not at all.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.reason = ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, a signal of `SIGNALS` is remembered instead of ending the process."""
        with _handled_by(self._remember):
            yield

    def check(self, needed: float = 0.0) -> None:
        """Stops every process of the job where one of them has been asked to; all call this together.

        Args:
            needed: seconds until this is called the next time, and for saving.

        Raises:
            Stopped: says why.
        """
        if not self.reason and self.deadline is not None and time.monotonic() + needed > self.deadline:
            self.reason = "--max-hours are over"
        self.reason = next(filter(None, comm.all_gather(self.reason)), "")
        if self.reason:
            raise Stopped(self.reason)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name


@contextmanager
def forwarding(send: Callable[[int], None]) -> Iterator[None]:
    """Within the block, a signal of `SIGNALS` is handed on instead of ending this process, which only waits.

    Args:
        send: hands on a signal, by its number, to those that do the work.
    """
    with _handled_by(lambda number, frame: send(number)):
        yield


def default_signals() -> None:
    """Undoes `forwarding` in a process that was forked within it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # a notebook's thread cannot have handlers
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
