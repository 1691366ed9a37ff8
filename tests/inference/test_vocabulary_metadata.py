"""Words as Detectron2's visualizer wants them."""

import numpy as np
import pytest
from detectron2.utils.visualizer import Visualizer

from openvocab.inference.metadata import vocabulary_metadata
from openvocab.vocab.vocabulary import Vocabulary


@pytest.mark.parametrize("words", ["cat, sofa|couch", ["cat", "sofa|couch"], Vocabulary.parse("cat, sofa|couch")])
def test_words_of_any_kind(words):
    metadata = vocabulary_metadata(words)
    assert metadata.stuff_classes == ["cat", "sofa"]
    assert len(metadata.stuff_colors) == 2


def test_a_class_of_many_has_a_colour_of_its_own():
    metadata = vocabulary_metadata("ade20k_847")
    assert len({tuple(color) for color in metadata.stuff_colors}) == len(metadata.stuff_classes) == 847


def test_one_entry_per_class_where_several_words_mean_one():
    assert len(vocabulary_metadata("pascal_voc_20b").stuff_classes) == 21


def test_the_visualizer_draws_with_it():
    picture = np.full((40, 60, 3), 128, np.uint8)
    labels = np.zeros((40, 60), np.int64)
    labels[:, 30:] = 1
    drawn = Visualizer(picture, vocabulary_metadata("cat,sofa")).draw_sem_seg(labels, alpha=1.0).get_image()
    assert not np.array_equal(drawn[20, 5], drawn[20, 55])
