"""How long many pictures take and how much disk: an estimate after the first ones, and what is left of it."""

import math
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

FIRST = 3  # pictures, of which the estimate is made
_LEAST = 8  # pictures, of which one is wanted


class Pace:
    """Counts pictures that are done.

    Args:
        count: pictures that are to be done.
        folder: of their outputs.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self.count, self.folder = count, folder
        self.done, self.bytes, self._start = 0, 0, time.monotonic()

    def add(self, files: Iterable[Path]) -> None:
        """Counts one picture.

        Args:
            files: its outputs; none where it has failed.
        """
        self.done += 1
        self.bytes += sum(file.stat().st_size for file in files)

    def estimate(self) -> tuple[str, str] | None:
        """Gives the estimate once, after the first pictures of many.

        Returns:
            A line about time and disk, and a warning or "" where there is room enough; None at every other time.
        """
        if self.done != FIRST or self.count < _LEAST:
            return None
        needed, free = self.bytes / self.done * (self.count - self.done), shutil.disk_usage(self.folder).free
        line = (
            f"estimate    {self._seconds():.1f} s and {_size(self.bytes / self.done)} each: {self.count} pictures "
            f"take about {duration(self._seconds() * self.count)} and {_size(needed + self.bytes)}"
        )
        short = f"output: about {_size(needed)} more are needed in {self.folder}, {_size(free)} are free"
        return line, short if needed > free else ""

    def left(self) -> str:
        """Says how long it will still take, once that can be told; "" before, and of few pictures."""
        if self.done < FIRST or self.count < _LEAST or self.done >= self.count:
            return ""
        return f", {duration(self._seconds() * (self.count - self.done))} left"

    def _seconds(self) -> float:
        return (time.monotonic() - self._start) / self.done


def duration(seconds: float) -> str:
    """Says how long something takes, as coarsely as one wants to know it.

    Args:
        seconds: of it.
    """
    if seconds < 100:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count, 1e4) / 1e6:.2f} MB"
