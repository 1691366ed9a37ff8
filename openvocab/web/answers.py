"""Puts questions to the models: what is asked is checked first, what was seen is kept, every error is one line."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.console import first_of, message_of, shown
from openvocab.inference import legend
from openvocab.inference.look import Look
from openvocab.inference.one_view import views_of
from openvocab.inference.result import Result
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.limits import Limits
from openvocab.web.looks import Shelf
from openvocab.web.models import Models
from openvocab.web.panes import heat_range, label_numbers, shown_heat
from openvocab.web.questions import Question, check, digest_of

_LINE = 300  # letters
_HEAT_TITLES = {"before": "cosine of pixel and word, before the model weighs it",
                "after": "probability, after the model has weighed it"}  # fmt: skip


class Desk:
    """Answers questions, one after the other.

    Attributes:
        models: that may be asked.
        limits: of a question and of all that is kept.
        kept: (name of the picture, result) and encoded heat maps, under keys that only the asker was told.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        """Opens the desk.

        Args:
            models: that may be asked.
            limits: of a question and of all that is kept.
        """
        self.models = models
        self.limits = limits
        self.kept = Shelf(limits.kept_bytes // 2)
        self._seen = Shelf(limits.kept_bytes // 2)
        self._lock, self._waiting = threading.Lock(), 0
        self._worker = ThreadPoolExecutor(1, "model")  # models answer one after the other; who waits too long is told

    def answer(self, question: Question) -> Iterator[dict[str, Any]]:
        """Answers a question.

        Args:
            question: whatever a browser sent.

        Yields:
            What the browser shows: {"status", "kind"} with "busy" while others are before it, a model is loaded or
            looks; last "error", or "done" with "words", "panes" and "digest" of the picture.
        """
        try:
            words, background = check(question, self.limits, self.models)
            with self._place() as before:
                if before:
                    yield {"kind": "busy", "status": f"waiting, {before} before you ..."}
                for name in question.models:
                    if not self.models.is_loaded(name):
                        yield {"kind": "busy", "status": f"loading {name} ..."}
                        self._worker.submit(self.models.segmenter, name).result()
                yield {"kind": "busy", "status": "looking ..."}
                yield self._in_time(question, words, background)
        except (ValueError, OSError, DownloadError) as error:
            yield {"kind": "error", "status": _one_line(message_of(error), question)}

    @contextmanager
    def _place(self) -> Iterator[int]:
        """Takes a place in the queue; gives how many are before it."""
        with self._lock:
            before = self._waiting
            if before > self.limits.waiting:
                raise ValueError(f"busy: {before} questions are waiting already, try again in a moment")
            self._waiting += 1
        try:
            yield before
        finally:
            with self._lock:
                self._waiting -= 1

    def _in_time(self, question: Question, words: Vocabulary, background: Vocabulary | tuple) -> dict[str, Any]:
        waiting = self._worker.submit(self._compute, question, words, background)
        try:
            return waiting.result(self.limits.seconds)
        except TooLate as error:
            waiting.cancel()
            raise ValueError(
                f"time: no answer within {self.limits.seconds:g} seconds; try fewer words, a smaller picture, or later"
            ) from error

    def _compute(self, question: Question, words: Vocabulary, background: Vocabulary | tuple) -> dict[str, Any]:
        start, panes, again = perf_counter(), [], True
        digest = digest_of(question.picture)
        heat = question.heat if question.heat in ("|".join(entry) for entry in words.entries) else ""
        for name in question.models:
            segmenter = self.models.segmenter(name, question.exact)
            key = question.session, name, views_of(segmenter), digest
            look = self._seen.find(key)
            if look is None:
                again, look = False, segmenter.look(question.picture)
                self._seen.put(key, look, look.nbytes)
            result = look(words, background, question.threshold or None, absent=question.absent or None)
            panes.append(self._pane(question, name, result, segmenter.unknown_words(words)))
            if heat:
                panes += self._heat_panes(heat, name, look, words, panes[-1]["key"])
        seconds = perf_counter() - start
        looked = "looked at before, asked again" if again else "looked and asked"
        colours = ["#" + bytes(colour).hex() for colour in legend.colours(len(words.names))]
        told = [
            {"name": name, "entry": "|".join(entry), "colour": colour}
            for name, entry, colour in zip(words.names, words.entries, colours, strict=True)
        ]
        note = f"; no heat map: {question.heat[:50]!r} is not one of the words" if question.heat and not heat else ""
        return {"kind": "done", "status": f"{looked}: {seconds:.2f} s{note}", "words": told, "panes": panes,
                "digest": digest}  # fmt: skip

    def _pane(self, question: Question, name: str, result: Result, unknown: Sequence[str]) -> dict[str, Any]:
        segmenter, height, width = self.models.segmenter(name), *result.labels.shape
        views = views_of(segmenter)
        told = f"{views} view{'s' * (views > 1)}" if question.exact or views == 1 else f"one view instead of {views}"
        notices = [*filter(None, [result.notice])]
        if unknown:
            notices.append(f"has never seen these words, expect no sense from them: {first_of(unknown)}")
        cut = result.absent
        rule = f", of absent words at most {100 * cut.absent:g}% (cosine from {cut.threshold:.3f} on)" if cut else ""
        key = self.kept.put_secret(
            (question.name, result), result.image.nbytes + result.labels.nbytes + result.scores.nbytes
        )
        return {"kind": "masks", "title": name, "note": self.models.find(name).note, "notices": notices,
                "about": f"{segmenter.cfg.MODEL.META_ARCHITECTURE}, {told}, {result.precision} on "
                f"{segmenter.device.type}, {width} x {height} pixels{rule}",
                "picture": key, "key": key, "numbers": label_numbers(result)}  # fmt: skip

    def _heat_panes(self, word: str, name: str, look: Look, among: Vocabulary, picture: str) -> list[dict[str, Any]]:
        heat = look.heatmap(word, among)
        panes = []
        for (kind, title), values, (low, high) in zip(_HEAT_TITLES.items(), heat, (heat_range(heat), (0.0, 1.0)),
                                                      strict=True):  # fmt: skip
            encoded = shown_heat(values, low, high)
            panes.append({"kind": kind, "title": f"{word}, {kind}", "about": f"{name}: {title}", "picture": picture,
                          "key": self.kept.put_secret(encoded, len(encoded)), "low": low, "high": high})  # fmt: skip
        return panes


def _one_line(message: str, question: Question) -> str:
    """Leaves out where pictures lie, and what no line can hold."""
    line = message.replace(str(question.picture), shown(question.name)) if question.picture else message
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."
