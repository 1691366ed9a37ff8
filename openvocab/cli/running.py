"""What the sub-commands share: a parser whose errors are one line, and errors that become an exit code."""

import argparse
import sys
from collections.abc import Callable

from openvocab import exit_codes
from openvocab.console import OutputClosedError, did_you_mean, report


class Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line, like every other error, with the did_you_mean ones that exist."""

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
