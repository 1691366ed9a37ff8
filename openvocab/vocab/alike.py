"""Words that a model cannot tell apart, or hardly: the same prompt, or nearly the same embedding."""

from typing import TYPE_CHECKING, NamedTuple

from openvocab.vocab.cleaning import comparable
from openvocab.vocab.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


class Pair(NamedTuple):
    """Two channels of a vocabulary with nearly the same embedding.

    Attributes:
        first: number of a channel.
        second: number of a later one.
        cosine: of their embeddings, -1..1.
    """

    first: int
    second: int
    cosine: float


def prompts_of(vocabulary: Vocabulary) -> list[frozenset[str]]:
    """Gives for each channel the words that reach the text encoder, as it reads them; their order changes nothing.

    Args:
        vocabulary: T channels under a rule for synonyms.
    """
    return [frozenset(map(comparable, words)) for words in vocabulary.texts()]


def identical(vocabulary: Vocabulary) -> list[list[int]]:
    """Finds channels whose prompts are the same, so that every model gives them the same score; needs no model.

    Args:
        vocabulary: T channels under a rule for synonyms.

    Returns:
        Groups of two or more channels, in ascending order.
    """
    groups: dict[frozenset[str], list[int]] = {}
    for number, words in enumerate(prompts_of(vocabulary)):
        groups.setdefault(words, []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def near(vocabulary: Vocabulary, embeddings: "Tensor", least: float) -> list[Pair]:
    """Finds channels whose embeddings are nearly the same, and whose prompts are not.

    Args:
        vocabulary: T channels.
        embeddings: (T, C) float32, L2-normalised.
        least: cosine from which on a pair counts, 0..1.

    Returns:
        Pairs, the nearest first.
    """
    prompts = prompts_of(vocabulary)
    cosines = (embeddings @ embeddings.T).triu(1)
    rows, columns = (part.tolist() for part in (cosines >= least).nonzero(as_tuple=True))
    pairs = (Pair(a, b, min(float(cosines[a, b]), 1.0)) for a, b in zip(rows, columns, strict=True) if a < b)
    pairs = (pair for pair in pairs if prompts[pair.first] != prompts[pair.second])
    return sorted(pairs, key=lambda pair: -pair.cosine)
