"""Words that mean "none of these", asked beside those that are wanted."""

from collections.abc import Sequence

from openvocab.vocab.cleaning import comparable
from openvocab.vocab.vocabulary import Vocabulary, as_vocabulary


def combine(
    words: Vocabulary | Sequence[str], background: Vocabulary | Sequence[str] = (), synonyms: str = "mean"
) -> tuple[Vocabulary, Vocabulary]:
    """Joins words and background words into what a model is asked.

    Args:
        words: a list of words or a vocabulary.
        background: the same, or empty.
        synonyms: rule where the words bring none.

    Returns:
        (the words alone, words then background); classes of the second from len(first.names) on are background.

    Raises:
        ValueError: a string instead of a list, no word, a blank word, a word twice, or a word in both.
    """
    for name, value in (("words", words), ("background", background)):
        if isinstance(value, str):
            raise ValueError(f"{name}: expected a list of words or Vocabulary.parse(...), got the string {value!r}")
    wanted = as_vocabulary(words, synonyms)
    if len(background) == 0:
        return wanted, wanted
    none = as_vocabulary(background)
    own = {comparable(word) for entry in wanted.entries for word in entry}
    both = [word for entry in none.entries for word in entry if comparable(word) in own]
    if both:
        raise ValueError(f"background: expected words that are not in words, got {both[0]!r} in both")
    first = len(wanted.names)
    classes = wanted.channel_to_class or tuple(range(len(wanted)))
    joined = Vocabulary(
        entries=wanted.entries + none.entries,
        names=wanted.names + none.names,
        channel_to_class=classes + tuple(first + c for c in none.channel_to_class or range(len(none))),
        synonyms=wanted.synonyms,
    )
    return wanted, joined
