"""Over which picture a worker died: Ray gives a portion to the next worker without end, and it would die, too."""

from pathlib import Path
from types import TracebackType


class Deaths:
    """A file beside the answers that says which picture is being worked on; it goes when the portion is done.

    Attributes:
        given_up: numbers of the pictures over which `LIMIT` workers have died.
    """

    LIMIT = 3

    def __init__(self, path: Path) -> None:
        """Reads what earlier workers have left.

        Args:
            path: of the file; its folder exists.
        """
        self._path = path
        lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
        # The first line lists those of earlier deaths; the last one was begun when the worker died.
        earlier = lines[0].split() if lines else []
        self._died = [int(number) for number in (*earlier, *lines[1:][-1:])]
        self.given_up = {number for number in self._died if self._died.count(number) >= self.LIMIT}

    def __enter__(self) -> "Deaths":
        self._file = open(self._path, "w", encoding="ascii")
        self._note(" ".join(map(str, self._died)))
        return self

    def begin(self, number: int) -> None:
        """Says that a picture is begun.

        Args:
            number: of the picture in its portion.
        """
        self._note(str(number))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _note(self, line: str) -> None:
        self._file.write(f"{line}\n")
        self._file.flush()
