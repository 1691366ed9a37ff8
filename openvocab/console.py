"""What a command line prints: text that any terminal takes, and errors of one line."""

import difflib
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence

# Control characters, halves of surrogate pairs (how Python holds the bytes of a name that is no UTF-8), line breaks.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_NAMED = 2  # of a long list of names; the rest is counted


class OutputClosedError(Exception):
    """Standard output takes no more lines; the message says why."""


def escape_what_cannot_be_shown() -> None:
    """Makes standard output and error escape what they cannot encode, instead of raising; at a program's start."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shown(text: object) -> str:
    r"""Gives a text in a form that is printed as one line: control characters and broken bytes as \x0a or \udce9.

    Args:
        text: a path, an error or a string.
    """
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _UNPRINTABLE else letter
        for letter in str(text)
    )


def message_of(error: BaseException) -> str:
    """Gives what an error says, in one line.

    Args:
        error: of an OSError, the reason and the file it knows; of an error without words, its kind.
    """
    if isinstance(error, OSError) and error.strerror:
        return shown(error.strerror if error.filename is None else f"{error.strerror}: {os.fsdecode(error.filename)}")
    return shown(" ".join(str(error).split())) or type(error).__name__


def report(error: BaseException | str) -> None:
    """Prints "error: " and one line on standard error, whatever line breaks the message holds.

    Args:
        error: or its message.
    """
    text = shown(error) if isinstance(error, str) else message_of(error)
    try:
        print(f"error: {text}", file=sys.stderr, flush=True)
    except OSError:  # nobody reads it; the exit code says it still
        _give_up(sys.stderr)


def say(text: str) -> None:
    """Prints a line on standard output at once.

    Args:
        text: the line; line breaks stay.

    Raises:
        OutputClosedError: nobody reads it any more, or the disk that it goes to is full.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        _give_up(sys.stdout)
        raise OutputClosedError(f"standard output: {message_of(error)}") from error


def _give_up(stream: io.TextIOBase) -> None:
    """Sends nowhere what is still buffered: Python would complain of it at its end, and exit with 120."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # a stream in memory: nothing is flushed at the end
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), number)


def first_of(values: Sequence[object], most: int = 5) -> str:
    """Lists the first of some values: "0, 1, 2, 3, 4, ...".

    Args:
        values: in order.
        most: how many are shown.
    """
    return ", ".join(map(str, values[:most])) + (", ..." if len(values) > most else "")


def counted(names: Sequence[object], what: str) -> str:
    """Counts things and names the first ones: "4 outputs: a.png, b.png and 2 more".

    Args:
        names: of the things; one or more.
        what: they are, in the plural.
    """
    one = what.partition(" ")[0].removesuffix("s") + what[len(what.partition(" ")[0]) :]
    more = len(names) - _NAMED
    first = ", ".join(shown(name) for name in names[:_NAMED])
    return f"{len(names)} {what if len(names) > 1 else one}: {first}{f' and {more} more' if more > 0 else ''}"


def did_you_mean(text: str, known: Iterable[str], most: int = 1) -> str:
    """Names what a word may have been meant to be: ", did you mean catseg_b?".

    Args:
        text: what was written.
        known: what exists.
        most: how many are named.

    Returns:
        The question, or "" where nothing is near.
    """
    near = difflib.get_close_matches(text, list(known), n=most)
    return f", did you mean {' or '.join(near)}?" if near else ""
