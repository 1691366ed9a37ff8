"""The segmenter around a stand-in model whose answers can be computed by hand; the real one is in tests/e2e."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from openvocab.devices import check_device
from openvocab.inference import memory, segmenter, sizes
from openvocab.inference.segmenter import Segmenter
from openvocab.vocab.background import combine
from openvocab.vocab.trained import TrainedWords
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.windows import resize

CHANNELS = {"red": 0, "green": 1, "blue": 2}


class ByColour(nn.Module):
    """The probability of "red" is the red channel; of synonyms the mean; of unknown words 0.1."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.requests = []

    @property
    def text_encoder(self):
        return self

    def unknown_words(self, vocabulary):
        return [word for entry in vocabulary.texts() for word in entry if word not in CHANNELS]

    def forward(self, inputs):
        assert not self.training and torch.is_inference_mode_enabled()
        self.requests += inputs
        return [{"sem_seg": self.answer(item)} if item["output"] == "sem_seg" else self.labels(item) for item in inputs]

    def labels(self, item):
        scores, channels = self.answer(item).max(dim=0)
        table = item["vocabulary"].channel_to_class
        return {"labels": channels if table is None else torch.tensor(table)[channels], "scores": scores}

    def answer(self, item):
        image = item["image"].float() / 255
        flat = torch.full_like(image[0], 0.1)
        maps = [
            torch.stack([image[CHANNELS[word]] if word in CHANNELS else flat for word in words]).mean(0)
            for words in item["vocabulary"].texts()
        ]
        return resize(torch.stack(maps)[None], (item["height"], item["width"]))[0]


def config(sliding: bool = False, size: int = 8, short: int = 0):
    window = SimpleNamespace(ENABLED=sliding, SIZE=size, KERNEL=6)
    return SimpleNamespace(
        TEST=SimpleNamespace(AUG=SimpleNamespace(ENABLED=False), SLIDING_WINDOW=window),
        INPUT=SimpleNamespace(MIN_SIZE_TEST=short, MAX_SIZE_TEST=4 * short),
        MODEL=SimpleNamespace(VOCABULARY=SimpleNamespace(TEMPLATES="single")),
    )


def build(**options) -> Segmenter:
    return Segmenter(ByColour(), config(**options), name="colours")


@pytest.fixture
def flag() -> np.ndarray:
    """Left column red, middle blue, right dark green."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :2, 0], image[:, 2:4, 2], image[:, 4:, 1] = 250, 200, 60
    return image


def test_labels_scores_and_names(flag):
    result = build()(flag, ["blue", "red", "green"])
    np.testing.assert_array_equal(result.labels[0], [1, 1, 0, 0, 2, 2])
    np.testing.assert_allclose(result.scores[0], np.array([250, 250, 200, 200, 60, 60]) / 255, rtol=1e-6)
    assert result.labels.dtype == np.int32 and result.scores.dtype == np.float32
    assert result.names == ["blue", "red", "green"] and result.synonyms == "mean" and result.model == "colours"
    np.testing.assert_array_equal(result.image, flag)


def test_permuting_words_permutes_the_result(flag):
    segment = build()
    words = ["blue", "red", "green"]
    first, second = segment(flag, words), segment(flag, words[::-1])
    assert [[words[i] for i in row] for row in first.labels] == [[words[::-1][i] for i in row] for row in second.labels]
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(segment.probabilities(flag, words), segment.probabilities(flag, words[::-1])[::-1])


def test_synonyms_are_averaged_unless_the_vocabulary_says_first(flag):
    probability = build().probabilities(flag, ["red|green"])[0, 0]
    np.testing.assert_allclose(probability, np.array([125, 125, 0, 0, 30, 30]) / 255, atol=1e-6)
    first = build()(flag, Vocabulary.from_words(["red|green"], synonyms="first"))
    assert first.synonyms == "first" and first.scores[0, 0] == pytest.approx(250 / 255)


@pytest.mark.parametrize(("trained", "at_load", "of_words", "at_call", "rule"), [
    (None, None, None, None, "mean"),
    ("first", None, None, None, "first"),
    ("first", "mean", None, None, "mean"),
    ("first", "mean", "first", None, "first"),
    ("first", None, "first", "mean", "mean"),
])  # fmt: skip
def test_words_follow_the_rule_of_the_training_unless_told_otherwise(flag, trained, at_load, of_words, at_call, rule):
    words = Vocabulary.from_words(["red|green", "blue"], of_words)
    trained = trained and TrainedWords(frozenset(), trained, "single")
    model = Segmenter(ByColour(), config(), name="colours", synonyms=at_load, trained=trained)
    result = model(flag, words, synonyms=at_call)
    assert result.synonyms == result.summary()["synonyms"] == rule
    assert result.summary()["templates"] == "single"
    assert result.scores[0, 0] == pytest.approx((250 if rule == "first" else 125) / 255)
    answers = model.probabilities(flag, words, synonyms=at_call)
    assert answers[0, 0, 0] == pytest.approx(result.scores[0, 0])


def test_an_unknown_rule(flag):
    with pytest.raises(ValueError, match=r"synonyms: expected one of \('mean', 'first'\), got 'median'"):
        Segmenter(ByColour(), config(), name="colours", synonyms="median")
    with pytest.raises(ValueError, match="synonyms: got 'median'"):
        build()(flag, ["red"], synonyms="median")


def test_words_of_a_later_training_are_known(flag, caplog):
    model = Segmenter(ByColour(), config(), name="colours", trained=TrainedWords(frozenset({"moss"})))
    assert model.unknown_words(Vocabulary.from_words(["red", "Moss", "fern"])) == ["fern"]
    model(flag, ["moss", "fern"])
    assert "never seen these words, expect no sense from them: fern" in caplog.text


def test_background_words_and_threshold_give_none(flag):
    result = build()(flag, ["red", "green"], background=["blue"])
    np.testing.assert_array_equal(result.labels[0], [0, 0, -1, -1, 1, 1])
    assert result.names == ["red", "green"] and result.background == (("blue",),)
    assert result.scores[0, 2] == pytest.approx(200 / 255), "the score of the background word stays visible"
    result = build()(flag, ["red", "green", "blue"], threshold=0.5)
    np.testing.assert_array_equal(result.labels[0], [0, 0, 2, 2, -1, -1])
    assert (build()(flag, ["red", "green", "blue"], threshold=0.0).labels >= 0).all()


def test_several_channels_of_one_class(flag):
    words = Vocabulary((("red",), ("blue",), ("green",)), ("warm", "cold"), channel_to_class=(0, 1, 1))
    result = build()(flag, words)
    np.testing.assert_array_equal(result.labels[0], [0, 0, 1, 1, 1, 1])
    with_none = build()(flag, Vocabulary(words.entries[:2], words.names, (0, 1)), background=["green"])
    np.testing.assert_array_equal(with_none.labels[0], [0, 0, 1, 1, -1, -1])


@pytest.mark.parametrize(
    "words,background,message",
    [
        ("red,blue", (), "words: expected a list of words or Vocabulary.parse.*got the string 'red,blue'"),
        (["red"], "blue", "background: expected a list"),
        ([], (), "words: .*empty"),
        (["red", " "], (), "blank"),
        (["red", "Red"], (), "'Red' twice"),
        (["red", "sofa|couch"], ["Couch"], "got 'Couch' in both"),
    ],
)
def test_wrong_words(flag, words, background, message):
    segment = build()
    with pytest.raises(ValueError, match=message):
        segment(flag, words, background=background)
    assert segment.model.requests == [], "found out before the model runs"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_wrong_threshold(flag, threshold):
    with pytest.raises(ValueError, match=r"threshold: expected 0\.\.1"):
        build()(flag, ["red"], threshold=threshold)


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (40, 30), (3, 100)])
def test_sliding_window_model_is_asked_for_its_square_at_most(size):
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    segment = build(sliding=True, size=8)
    probabilities = segment.probabilities(image, ["red", "blue"])
    asked = segment.model.requests[0]
    assert asked["height"] * asked["width"] <= 64
    assert probabilities.shape == (2, *size)
    result = segment(image, ["red", "blue"])
    assert result.labels.shape == size and result.scores.shape == size


def test_upsampling_in_chunks_equals_upsampling_at_once(monkeypatch):
    image = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    segment, words = build(sliding=True, size=8), ["red", "blue", "green", "unicorn"]
    whole = segment.probabilities(image, words)
    expected = resize(segment.model.answer(segment.model.requests[0])[None], (40, 30))[0]
    np.testing.assert_array_equal(whole, expected.numpy())
    monkeypatch.setattr(segmenter, "_CHUNK", 1)
    np.testing.assert_array_equal(segment.probabilities(image, words), whole)


def test_without_window_a_huge_answer_is_capped(monkeypatch):
    monkeypatch.setattr(sizes, "_MAX_SIDE", 20)
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 20:, 0] = 255
    segment = build()
    red = segment.probabilities(image, ["red", "blue"])[0]
    assert (segment.model.requests[0]["height"], segment.model.requests[0]["width"]) == (5, 20)
    assert red.shape == (10, 40) and (red[:, 24:] > 0.5).all() and red[0, -1] == 1
    monkeypatch.setattr(sizes, "_MAX_ANSWER", 100)
    segment.probabilities(image, ["red", "blue"])
    assert (segment.model.requests[1]["height"], segment.model.requests[1]["width"]) == (4, 14)


@pytest.mark.parametrize(
    "size,expected",
    [((100, 50), (64, 32)), ((20, 10), (64, 32)), ((1, 1), (32, 32)), ((1000, 10), (128, 1)), ((1, 8000), (1, 128))],
)
def test_picture_is_resized_as_in_the_evaluation(size, expected):
    segment = build(short=32)
    result = segment(np.full((*size, 3), 90, np.uint8), ["red"])
    assert tuple(segment.model.requests[0]["image"].shape[1:]) == expected
    assert result.labels.shape == size
    np.testing.assert_allclose(result.scores, 90 / 255, rtol=1e-5)


def test_the_callers_array_is_not_touched(flag):
    before = flag.copy()
    build()(flag, ["red"]).overlay()
    np.testing.assert_array_equal(flag, before)


def test_unknown_words_are_warned_of_once(flag, caplog):
    segment = build()
    with caplog.at_level(logging.WARNING):
        segment(flag, ["red", "unicorn"])
        segment(flag, ["red", "unicorn"])
    assert caplog.text.count("unicorn") == 1
    caplog.clear()
    segment(flag, [f"word {i}" for i in range(30)])
    assert "and 20 more" in caplog.text and "word 10" not in caplog.text


def test_too_many_words_for_the_memory_are_refused(flag, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda device: 1000)
    with pytest.raises(ValueError, match="words: 10000 words at 4 x 6 pixels need about .* GB on cpu, 0.0 GB are free"):
        build(sliding=True).probabilities(flag, [f"w{i}" for i in range(10000)])
    with pytest.raises(ValueError, match="words: 50 words at 4 x 6 pixels need about"):
        build().probabilities(flag, [f"w{i}" for i in range(50)])


def test_available_memory_is_known_here():
    assert 10**7 < memory.available_bytes(torch.device("cpu")) < 10**14


def test_container_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.available_bytes(torch.device("cpu")) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes(torch.device("cpu")) > 10**7


def test_numbers_that_are_not_finite_are_an_error(flag):
    segment = build()
    segment.model.answer = lambda item: torch.full((1, item["height"], item["width"]), float("nan"))
    with pytest.raises(ValueError, match="not finite in float32"):
        segment(flag, ["red"])


def test_autocast_follows_dtype(flag):
    model = ByColour()
    model.answer = lambda item: torch.full((1, 4, 6), float(torch.is_autocast_enabled("cpu")))
    assert Segmenter(model, config(), name="a", dtype="bfloat16!")(flag, ["red"]).scores.max() == 1
    assert Segmenter(model, config(), name="a", dtype="float32")(flag, ["red"]).scores.max() == 0


def test_an_emulated_dtype_is_replaced(flag, monkeypatch, caplog):
    """Also in what the result says of itself."""
    monkeypatch.setattr("openvocab.devices.native", lambda dtype, device: dtype == torch.float32)
    segment = Segmenter(ByColour(), config(), name="a", dtype="bfloat16")
    assert segment.dtype == segment(flag, ["red"]).precision == "float32"
    assert [line for line in caplog.messages if "emulate" in line] == [
        "dtype: this cpu can only emulate bfloat16, slower than float32, which is used instead; bfloat16! forces it"
    ]
    assert Segmenter(ByColour(), config(), name="a", dtype="bfloat16!")(flag, ["red"]).precision == "bfloat16"


def test_constructor_refuses_what_it_cannot_use():
    with pytest.raises(ValueError, match="dtype: expected one of float32, bfloat16, float16, got 'int8'"):
        Segmenter(ByColour(), config(), name="a", dtype="int8")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", ""])
def test_wrong_devices(device):
    with pytest.raises(ValueError, match="device: "):
        check_device(device)


def test_default_device():
    assert check_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert check_device("cpu") == torch.device("cpu")


def test_combine_keeps_the_words_alone():
    wanted, asked = combine(["cat", "sofa|couch"], ["wall"])
    assert wanted.entries == (("cat",), ("sofa", "couch")) and asked.entries == (*wanted.entries, ("wall",))
    assert asked.channel_to_class == (0, 1, 2) and len(asked.names) == 3
    assert combine(["cat"]) == (Vocabulary.from_words(["cat"], "mean"),) * 2


@pytest.mark.parametrize(
    "name,message",
    [
        ("nonsense", "expected one of emojiscapes_catseg"),
        ("absent.yaml", "config: no such file: absent.yaml"),
    ],
)
def test_load_refuses_unknown_names(name, message):
    with pytest.raises(ValueError, match=message):
        Segmenter.load(name)
