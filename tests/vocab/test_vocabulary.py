"""Words: parsing, files, built-in lists and their traps."""

import json

import pytest
import torch

from openvocab.vocab.sampling import chance_to_be_named, sample_vocabulary
from openvocab.vocab.templates import TEMPLATES, templates
from openvocab.vocab.vocabulary import (
    Vocabulary,
    as_vocabulary,
    builtin_absent,
    builtin_category_ids,
    builtin_colors,
    builtin_dataset_ids,
    builtin_names,
    named_vocabulary,
)

COUNTS = {"ade20k_150": 150, "ade20k_847": 847, "coco_stuff_171": 171, "pascal_context_459": 459,
          "pascal_context_59": 59, "pascal_voc_20": 20, "pascal_voc_20b": 59}  # fmt: skip


def test_words():
    words = Vocabulary.from_words([" sofa | couch ", "swimming  pool"])
    assert words.entries == (("sofa", "couch"), ("swimming pool",))
    assert words.names == ("sofa", "swimming pool")
    assert words.texts() == words.entries
    assert words.with_synonyms("first").texts() == (("sofa",), ("swimming pool",))
    assert len(words) == 2
    assert words == Vocabulary.parse("sofa|couch,swimming pool")
    assert hash(words) == hash(Vocabulary.parse("sofa|couch,swimming pool"))
    assert words.synonyms is None  # whoever asks decides
    assert as_vocabulary(words) == words.with_synonyms("mean")
    assert as_vocabulary(words, "first") == words.with_synonyms("first")
    ruled = words.with_synonyms("first")
    assert as_vocabulary(ruled) is ruled
    assert as_vocabulary(("a", "b")) == Vocabulary.parse("a,b").with_synonyms("mean")


@pytest.mark.parametrize(("text", "message"), [
    ("", "empty vocabulary"),
    ("  ", "empty vocabulary"),
    ("cat,,dog", "blank word in entry 2"),
    ("cat,dog|", "blank word in entry 2"),
    ("cat,dog,cat", "'cat' twice"),
    ("cat,sofa|Cat", "'Cat' twice"),
])  # fmt: skip
def test_bad_words(text, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.parse(text)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"entries": (), "names": ()}, "empty"),
    ({"entries": (("a",),), "names": ("a", "b")}, "names: got 2, expected 1"),
    ({"entries": (("a",),), "names": ("a",), "synonyms": "all"}, "synonyms: got 'all'"),
    ({"entries": (("a",),), "names": ("a",), "channel_to_class": (1,)}, "channel_to_class"),
    ({"entries": (("a",),), "names": ("a",), "channel_to_class": (0, 0)}, "length 2, expected 1"),
])  # fmt: skip
def test_bad_vocabularies(arguments, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**arguments)


def test_one_string_is_not_a_list_of_words():
    with pytest.raises(ValueError, match="got one string 'cat'"):
        as_vocabulary("cat")


@pytest.mark.parametrize("word", [1, None, ["sofa", "couch"]])
def test_a_word_is_text(word):
    with pytest.raises(ValueError, match=r"got .* as entry 2, expected text"):
        as_vocabulary(["cat", word])


def test_files(tmp_path):
    text = tmp_path / "words.txt"
    text.write_text("# mine\ncat\n\ntable, round|desk\n", encoding="utf-8-sig")
    assert Vocabulary.from_file(text).entries == (("cat",), ("table, round", "desk"))
    numbered = tmp_path / "classes.txt"
    numbered.write_text("cat\ntable, round|desk\n")
    assert named_vocabulary(str(numbered)) == Vocabulary.from_file(text)
    listed = tmp_path / "words.json"
    listed.write_text(json.dumps(["cat", "sofa|couch", ["table, round", "desk"]]))
    assert Vocabulary.from_file(listed).entries == (("cat",), ("sofa", "couch"), ("table, round", "desk"))


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("cat,sofa|couch", (("cat",), ("sofa", "couch"))),
        ("sofa|couch", (("sofa", "couch"),)),
        ("cat,", (("cat",),)),
        (" hot dog , ", (("hot dog",),)),
    ],
)
def test_words_in_a_config_are_words_of_a_call(text, entries):
    for rule in (None, "first", "mean"):
        vocabulary = named_vocabulary(text, rule)
        assert (vocabulary.entries, vocabulary.synonyms) == (entries, "mean")


def test_names_in_a_config_take_its_rule():
    assert named_vocabulary("ade20k_150").synonyms == "first"
    assert named_vocabulary("ade20k_150", "mean").synonyms == "mean"


@pytest.mark.parametrize("text", ["cat", "ade20k_15", "ade20k", "words.csv"])
def test_what_is_neither_name_nor_words_is_an_error_with_the_nearest_name(text):
    with pytest.raises(ValueError, match=rf"got '{text}', expected .* nearest is '\w+'.*'{text},' is one word"):
        named_vocabulary(text)


@pytest.mark.parametrize("text", ["cat,,dog", ",", "cat,cat"])
def test_words_in_a_config_are_checked(text):
    with pytest.raises(ValueError, match="words: "):
        named_vocabulary(text)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.txt", b"# nothing\n", "a.txt: words: got an empty"),
    ("a.txt", b"\xff\xfe\x00", "a.txt"),
    ("a.json", b"{}", "a.json: got dict"),
    ("a.json", b"[1]", "a.json: got the entry 1"),
    ("a.json", b"[", "a.json"),
    ("a.csv", b"cat", "expected a .txt, .json or .safetensors file"),
])  # fmt: skip
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_file(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.txt"):
        Vocabulary.from_file(tmp_path / "nothing.txt")


def test_builtin_names():
    assert set(COUNTS) <= set(builtin_names())
    with pytest.raises(ValueError, match="'ade20k', expected one of .*'ade20k_150'"):
        Vocabulary.builtin("ade20k")


@pytest.mark.parametrize("name", COUNTS)
def test_builtin(name):
    words = Vocabulary.builtin(name)
    assert len(words) == COUNTS[name]
    assert words.synonyms == "first"
    assert all(len(channel) == 1 for channel in words.texts())
    ids = builtin_dataset_ids(name)
    assert len(ids) == len(set(ids)) == len(words.names)
    assert all(shown == shown.strip() for shown in words.names)


def test_builtin_traps():
    ade = Vocabulary.builtin("ade20k_150")
    assert (ade.names[7], ade.entries[7], ade.entries[89]) == ("bed", ("bed ",), ("television receiver",))
    full = Vocabulary.builtin("ade20k_847")
    assert sum(len(words) > 1 for words in full.entries) == 217
    assert [index for index, words in enumerate(full.texts()) if words == ("bag",)] == [114, 191, 252]
    assert Vocabulary.builtin("pascal_context_459").entries[2] == ("airconditioner",)
    assert Vocabulary.builtin("pascal_context_459").names[2] == "air conditioner"
    context = Vocabulary.builtin("pascal_context_59")
    assert (context.names[49], context.entries[49]) == ("table", ("diningtable",))
    background = Vocabulary.builtin("pascal_voc_20b")
    assert (len(background.names), background.names[20]) == (21, "background")
    assert background.channel_to_class == (*range(20), *[20] * 39)
    assert "food-other" in Vocabulary.builtin("coco_stuff_171").names


def test_readable_words_where_the_published_ones_differ():
    context = Vocabulary.builtin("pascal_context_459", words="readable")
    assert context.entries[2] == ("air conditioner",)
    published = Vocabulary.builtin("pascal_context_459")
    spaces = [index for index in range(459) if context.names[index] != published.entries[index][0]]
    assert len(spaces) == 94
    assert Vocabulary.builtin("ade20k_150", words="readable").entries[1] == ("building", "edifice")
    background = Vocabulary.builtin("pascal_voc_20b", words="readable")
    assert (background.entries[15], len(background), len(background.names)) == (("potted plant",), 59, 21)
    with pytest.raises(ValueError, match="words: got 'nice'"):
        Vocabulary.builtin("ade20k_150", words="nice")


@pytest.mark.parametrize("name", builtin_names())
def test_colours(name):
    colours = builtin_colors(name)
    assert len(colours) == len(set(colours)) == len(Vocabulary.builtin(name).names)
    assert all(0 <= part <= 255 for colour in colours for part in colour)
    assert name != "pascal_voc_20" or colours[:2] == ((128, 0, 0), (0, 128, 0))


def test_few_shot_vocabularies():
    coco = Vocabulary.builtin("coco_20i")
    assert (coco.names[57], coco.entries[57]) == ("couch", ("sofa",))
    assert sum(name != words[0] for name, words in zip(coco.names, coco.entries)) == 19
    assert builtin_category_ids("coco_20i")[79] == 90
    shots = Vocabulary.builtin("fss_1000")
    assert (len(shots), shots.names[0], shots.entries[0]) == (1000, "ac wall", ("ac_wall",))
    with pytest.raises(ValueError, match="'fss_1000', which has no dataset_ids"):
        builtin_dataset_ids("fss_1000")
    assert len(builtin_absent("pascal_context_459")) == 114 and builtin_absent("ade20k_847") == ()


def test_templates():
    assert {name: len(texts) for name, texts in TEMPLATES.items()} == {
        "single": 1, "imagenet": 80, "imagenet_select": 8, "bare": 1}  # fmt: skip
    assert templates("single") == ("A photo of a {} in the scene",)
    assert all(text.count("{}") == 1 for texts in TEMPLATES.values() for text in texts)
    with pytest.raises(ValueError, match="'all', expected one of"):
        templates("all")


def test_sampling():
    draws = [sample_vocabulary({3, 5}, 20, 6, torch.Generator().manual_seed(seed)) for seed in range(50)]
    for draw in draws:
        assert draw == sorted(set(draw))
        assert len(draw) == 6
        assert {3, 5} <= set(draw) <= set(range(20))
    assert set().union(*draws) == set(range(20))
    assert sample_vocabulary({3, 5}, 20, 6, torch.Generator().manual_seed(0)) == draws[0]
    assert sample_vocabulary({3, 5, 7}, 20, 2) == [3, 5, 7]
    assert sample_vocabulary(set(), 4, 9) == [0, 1, 2, 3]


@pytest.mark.parametrize(("present", "n"), [({20}, 5), ({-1}, 5), ({0}, 0)])
def test_sampling_errors(present, n):
    with pytest.raises(ValueError, match="got"):
        sample_vocabulary(present, 20, n)


def test_lseg_has_a_list_of_its_own():
    ours, theirs = Vocabulary.builtin("ade20k_150"), Vocabulary.builtin("ade20k_150", words="lseg_labels")
    words = [entry[0] for entry in theirs.entries]
    assert len(words) == 150 and words[58] == words[130] == "screen" and words[7] == "bed" and words[89] == "television"
    assert sum(a != b for a, b in zip(ours.entries, theirs.entries)) == 16 and ours.names == theirs.names
    assert Vocabulary.builtin("coco_stuff_171", words="lseg_labels") == Vocabulary.builtin("coco_stuff_171")


def test_the_chance_to_be_named_is_how_often_it_happens():
    """Ten classes, of which the first is in every batch, the second in half of them, the others in none."""
    generator, named, draws = torch.Generator().manual_seed(0), torch.zeros(10), 4000
    for draw in range(draws):
        named[sample_vocabulary({0, 1} if draw % 2 else {0}, 10, 4, generator)] += 1 / draws
    expected = chance_to_be_named(torch.tensor([1.0, 0.5] + [0.0] * 8), 4)
    # Drawn one by one it is exact; with the mean number of classes present, a hundredth remains. Four standard
    # deviations of 4000 draws are 0.03.
    torch.testing.assert_close(named, expected, rtol=0, atol=0.04)
    assert chance_to_be_named(torch.zeros(3), 0).tolist() == [1, 1, 1]
    assert chance_to_be_named(torch.zeros(3), 5).tolist() == [1, 1, 1]
