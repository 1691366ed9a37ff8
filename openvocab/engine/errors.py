"""Errors: our own become one line and an exit code, in any number of processes; a library's keep their traceback."""

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from detectron2.utils import comm

from openvocab import exit_codes
from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.engine.stopping import Stopped
from openvocab.methods import METHODS

OWN_PACKAGES = ("openvocab", *METHODS.values())


def raised_by_us(error: BaseException) -> bool:
    """Tells whether a `raise` in our packages made an error: those name argument, got and expected.

    Args:
        error: with its traceback.

    Returns:
        False for what comes out of a library: there the traceback is needed.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and frames[-1][0].f_globals.get("__name__", "").split(".")[0] in OWN_PACKAGES


def one_line(error: BaseException) -> str:
    """Returns the text of an error as one line."""
    return " ".join(str(error).split())


def report_user_errors(function: Callable[[], int], may_speak: Callable[[int], bool] = lambda code: True) -> int:
    """Calls a function; an error that our own code raised for the user becomes one line on stderr.

    Args:
        function: returns an exit code.
        may_speak: asked with the exit code before a line is printed.

    Returns:
        Its exit code, or that of an error, of Ctrl-C or of a scheduler's signal, of which the first process speaks, and
        only it.
    """
    try:
        return function()
    except (ValueError, OSError, DownloadError) as error:
        if not raised_by_us(error):
            raise
        if may_speak(exit_codes.NOTHING_DONE):
            print(f"error: {one_line(error)}", file=sys.stderr)
        return exit_codes.NOTHING_DONE
    except KeyboardInterrupt as interruption:
        if comm.is_main_process() and may_speak(exit_codes.INTERRUPTED):
            print(str(interruption) or "interrupted before anything was saved", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except Stopped as stop:
        if comm.is_main_process() and may_speak(exit_codes.STOPPED):
            print(one_line(stop), file=sys.stderr)
        return exit_codes.STOPPED


@contextmanager
def failing_together() -> Iterator[None]:
    """A block that every process enters, and after which they go on together or not at all.

    Without it the others would wait for the one that has failed, or fail of its absence with a traceback of their own.
    An error that is not ours is raised at once.

    Raises:
        ValueError, OSError: the block's, in the first process that has one.
        SystemExit: in the others, with `exit_codes.NOTHING_DONE`; they say nothing.
    """
    failure = None
    try:
        yield
    except (ValueError, OSError) as error:
        if not raised_by_us(error):
            raise
        failure = error
    failed = comm.all_gather(failure is not None)
    if failure is not None and failed.index(True) == comm.get_rank():
        raise failure
    if True in failed:
        raise SystemExit(exit_codes.NOTHING_DONE)


def own_errors_in_one_line(record: logging.LogRecord) -> bool:
    """A logging filter for Detectron2's loop, which logs the traceback of every error, and of ours as well.

    Args:
        record: changed in place where it is about an error of ours.

    Returns:
        True: no record is dropped.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ValueError | OSError) and raised_by_us(error):
        record.msg, record.args, record.exc_info = f"training stopped: {one_line(error)}", (), None
    return True
