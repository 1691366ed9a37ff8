"""What a checkpoint says of its words: the rule only where it mattered, and all that training has shown."""

import pytest

from openvocab.vocab.trained import KEY, TrainedWords
from openvocab.vocab.vocabulary import Vocabulary

PEOPLE = Vocabulary.from_words(["pedestrian|person", "car"], "first")


def test_the_rule_is_stored_where_words_have_synonyms():
    words = TrainedWords.of_training({"pedestrian", "car"}, PEOPLE, "imagenet")
    assert words == TrainedWords(frozenset({"pedestrian", "car"}), "first", "imagenet")
    assert TrainedWords.from_checkpoint({"model": {}, KEY: words.as_checkpoint()}) == words


@pytest.mark.parametrize("vocabulary", [None, Vocabulary.from_words(["car"], "first")])
def test_no_rule_where_none_mattered(vocabulary):
    words = TrainedWords.of_training({"car"}, vocabulary, "imagenet")
    assert (words.synonyms, words.templates) == (None, None)


def test_words_of_earlier_trainings_stay_known():
    first = TrainedWords.of_training({"cat"}, None, "single")
    assert TrainedWords.of_training({"dog"}, None, "single", first).seen == {"cat", "dog"}


@pytest.mark.parametrize("content", [{}, {"model": {}}, [1], {KEY: ["cat"]}, {KEY: {"seen": []}}, None])
def test_foreign_files_say_nothing(content):
    assert TrainedWords.from_checkpoint(content) is None


def test_an_unknown_rule_is_refused():
    content = {KEY: {"seen": [], "synonyms": "median", "templates": None}}
    with pytest.raises(ValueError, match="got the rule 'median' for synonyms"):
        TrainedWords.from_checkpoint(content)
