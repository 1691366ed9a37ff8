"""What a checkpoint says of the words that its training has shown, so that they mean the same in every later call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openvocab.vocab.vocabulary import SYNONYM_RULES, Vocabulary

KEY = "words"
"""Of a checkpoint, beside "model"."""


@dataclass(frozen=True)
class TrainedWords:
    """Words of a training.

    Attributes:
        seen: every word, as `cleaning.comparable` writes it, those of earlier trainings as well.
        synonyms: the rule, where words had synonyms; None where no rule mattered.
        templates: name of the prompt templates, where words had synonyms.
    """

    seen: frozenset[str]
    synonyms: str | None = None
    templates: str | None = None

    @classmethod
    def of_training(
        cls, seen: Iterable[str], vocabulary: Vocabulary | None, templates: str, earlier: "TrainedWords | None" = None
    ) -> "TrainedWords":
        """Describes a training.

        Args:
            seen: its words, as `cleaning.comparable` writes them.
            vocabulary: of the training, with its rule; None where every sample brings words of its own.
            templates: name of the prompt templates.
            earlier: of the weights that it started from.
        """
        everything = frozenset(seen) | (earlier.seen if earlier else frozenset())
        if vocabulary is None or all(len(entry) == 1 for entry in vocabulary.entries):
            return cls(everything)
        return cls(everything, vocabulary.synonyms or "mean", templates)

    @classmethod
    def from_checkpoint(cls, content: object) -> "TrainedWords | None":
        """Reads what `as_checkpoint` wrote; None where a file holds nothing of the kind.

        Args:
            content: of the file.
        """
        words = content.get(KEY) if isinstance(content, Mapping) else None
        if not isinstance(words, Mapping) or not {"seen", "synonyms", "templates"} <= words.keys():
            return None
        if words["synonyms"] not in (None, *SYNONYM_RULES):
            raise ValueError(f"checkpoint: got the rule {words['synonyms']!r} for synonyms, expected {SYNONYM_RULES}")
        return cls(frozenset(words["seen"]), words["synonyms"], words["templates"])

    def as_checkpoint(self) -> dict[str, Any]:
        """Returns plain values for a checkpoint."""
        return {"seen": sorted(self.seen), "synonyms": self.synonyms, "templates": self.templates}
