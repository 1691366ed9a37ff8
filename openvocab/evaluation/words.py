"""Which words a dataset is evaluated with, and which of its classes the training has named."""

import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openvocab.vocab.cleaning import comparable
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary

logger = logging.getLogger(__name__)

SEEN_RULE = (
    "a class is seen if a word that is used for it is a training word, without regard to case, white space "
    "and invisible characters"
)


def vocabulary_of(dataset_name: str, words: str) -> Vocabulary | None:
    """Returns the vocabulary of a registered dataset.

    Args:
        dataset_name: in Detectron2's catalog.
        words: which spelling of a benchmark's words, see `Vocabulary.builtin`.

    Returns:
        The vocabulary, or None if the metadata have none.

    Raises:
        ValueError: unknown `words`.
    """
    metadata = MetadataCatalog.get(dataset_name)
    builtin = metadata.get("vocabulary_name", None)
    return Vocabulary.builtin(builtin, words) if builtin else metadata.get("vocabulary", None)


def train_with_words_of(model: nn.Module, dataset_name: str, words: str) -> None:
    """Gives a model the words of a dataset to train with, for inputs that bring none.

    Args:
        model: possibly wrapped; a model without `set_default_vocabulary` is left alone.
        dataset_name: registered; without words of its own the model keeps what it has.
        words: MODEL.VOCABULARY.WORDS.

    Raises:
        ValueError: unknown `words`.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    vocabulary = vocabulary_of(dataset_name, words)
    if vocabulary is not None and hasattr(inner, "set_default_vocabulary"):
        inner.set_default_vocabulary(vocabulary, training=True)


def words_for_test(cfg: CfgNode, dataset_name: str) -> Vocabulary | None:
    """Returns the words that the images of a dataset are evaluated with.

    Args:
        cfg: MODEL.VOCABULARY.
        dataset_name: registered.

    Returns:
        The dataset's words, else those of MODEL.VOCABULARY.TEST, else None; under the config's synonym rule.

    Raises:
        ValueError: unknown WORDS or TEST.
    """
    words = cfg.MODEL.VOCABULARY
    vocabulary = vocabulary_of(dataset_name, words.WORDS)
    if vocabulary is not None:
        return vocabulary.with_synonyms(words.SYNONYMS)
    return named_vocabulary(words.TEST, words.SYNONYMS) if words.TEST else None


def describe_words(cfg: CfgNode, dataset_name: str, count: int) -> dict[str, Any]:
    """States which words were used, for a result.

    Args:
        cfg: MODEL.VOCABULARY.
        dataset_name: registered.
        count: how many.

    Returns:
        Plain values.
    """
    words, metadata = cfg.MODEL.VOCABULARY, MetadataCatalog.get(dataset_name)
    builtin = metadata.get("vocabulary_name", None)
    own = "of the dataset" if metadata.get("vocabulary", None) is not None else words.TEST
    return {
        "name": builtin or metadata.get("words_file", None) or own,
        "words": count,
        "spelling": words.WORDS if builtin else "as given",
        "synonyms": words.SYNONYMS,
        "templates": words.TEMPLATES,
    }


def words_for_training(cfg: CfgNode) -> Vocabulary | None:
    """Returns the words of a training, unless each of its samples brings its own.

    Args:
        cfg: MODEL.VOCABULARY; the first of DATASETS.TRAIN, registered, where it names none.

    Returns:
        Those of MODEL.VOCABULARY.TRAIN, else the dataset's, else None; under the config's synonym rule.

    Raises:
        ValueError: unknown WORDS or TRAIN.
    """
    words = cfg.MODEL.VOCABULARY
    if words.TRAIN:
        return named_vocabulary(words.TRAIN, words.SYNONYMS)
    vocabulary = vocabulary_of(cfg.DATASETS.TRAIN[0], words.WORDS)
    return None if vocabulary is None else vocabulary.with_synonyms(words.SYNONYMS)


def training_words(cfg: CfgNode) -> tuple[str, frozenset[str]] | None:
    """Finds the words that a model was trained with, as its config says.

    Args:
        cfg: MODEL.VOCABULARY.TRAIN, else the first of DATASETS.TRAIN.

    Returns:
        Where they come from, and the words as `cleaning.comparable` writes them; None if the config does not say.

    Raises:
        ValueError: MODEL.VOCABULARY.TRAIN names nothing.
    """
    named = cfg.MODEL.VOCABULARY.TRAIN
    if not named and (not cfg.DATASETS.TRAIN or cfg.DATASETS.TRAIN[0] not in DatasetCatalog):
        return None
    vocabulary = words_for_training(cfg)
    if named:
        return named, _texts(vocabulary)
    name = cfg.DATASETS.TRAIN[0]
    if vocabulary is not None:
        return f"words of {name}", _texts(vocabulary)
    metadata = MetadataCatalog.get(name)
    if metadata.get("episode_words", None):
        return f"words of {name}", frozenset(comparable(metadata.episode_words[i]) for i in metadata.episode_class_ids)
    return None


def warn_of_other_rules(cfg: CfgNode, trained: TrainedWords | None) -> None:
    """Says where an evaluation takes words otherwise than the training of its weights did.

    Args:
        cfg: MODEL.VOCABULARY.SYNONYMS and TEMPLATES.
        trained: what the weights say of themselves.
    """
    for key in ("SYNONYMS", "TEMPLATES"):
        here, there = cfg.MODEL.VOCABULARY[key], trained and getattr(trained, key.lower())
        if there and here != there:
            logger.warning("MODEL.VOCABULARY.%s is %r, but the weights were trained under %r", key, here, there)


def seen_classes(vocabulary: Vocabulary, trained: frozenset[str]) -> tuple[bool, ...]:
    """Tells for each class whether training has named it (`SEEN_RULE`).

    Args:
        vocabulary: of the evaluation, with its synonym rule: under "first" only the first word counts.
        trained: training words, as `cleaning.comparable` writes them.

    Returns:
        One for each of `vocabulary.names`; a class of several channels is seen if a word of any of them is.
    """
    seen = [False] * len(vocabulary.names)
    for channel, words in enumerate(vocabulary.texts()):
        index = channel if vocabulary.channel_to_class is None else vocabulary.channel_to_class[channel]
        seen[index] |= any(comparable(word) in trained for word in words)
    return tuple(seen)


def _texts(vocabulary: Vocabulary) -> frozenset[str]:
    return frozenset(comparable(word) for words in vocabulary.texts() for word in words)
