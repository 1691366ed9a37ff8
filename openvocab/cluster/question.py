"""What is asked of every picture. It stands in each file of answers, so that none of another question joins them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openvocab.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class Question:
    """Model and words; what its answers depend on, and nothing else.

    Attributes:
        model: a name of the zoo, or the path of a config that every machine reads.
        weights: file of the parameters that every machine reads; None: each finds those of the model by itself.
        sha256: of the parameters, in hexadecimal digits.
        dtype: the precision that was asked for.
        vocabulary: the words.
        background: those for "none of these", () for none.
        threshold: 0..1, or None.
        synonyms: "mean", "first", or None where the model decides.
        overrides: flat KEY, VALUE pairs for the config.
        download: whether a machine may fetch the parameters; not a part of what is asked.
        absent: 0..1, or None; every machine has the model's curve.
    """

    model: str
    weights: str | None
    sha256: str
    dtype: str
    vocabulary: Vocabulary
    background: Vocabulary | tuple = ()
    threshold: float | None = None
    synonyms: str | None = None
    overrides: tuple[str, ...] = ()
    download: bool = field(default=True, compare=False)
    absent: float | None = None

    def asked(self) -> dict[str, Any]:
        """Gives what is asked in plain values, by the names of the options."""
        return {
            "model": self.model,
            "weights": f"sha256 {self.sha256}",
            "dtype": self.dtype,
            "vocabulary": _plain(self.vocabulary),
            "background": _plain(self.background) if self.background else [],
            "threshold": self.threshold,
            "synonyms": self.synonyms,
            "opts": list(self.overrides),
            **({} if self.absent is None else {"absent": self.absent}),
        }

    def text(self) -> str:
        """Gives the form that stands in files."""
        return json.dumps(self.asked(), ensure_ascii=False, sort_keys=True)

    def difference(self, text: str) -> str:
        """Says what another question asks otherwise, one line; "" where it is the same.

        Args:
            text: of the other one.
        """
        return _difference(json.loads(text), self.asked())


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    for name in sorted({*there, *here}):
        before, now = there.get(name), here.get(name)
        if before != now:
            return f"--{name}: the answers there are to {_short(before)}, asked is {_short(now)}"
    return ""


def _plain(vocabulary: Vocabulary) -> list[str]:
    entries = ["|".join(entry) for entry in vocabulary.entries]
    if vocabulary.channel_to_class is None:
        return entries
    classes = (vocabulary.names[number] for number in vocabulary.channel_to_class)
    return [f"{entry} ({name})" for entry, name in zip(entries, classes, strict=True)]


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return repr(text if len(text) <= 80 else f"{text[:76]} ...") if value not in (None, []) else "none"
