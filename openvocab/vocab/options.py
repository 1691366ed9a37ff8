"""Where a model's words come from, and what is done with them."""

from dataclasses import dataclass

from fvcore.common.config import CfgNode

from openvocab.vocab.templates import templates
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary


@dataclass(frozen=True)
class VocabularyOptions:
    """Where words come from when an input brings none, and what is done with them.

    Attributes:
        train: words of training, or None.
        test: words of evaluation, or None.
        templates: P prompt templates.
        synonyms: rule for vocabularies that are not given with the input.
        train_sample: words per training batch; 0 = all.
    """

    train: Vocabulary | None
    test: Vocabulary | None
    templates: tuple[str, ...]
    synonyms: str
    train_sample: int

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "VocabularyOptions":
        """Reads MODEL.VOCABULARY.

        Args:
            cfg: with the keys of `openvocab.config`.

        Raises:
            ValueError: an unknown vocabulary, set of templates or rule.
        """
        words = cfg.MODEL.VOCABULARY
        train, test = (named_vocabulary(name, words.SYNONYMS) if name else None for name in (words.TRAIN, words.TEST))
        return cls(train, test, templates(words.TEMPLATES), words.SYNONYMS, words.TRAIN_SAMPLE)
