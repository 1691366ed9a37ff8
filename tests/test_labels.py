"""What the parts of a batch say of their labels, and what all of it is sampled from."""

import pytest
import torch

from openvocab.labels import Survey, restricted, sampled_classes
from openvocab.vocab.vocabulary import Vocabulary

IGNORE = 255
WORDS = Vocabulary.from_words([f"word {index}" for index in range(30)])


def survey(*classes, vocabularies=(WORDS,)):
    return Survey(1, frozenset(vocabularies), frozenset(classes))


def draw(*parts, n=6, seed=0):
    return sampled_classes(parts, n, torch.Generator().manual_seed(seed))


def test_the_parts_are_sampled_as_the_whole():
    parts = [survey(3, 17), survey(), survey(29, 3)]
    assert draw(*parts) == draw(*reversed(parts)) == draw(survey(3, 17, 29))
    assert len(draw(*parts)) == 6 and {3, 17, 29} < set(draw(*parts))
    assert draw(*parts) != draw(*parts, seed=1)
    assert draw(*(survey(index) for index in range(10))) == list(range(10))  # more than wanted: all of them


def test_all_words_where_nothing_is_sampled():
    other = Vocabulary.from_words(["cat", "dog"])
    assert draw(survey(1), survey(1, vocabularies=[other])) is None
    assert draw(survey(1), n=30) is None and draw(survey(1), n=0) is None
    assert draw(Survey(7), Survey(9)) is None  # as models survey that do not sample


def test_labels_of_some_classes():
    label = torch.tensor([[3, 17], [IGNORE, 3]])
    (moved,), words = restricted(WORDS, [label], [3, 5, 17], IGNORE)
    assert moved.tolist() == [[0, 2], [IGNORE, 0]] and words.names == ("word 3", "word 5", "word 17")
    with pytest.raises(ValueError, match=r"classes: got 2 of 30 without \[17\], which the labels hold"):
        restricted(WORDS, [label], [3, 5], IGNORE)
