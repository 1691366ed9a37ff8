"""The ten lines of Python that people start with, through the real model with random parameters."""

import numpy as np
import pytest
import torch

from openvocab import Segmenter, Vocabulary
from openvocab.inference.sizes import seen_picture

WORDS = ["cat", "sofa|couch", "tree"]
SLIDING = [
    "TEST.SLIDING_WINDOW.ENABLED",
    "True",
    "TEST.SLIDING_WINDOW.SIZE",
    "48",
    "TEST.SLIDING_WINDOW.KERNEL",
    "32",
    "TEST.SLIDING_WINDOW.STRIDE",
    "16",
]


@pytest.fixture(scope="module", params=["catseg", "catseg sliding", "lseg"])
def segmenter(request, tiny, tiny_lseg) -> Segmenter:
    model = tiny_lseg if request.param == "lseg" else tiny
    overrides = SLIDING if request.param == "catseg sliding" else []
    return Segmenter.load(model.config, weights=model.weights, device="cpu", overrides=overrides)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (70, 90, 3), dtype=np.uint8)


def test_result_agrees_with_probabilities(segmenter, image):
    result, probabilities = segmenter(image, WORDS), segmenter.probabilities(image, WORDS)
    assert probabilities.shape == (3, 70, 90) and probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1
    np.testing.assert_array_equal(result.labels, probabilities.argmax(0))
    np.testing.assert_allclose(result.scores, probabilities.max(0), atol=1e-6)
    assert result.names == ["cat", "sofa", "tree"]


def test_probabilities_are_those_of_the_model(segmenter, image):
    """Upsampling outside the model, from its own square, changes nothing."""
    pixels = seen_picture(image, segmenter.cfg)
    request = {"image": pixels, "height": 70, "width": 90, "vocabulary": WORDS}
    with torch.inference_mode():
        expected = segmenter.model([request])[0]["sem_seg"]
    np.testing.assert_allclose(segmenter.probabilities(image, WORDS), expected.numpy(), atol=1e-6)


def test_permuting_words_permutes_the_answer(segmenter, image):
    straight = segmenter.probabilities(image, WORDS)
    np.testing.assert_allclose(segmenter.probabilities(image, WORDS[::-1])[::-1], straight, atol=1e-5)


def test_two_segmenters_with_different_words_do_not_disturb_each_other(tiny, image):
    first, second = (Segmenter.load(tiny.config, weights=tiny.weights, device="cpu") for _ in range(2))
    alone = first.probabilities(image, ["cat", "dog"])
    other = second.probabilities(image, ["tree", "house"])
    assert np.abs(alone - other).max() > 1e-4, "the words have to matter, else this test sees nothing"
    np.testing.assert_array_equal(first.probabilities(image, ["cat", "dog"]), alone)
    np.testing.assert_array_equal(first.probabilities(image, ["tree", "house"]), other)
    np.testing.assert_array_equal(second.probabilities(image, ["cat", "dog"]), alone)


def test_synonyms_count_unless_told_otherwise(segmenter, image):
    mean = segmenter.probabilities(image, ["sofa|couch", "cat"])
    first = segmenter.probabilities(image, Vocabulary.from_words(["sofa|couch", "cat"], synonyms="first"))
    np.testing.assert_allclose(first, segmenter.probabilities(image, ["sofa", "cat"]), atol=1e-6)
    assert np.abs(mean - first).max() > 1e-5


def test_background_words_become_none(segmenter, image):
    plain = segmenter(image, ["cat", "tree", "sofa"])
    result = segmenter(image, ["cat", "tree"], background=["sofa"])
    np.testing.assert_array_equal(result.labels, np.where(plain.labels == 2, -1, plain.labels))
    np.testing.assert_array_equal(result.scores, plain.scores)


def test_low_precision_is_close(tiny, image):
    low = Segmenter.load(tiny.config, weights=tiny.weights, device="cpu", dtype="bfloat16!")
    full = Segmenter.load(tiny.config, weights=tiny.weights, device="cpu")
    difference = np.abs(low.probabilities(image, WORDS) - full.probabilities(image, WORDS)).max()
    assert 0 < difference < 0.05


def test_pixel_embeddings_live_with_the_words(tiny_lseg, image):
    segmenter = Segmenter.load(tiny_lseg.config, weights=tiny_lseg.weights, device="cpu")
    half, full = segmenter.pixel_embeddings(image), segmenter.pixel_embeddings(image, "image")
    text = segmenter.text_embeddings(WORDS)
    assert half.shape == (64, 32, 48) and full.shape == (64, 70, 90) and text.shape == (3, 64)
    for embeddings in (half, full, text.T):
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=0), 1, atol=1e-5)
    scores = np.einsum("chw,tc->thw", half, text) / 0.07
    expected = np.exp(scores) / np.exp(scores).sum(0)
    shown = segmenter.probabilities(image, WORDS)
    assert np.abs(expected.mean((1, 2)) - shown.mean((1, 2))).max() < 0.01  # the same up to the last upsampling
    with pytest.raises(ValueError, match="resolution: expected 'half' or 'image', got 'full'"):
        segmenter.pixel_embeddings(image, "full")


def test_cat_seg_has_no_pixel_embeddings(tiny, image):
    segmenter = Segmenter.load(tiny.config, weights=tiny.weights, device="cpu")
    with pytest.raises(ValueError, match=r"tiny \(CATSeg\) has no pixel embeddings, expected LSeg"):
        segmenter.pixel_embeddings(image)


def test_load_by_a_name_of_the_zoo(tiny, image, monkeypatch):
    from openvocab.checkpoint import zoo

    entry = zoo.ZooModel("tiny", "CATSeg", "none", str(tiny.config), "tiny.pth", 1, "none", "for this test")
    monkeypatch.setattr(zoo, "_MODELS", (entry,))
    monkeypatch.setattr(zoo, "weights_root", lambda: tiny.weights.parent)
    segmenter = Segmenter.load("tiny", device="cpu")
    assert segmenter.name == "tiny" and segmenter.weights == str(tiny.weights)
    assert segmenter(image, WORDS).labels.shape == (70, 90)
