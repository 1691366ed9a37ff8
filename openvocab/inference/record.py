"""What a run over many pictures has done so far: a file beside the outputs, by which the same command goes on.

Its first line is the question, each further one a picture whose outputs are written. It is there as long as a run is
not wholly done.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import openvocab
from openvocab.checkpoint.notes import sha256_of
from openvocab.files import write_atomically
from openvocab.inference import marks
from openvocab.preflight import version_of

if TYPE_CHECKING:
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

RECORD = "openvocab_segment.run"


def question_of(segmenter: "Segmenter", words: "Sequence[Vocabulary | tuple]", **options: Any) -> dict[str, Any]:
    """Collects all that the outputs of a picture depend on, but for the picture.

    Args:
        segmenter: that answers.
        words: that are asked for, and the background.
        options: further settings, of plain values.

    Returns:
        Names and plain values.
    """
    weights = Path(segmenter.weights)
    asked = {
        "version": [openvocab.__version__, version_of("torch"), version_of("pillow")],
        "model": [segmenter.name, segmenter.notice],
        "weights": [str(weights), sha256_of(weights)],
        "config": hashlib.sha256(segmenter.cfg.dump().encode()).hexdigest(),
        "device": [str(segmenter.device), segmenter.dtype],
        "words": [[part.entries, part.names, part.synonyms] if part else [] for part in words],
        "synonyms": segmenter.synonyms,
        **options,
    }
    return json.loads(json.dumps(asked))  # as it is read back


class Record:
    """The record of a run in a folder that this process has claimed.

    Attributes:
        changed: keys of another question that was asked here before; those outputs are made anew.
    """

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        """Reads what an earlier run has done, and begins a new record where it asked something else.

        Args:
            folder: of the outputs; it exists.
            question: of `question_of`.

        Raises:
            ValueError: a file of this name that no run wrote.
            OSError: it cannot be read or written.
        """
        self.path, self.changed = folder / RECORD, []
        self._done: dict[str, list] = {}
        marks.refuse_foreign([self.path], marks.RUN)
        first = {marks.JSON_KEY: marks.TEXTS[marks.RUN], "question": question}
        before, end = self._read()
        if before != question:
            self.changed = [key for key in question if before and before.get(key) != question[key]]
            self._done.clear()
            write_atomically(self.path, _line(first))
            end = self.path.stat().st_size
        self._file: BinaryIO = open(self.path, "r+b")  # noqa: SIM115 - closed by `close`
        self._file.truncate(end)
        self._file.seek(end)

    def _read(self) -> tuple[dict[str, Any], int]:
        """Reads the question and the pictures, and tells where the last whole line ends."""
        end, question = 0, {}
        with open(self.path, "rb") if self.path.exists() else nullcontext(()) as lines:
            for line in lines:
                content = _parsed(line)
                if end and isinstance(content, list):
                    self._done[content[0]] = content[1:]
                elif not end and isinstance(content, dict):
                    question = content.get("question", {})
                else:
                    break
                end += len(line)
        return question, end

    def has(self, picture: Path, stem: str, files: Iterable[Path]) -> bool:
        """Says whether a picture is done, and neither it nor its outputs have changed since.

        Args:
            picture: that is asked for.
            stem: of its outputs.
            files: its outputs.
        """
        told = self._done.get(_name(picture))
        try:
            return told is not None and told == [stem, *_states([picture, *files])]
        except FileNotFoundError:
            return False

    def add(self, picture: Path, stem: str, files: Iterable[Path]) -> None:
        """Notes a picture whose outputs are written.

        Args:
            picture: that was read.
            stem: of its outputs.
            files: its outputs.

        Raises:
            OSError: the disk is full, or the picture or its outputs are gone.
        """
        self._file.write(_line([_name(picture), stem, *_states([picture, *files])]))
        self._file.flush()

    def remove(self) -> None:
        """Removes it: all is done, and the same command would begin anew."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Ends it, as it is."""
        self._file.close()


def _parsed(line: bytes) -> object:
    """Gives what a line holds, or None for one that a kill has torn, which is the last."""
    try:
        return json.loads(line) or None if line.endswith(b"\n") else None
    except ValueError:
        return None


def _line(content: object) -> bytes:
    return json.dumps(content).encode("ascii") + b"\n"  # bytes of names that are no UTF-8 are escaped


def _name(picture: Path) -> str:
    return os.path.abspath(picture)


def _states(paths: Iterable[Path]) -> list[list[int]]:
    return [[state.st_size, state.st_mtime_ns] for state in map(os.stat, paths)]
