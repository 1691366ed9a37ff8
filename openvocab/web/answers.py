"""Puts questions to the models: what is asked is checked first, what was seen is kept, every error is one line."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.console import first_of, message_of, shown
from openvocab.inference import legend
from openvocab.inference.look import Look
from openvocab.inference.one_view import views_of
from openvocab.inference.result import Result
from openvocab.vocab.background import combine
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.limits import Limits
from openvocab.web.looks import Shelf
from openvocab.web.models import Models
from openvocab.web.panes import heat_range, label_numbers, shown_heat

_HEAT_TITLES = {"before": "cosine of pixel and word, before the model weighs it",
                "after": "probability, after the model has weighed it"}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What somebody wants to know.

    Attributes:
        session: of the browser; what was seen for one is never used for another.
        picture: the uploaded file; None where there is none yet.
        name: that its owner gave it.
        words: with commas, "|" joining synonyms.
        background: words for "none of these", likewise.
        threshold: scores below it are "none of these"; 0 for none.
        models: one, or two that answer side by side.
        exact: whether the models' own protocol is kept; else they see the picture once.
        heat: a word whose heat maps are wanted; "" for none.
    """

    session: str
    picture: Path | None
    name: str
    words: str
    background: str = ""
    threshold: float = 0.0
    models: tuple[str, ...] = ()
    exact: bool = False
    heat: str = ""


class Desk:
    """Answers questions, one after the other.

    Attributes:
        models: that may be asked.
        limits: of a question and of all that is kept.
        kept: (image, result) and encoded pictures, under keys that only the asker was told.
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
        self._worker = ThreadPoolExecutor(1, "model")  # models answer one after the other; who waits too long is told

    def answer(self, question: Question) -> Iterator[dict[str, Any]]:
        """Answers a question.

        Args:
            question: whatever a browser sent.

        Yields:
            What the browser shows: {"status", "kind"} with "busy" while a model is loaded; last "error", or "done" with
            "words" and "panes".
        """
        try:
            words, background = self._checked(question)
            for name in question.models:
                if not self.models.is_loaded(name):
                    yield {"kind": "busy", "status": f"loading {name} ..."}
                    self._worker.submit(self.models.segmenter, name).result()
            yield {"kind": "busy", "status": "looking ..."}
            yield self._in_time(question, words, background)
        except (ValueError, OSError, DownloadError) as error:
            yield {"kind": "error", "status": _without_path(message_of(error), question)}

    def _checked(self, question: Question) -> tuple[Vocabulary, Vocabulary | tuple]:
        limits = self.limits
        if question.picture is None:
            raise ValueError("picture: none yet; drop one, paste it, or take an example")
        if not question.words.strip():
            raise ValueError('words: none yet; type some, such as "cat, sofa|couch"')
        if len(question.words) + len(question.background) > limits.text:
            raise ValueError(f"words: got {len(question.words) + len(question.background)} letters, expected at most "
                             f"{limits.text}")
        words = Vocabulary.parse(question.words)
        background = Vocabulary.parse(question.background) if question.background.strip() else ()
        asked = combine(words, background)[1]
        if len(asked) > limits.words:
            raise ValueError(f"words: got {len(asked)}, expected at most {limits.words} on this page")
        longest = max((word for entry in asked.entries for word in entry), key=len)
        if len(longest) > limits.letters:
            raise ValueError(f"words: got {longest[:20]}... with {len(longest)} letters, expected at most "
                             f"{limits.letters}")
        if not 0 <= question.threshold <= 1:
            raise ValueError(f"threshold: expected 0..1, got {question.threshold}")
        if not 1 <= len(question.models) <= 2:
            raise ValueError(f"models: expected one or two, got {len(question.models)}")
        for name in question.models:
            self.models.find(name)
        self._check_size(question.picture)
        return words, background

    def _check_size(self, picture: Path) -> None:
        try:
            with Image.open(picture) as header:
                width, height = header.size
        except Image.DecompressionBombError:
            width = height = self.limits.pixels
        except Exception:  # noqa: BLE001 - read_image says what is wrong with it, or reads it in spite of its metadata
            return
        if width * height > self.limits.pixels:
            raise ValueError(f"picture: expected at most {self.limits.pixels / 1e6:g} million pixels on this page, "
                             f"got {'more' if width == height == self.limits.pixels else f'{width} x {height}'}")

    def _in_time(self, question: Question, words: Vocabulary, background: Vocabulary | tuple) -> dict[str, Any]:
        waiting = self._worker.submit(self._compute, question, words, background)
        try:
            return waiting.result(self.limits.seconds)
        except TooLate as error:
            waiting.cancel()
            raise ValueError(f"time: no answer within {self.limits.seconds:g} seconds; try fewer words, a smaller "
                             "picture, or later") from error

    def _compute(self, question: Question, words: Vocabulary, background: Vocabulary | tuple) -> dict[str, Any]:
        start, panes, again = perf_counter(), [], True
        digest = hashlib.sha256(question.picture.read_bytes()).hexdigest()
        for name in question.models:
            segmenter = self.models.segmenter(name, question.exact)
            key = question.session, name, views_of(segmenter), digest
            look = self._seen.find(key)
            if look is None:
                again, look = False, segmenter.look(question.picture)
                self._seen.put(key, look, look.nbytes)
            result = look(words, background, question.threshold or None)
            panes.append(self._pane(question, name, result, segmenter.unknown_words(words)))
            if question.heat:
                panes += self._heat_panes(question.heat, name, look, words, panes[-1]["key"])
        seconds = perf_counter() - start
        looked = "looked at before, asked again" if again else "looked and asked"
        colours = ["#" + bytes(colour).hex() for colour in legend.colours(len(words.names))]
        told = [{"name": name, "entry": "|".join(entry), "colour": colour}
                for name, entry, colour in zip(words.names, words.entries, colours, strict=True)]
        return {"kind": "done", "status": f"{looked}: {seconds:.2f} s", "words": told, "panes": panes}

    def _pane(self, question: Question, name: str, result: Result, unknown: Sequence[str]) -> dict[str, Any]:
        segmenter, height, width = self.models.segmenter(name), *result.labels.shape
        views = views_of(segmenter)
        told = f"{views} view{'s' * (views > 1)}" if question.exact or views == 1 else f"one view instead of {views}"
        notices = [*filter(None, [result.notice])]
        if unknown:
            notices.append(f"has never seen these words, expect no sense from them: {first_of(unknown)}")
        key = self.kept.put_secret((question.name, result),
                                   result.image.nbytes + result.labels.nbytes + result.scores.nbytes)
        return {"kind": "masks", "title": name, "note": self.models.find(name).note, "notices": notices,
                "about": f"{segmenter.cfg.MODEL.META_ARCHITECTURE}, {told}, {result.precision} on "
                f"{segmenter.device.type}, {width} x {height} pixels",
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


def _without_path(message: str, question: Question) -> str:
    return message.replace(str(question.picture), shown(question.name)) if question.picture else message
