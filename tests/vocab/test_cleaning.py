"""Words are cleaned once: what is blank, what is equal, and that the tokenizer sees nothing else."""

import unicodedata

import open_clip
import pytest

from openvocab import Segmenter
from openvocab.vocab.background import combine
from openvocab.vocab.cleaning import clean, comparable
from openvocab.vocab.vocabulary import Vocabulary, builtin_names

ZERO_WIDTH, BOM, SOFT_HYPHEN, JOINER, RIGHT_TO_LEFT = "\u200b", "\ufeff", "\u00ad", "\u200d", "\u202e"
INVISIBLE = (ZERO_WIDTH, BOM, SOFT_HYPHEN, JOINER, RIGHT_TO_LEFT, "\u2060", "\U000e0041")


@pytest.mark.parametrize(("word", "expected"), [
    ("cat", "cat"), ("  swimming \t pool\n", "swimming pool"), (f"c{ZERO_WIDTH}at", "cat"), (f"{BOM}cat", "cat"),
    (f"side{SOFT_HYPHEN}walk", "sidewalk"), ("traffic&nbsp;light", "traffic light"),
    ("salt &amp; pepper", "salt & pepper"), ("&amp;amp;", "&"), ("cafÃ©", "café"), ("caf\u00a0bar", "caf bar"),
    ("\u3000tree", "tree"), ("Cat", "Cat"), ("ＣＡＴ", "CAT"), ("kid’s bike", "kid's bike"), ("猫", "猫"), ("", ""),
    (ZERO_WIDTH * 3, ""), ("&shy;", ""), ("\x00cat", "cat"), ("a < b", "a < b"),
])  # fmt: skip
def test_clean(word, expected):
    assert clean(word) == expected
    assert clean(clean(word)) == clean(word)


@pytest.mark.parametrize("letter", INVISIBLE)
def test_what_nobody_sees_is_dropped(letter):
    assert unicodedata.category(letter) == "Cf"
    assert clean(f"{letter}so{letter}fa{letter}") == "sofa" == clean(f"so{letter}fa")


@pytest.mark.parametrize(("one", "other"), [
    ("cat", "CAT"), ("cat", f"ca{ZERO_WIDTH}t"), ("café", "cafe\u0301"), ("ﬁre", "fire"), ("ＣＡＴ", "cat"),
    ("swimming pool", "swimming\u00a0pool"), ("rock &amp; roll", "Rock & Roll"), ("kid’s bike", "kid's bike"),
    ("①", "1"),
])  # fmt: skip
def test_equal_words_are_refused(one, other):
    assert comparable(one) == comparable(other)
    with pytest.raises(ValueError, match="^words: got .* twice"):
        Vocabulary.from_words([one, "tree", other])
    with pytest.raises(ValueError, match="^words: got .* twice"):
        Vocabulary.from_words(["tree", f"{one}|{other}"])
    with pytest.raises(ValueError, match="^background: .* in both"):
        combine([one], [other])


@pytest.mark.parametrize(("one", "other"), [("cat", "cats"), ("straße", "strasse"), ("resume", "résumé"), ("i", "l")])
def test_different_words_stay_different(one, other):
    assert len(Vocabulary.from_words([one, other])) == 2


@pytest.mark.parametrize(
    "blank", ["", " ", "\t", "\u00a0", "\u3000", ZERO_WIDTH, f" {BOM} ", "&nbsp;", "&shy;", "\x00"]
)
def test_blank_is_what_is_then_empty(blank, tmp_path):
    for make in (
        lambda: Vocabulary.from_words(["cat", blank]),
        lambda: Vocabulary((("cat",), (blank,)), ("cat", "x")),
        lambda: Vocabulary.from_words([f"cat|{blank}"]),
    ):
        with pytest.raises(ValueError, match="words: got a blank word in entry"):
            make()


def test_every_way_in_is_clean(tmp_path):
    word = f" traffic{ZERO_WIDTH} \u00a0light "
    (tmp_path / "words.txt").write_text(f"{BOM}{word}\n", encoding="utf-8")
    (tmp_path / "words.json").write_text(f'["{word}"]', encoding="utf-8")
    for vocabulary in (
        Vocabulary.from_words([word]),
        Vocabulary.parse(word),
        *(Vocabulary.from_file(tmp_path / f"words.{suffix}") for suffix in ("txt", "json")),
    ):
        assert vocabulary.texts() == (("traffic light",),) and vocabulary.names == ("traffic light",)


def test_the_encoder_sees_clean_words_whoever_made_the_vocabulary():
    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")
    plain = segmenter.text_embeddings(["light bulb"])
    odd = Vocabulary(((f"light{ZERO_WIDTH} \u00a0bulb{SOFT_HYPHEN}",),), ("x",))
    assert (segmenter.text_embeddings(odd) == plain).all() and not segmenter.unknown_words(odd)


def test_what_is_equal_is_encoded_alike():
    """And what is clean is what CLIP's tokenizer makes of the text itself, but for what nobody sees."""
    tokenizer = open_clip.SimpleTokenizer()
    for word in ("traffic&nbsp;light", "cafÃ©", "kid’s  bike", "ＣＡＴ", "salt &amp; pepper", "\u3000tree", "Rock 'n'"):
        assert tokenizer.encode(clean(word)) == tokenizer.encode(word)
    for letter in INVISIBLE:
        assert tokenizer.encode(clean(f"so{letter}fa")) == tokenizer.encode("sofa")


@pytest.mark.parametrize("name", builtin_names())
@pytest.mark.parametrize("words", ["prompts", "readable"])
def test_published_prompts_reach_the_encoder_as_they_are(name, words):
    """But for blanks, which CLIP drops as well."""
    vocabulary = Vocabulary.builtin(name, words)
    assert all(clean(word) == " ".join(word.split()) for entry in vocabulary.entries for word in entry)


def test_all_words_that_are_too_long_are_named_with_their_lengths():
    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")
    limit = segmenter.model.text_encoder.spec.context_length
    words = ["cat", "antidis " * 40, "establish " * 50]
    shown = r"'.*antidis.*\.\.\.' \(\d+\), '.*establish.*\.\.\.' \(\d+\)$"
    with pytest.raises(ValueError, match=f"at most {limit}: {shown}") as error:
        segmenter.text_embeddings(words)
    assert "\n" not in str(error.value)
