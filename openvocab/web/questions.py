"""What a browser sent becomes a question, or one line that says what was expected."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from openvocab.vocab.background import combine
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.limits import Limits
from openvocab.web.models import Models
from openvocab.web.uploads import Uploads


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
        absent: at most this share of the pixels of words that are not there is shown; 0 for all.
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
    absent: float = 0.0
    models: tuple[str, ...] = ()
    exact: bool = False
    heat: str = ""


def question_of(sent: Sequence[Any], uploads: Uploads, session: str) -> Question:
    """Reads what a browser sent, which may be anything.

    Args:
        sent: picture ({"path", "orig_name"} as JSON, or ""), words, words for "none of these", threshold, share of
            absent words, model, second model, whether the protocol is exact, word of the heat maps.
        uploads: the pictures.
        session: of the browser.

    Raises:
        ValueError: another form, or a picture that is not (or no longer) kept here.
    """
    picture, words, none, threshold, absent, model, second, exact, heat = sent
    texts = {"picture": picture, "words": words, "none": none, "model": model, "second": second, "heat": heat}
    for name, text in texts.items():
        if not isinstance(text, str | None):
            raise ValueError(f"{name}: expected text, got {type(text).__name__}")
    for name, number in {"threshold": threshold, "absent": absent}.items():
        if not isinstance(number, int | float | None) or not 0 <= (number or 0) <= 1:
            raise ValueError(f"{name}: expected 0..1, got {str(number)[:20]}")
    path, name = _uploaded(picture, uploads) if picture else (None, "")
    words, none = (", ".join((text or "").splitlines()) for text in (words, none))  # a list that was pasted
    return Question(session, path, name, words, none, float(threshold or 0), float(absent or 0),
                    tuple(filter(None, (model, second))), bool(exact), heat or "")  # fmt: skip


def _uploaded(picture: str, uploads: Uploads) -> tuple[Path, str]:
    try:
        told = json.loads(picture)
        path, name = told["path"], told.get("orig_name") or "picture"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("picture: expected one that was uploaded here") from error
    found = uploads.find(path) if isinstance(path, str) and isinstance(name, str) else None
    if found is None:
        raise ValueError(
            "picture: it is not kept here (any more: an hour after their last use pictures are deleted); drop it again"
        )
    return found, name[:200]


def digest_of(file: Path) -> str:
    """Gives the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check(question: Question, limits: Limits, models: Models) -> tuple[Vocabulary, Vocabulary | tuple]:
    """Checks a question before any model is asked.

    Args:
        question: to be answered.
        limits: of the server.
        models: that it offers.

    Returns:
        Words, and words for "none of these" (() for none).

    Raises:
        ValueError: something is missing, wrong or more than the page takes; one line.
    """
    if question.picture is None:
        raise ValueError("picture: none yet; drop one, paste it, or take an example")
    if not question.words.strip():
        raise ValueError('words: none yet; type some, such as "cat, sofa|couch"')
    if len(question.words) + len(question.background) > limits.text:
        raise ValueError(
            f"words: got {len(question.words) + len(question.background)} letters, expected at most {limits.text}"
        )
    words = Vocabulary.parse(question.words)
    background = Vocabulary.parse(question.background) if question.background.strip() else ()
    asked = combine(words, background)[1]
    count = sum(map(len, asked.entries))  # each synonym is encoded
    if count > limits.words:
        raise ValueError(f"words: got {count}, expected at most {limits.words} on this page")
    longest = max((word for entry in asked.entries for word in entry), key=len)
    if len(longest) > limits.letters:
        raise ValueError(f"words: got {longest[:20]}... with {len(longest)} letters, expected at most {limits.letters}")
    if not 1 <= len(set(question.models)) == len(question.models) <= 2:
        raise ValueError(f"model: expected one, or two different ones, got {', '.join(question.models) or 'none'}")
    for name in question.models:
        models.find(name)
    _check_size(question.picture, limits.pixels)
    return words, background


def _check_size(picture: Path, most: int) -> None:
    try:
        with Image.open(picture) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"picture: expected at most {most / 1e6:g} million pixels on this page, got a bomb") from error
    except Exception:  # noqa: BLE001 - read_image says what is wrong with it, or reads it in spite of its metadata
        return
    if width * height > most:
        raise ValueError(
            f"picture: expected at most {most / 1e6:g} million pixels on this page, got {width} x {height}"
        )
