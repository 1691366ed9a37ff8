"""Words that a model cannot know, said once for each."""

import logging

from torch import nn

from openvocab.vocab.cleaning import comparable
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_SHOWN = 10  # in a warning
_MOST = 1 << 16  # are remembered


class UnknownWords:
    """Knows which words a model has never seen, and of which it has warned.

    Args:
        name: of the model.
        model: whose text encoder says so, where it does.
        trained: what the file of the parameters says of the words that training has shown.
    """

    def __init__(self, name: str, model: nn.Module, trained: TrainedWords | None):
        self._name, self._model = name, model
        self._seen = trained.seen if trained else frozenset()
        self._warned: set[str] = set()  # once per word is enough, however many pictures follow

    def among(self, vocabulary: Vocabulary) -> list[str]:
        """Lists those of a vocabulary; empty if the text encoder does not say.

        Args:
            vocabulary: the words.
        """
        ask = getattr(getattr(self._model, "text_encoder", None), "unknown_words", None)
        return [word for word in ask(vocabulary) if comparable(word) not in self._seen] if ask is not None else []

    def warn(self, vocabulary: Vocabulary) -> None:
        """Logs a warning of those of a vocabulary that were not warned of yet.

        Args:
            vocabulary: the words.
        """
        new = [word for word in self.among(vocabulary) if word not in self._warned]
        if len(self._warned) > _MOST:  # a server is asked for ever
            self._warned.clear()
        self._warned.update(new)
        if new:
            shown = ", ".join(new[:_SHOWN]) + (f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else "")
            logger.warning("%s has never seen these words, expect no sense from them: %s", self._name, shown)
