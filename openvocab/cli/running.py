"""What the sub-commands share: a parser whose errors are one line, and errors that become an exit code."""

import argparse
import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from openvocab import exit_codes
from openvocab.console import OutputClosedError, did_you_mean, report, say


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line, like every other error, with the nearest one that exists.

    Args:
        program: how it was called.
        description: what it does, one line.
        examples: shown below the options, in front of the exit codes.
        options: of argparse.
    """

    def __init__(self, program: str, description: str, examples: str = "", **options: Any) -> None:
        epilog = "\n\n".join(filter(None, (examples, exit_codes.TABLE)))
        super().__init__(
            program,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def parse_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parses; an empty text, which a variable that is not set leaves behind, stands for nothing.

        Args:
            args: default: those of the process.
            namespace: filled, see argparse.

        Returns:
            What was asked for.

        Raises:
            ValueError: a wrong or an empty argument.
        """
        parsed = super().parse_args(args, namespace)
        for action in self._actions:
            value = getattr(parsed, action.dest, None)
            if action.dest != "opts" and "" in (value if isinstance(value, list) else [value]):
                self.error(f"argument {'/'.join(action.option_strings) or action.metavar}: got an empty text")
        return parsed

    def print_help(self, file: IO[str] | None = None) -> None:
        """Prints the help where it can be printed; a full disk or a closed pipe is an error of one line."""
        say(self.format_help().rstrip())

    def error(self, message: str) -> None:
        """Raises what is wrong.

        Args:
            message: of argparse.

        Raises:
            ValueError: always.
        """
        unknown = message.rpartition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        options = [name for action in self._actions for name in action.option_strings]
        hint = did_you_mean(unknown, options) if unknown.startswith("-") else ""
        raise ValueError(f"{message}{hint} (see {self.prog} --help)")


def run_with_warnings(work: Callable[[], int]) -> int:
    """Does as `run`, and prints warnings as lines on stderr; `train` and `evaluate` have loggers of their own.

    Args:
        work: gives an exit code.

    Returns:
        Its exit code, or that of an error or of Ctrl-C.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run(work)


def command(
    build_parser: Callable[[], argparse.ArgumentParser], work: Callable[[argparse.Namespace], int]
) -> Callable[[Sequence[str] | None], int]:
    """Makes the `main` of a command.

    Args:
        build_parser: describes its options.
        work: does what they say, and gives an exit code.

    Returns:
        A function of the arguments, by default those of the process, that gives the exit code
        (`openvocab.exit_codes`).
    """

    def main(arguments: Sequence[str] | None = None) -> int:
        return run_with_warnings(lambda: work(build_parser().parse_args(arguments)))

    return main


def run(work: Callable[[], int]) -> int:
    """Does the work of a command; an error that the user can mend becomes one line on stderr.

    Args:
        work: gives an exit code.

    Returns:
        Its exit code, or that of an error or of Ctrl-C.
    """
    from openvocab.checkpoint.hub_errors import DownloadError

    try:
        return work()
    except (ValueError, OSError, DownloadError, OutputClosedError) as error:
        report(error)
        return exit_codes.NOTHING_DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM ends work as Ctrl-C does, which says how far it is and leaves nothing half done."""
    if threading.current_thread() is not threading.main_thread():  # others may not choose
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def end_process(code: int) -> NoReturn:
    """Ends this process as `sys.exit(code)` does at a program's end, but for what that takes apart.

    After torch and Detectron2, Python takes a second and a half to free each object before the memory goes anyway. As
    in a child of `multiprocessing`, threads are waited for here, what is registered with `atexit` runs, what is
    written is flushed, and the process is gone.

    Args:
        code: exit code.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except (OSError, ValueError):  # nobody reads it any more: Python has an answer to that
        sys.exit(code)
    os._exit(code)
