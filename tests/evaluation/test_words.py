"""Which classes training has named: compared word by word, under the synonym rule."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.data.register import register_all
from openvocab.engine.setup import build_cfg
from openvocab.evaluation.words import describe_words, seen_classes, training_words, words_for_test
from openvocab.vocab.vocabulary import Vocabulary


@pytest.fixture
def registered(tmp_path):
    before = set(DatasetCatalog)
    register_all(tmp_path)
    yield
    for name in set(DatasetCatalog) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_words_are_compared_without_case_and_extra_blanks():
    words = Vocabulary((("Traffic\t  LIGHT ",), ("Straße",)), ("a", "b"))
    assert seen_classes(words, frozenset({"traffic light", "strasse"})) == (True, False)  # "ß" is no "ss" to CLIP


def test_the_synonym_rule_decides_which_words_count():
    words = Vocabulary.from_words(["sofa|couch", "Cat", "traffic light"])
    trained = frozenset({"couch", "cat", "light"})
    assert seen_classes(words, trained) == (True, True, False)
    assert seen_classes(words.with_synonyms("first"), trained) == (False, True, False)


def test_a_class_of_several_channels():
    words = Vocabulary((("cat",), ("wall",), ("floor",)), ("cat", "background"), (0, 1, 1))
    assert seen_classes(words, frozenset({"floor"})) == (False, True)


def test_training_words_of_the_config(registered, tmp_path):
    name, words = training_words(build_cfg("catseg_b"))
    assert name == "words of coco_2017_train_stuff_all_sem_seg" and len(words) == 171 and "food-other" in words
    (tmp_path / "own.txt").write_text("Red Fox|fox\n")
    own = ["MODEL.VOCABULARY.TRAIN", str(tmp_path / "own.txt")]
    assert training_words(build_cfg("catseg_b", own))[1] == {"red fox"}
    assert training_words(build_cfg("catseg_b", [*own, "MODEL.VOCABULARY.SYNONYMS", "mean"]))[1] == {"red fox", "fox"}
    assert training_words(build_cfg("catseg_b", ["DATASETS.TRAIN", "()"])) is None
    fold = training_words(build_cfg("catseg_b", ["DATASETS.TRAIN", "('pascal_5i_fold0_train',)"]))[1]
    assert len(fold) == 15 and "person" in fold and "bicycle" not in fold


def test_coco_stuff_has_named_some_of_the_classes(registered):
    """Of VOC's 20 words COCO-Stuff writes six in another way ("airplane", "dining table", "couch", ...)."""
    cfg = build_cfg("catseg_b")
    words = words_for_test(cfg, "voc_2012_test_sem_seg")
    seen = seen_classes(words, training_words(cfg)[1])
    unseen = [name for name, known in zip(words.names, seen, strict=True) if not known]
    assert unseen == ["aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor"]


def test_words_are_described(registered):
    cfg = build_cfg("catseg_b", ["MODEL.VOCABULARY.WORDS", "readable"])
    assert describe_words(cfg, "ade20k_150_test_sem_seg", 150) == {
        "name": "ade20k_150",
        "words": 150,
        "spelling": "readable",
        "synonyms": "first",
        "templates": "single",
    }
