"""Segmenter.many around whole models: the digits of single calls, also where pictures share a pass."""

import itertools

import numpy as np
import pytest
import torch

from openvocab import Segmenter
from openvocab.testing import golden_image
from openvocab.vocab.vocabulary import Vocabulary

SIZES = ((40, 60), (64, 64), (40, 60), (30, 90), (64, 64), (50, 20))
WORDS = ["cat", "sofa|couch", "sky"]


@pytest.fixture(scope="module", params=["tiny", "tiny_lseg"])
def segmenter(request) -> Segmenter:
    model = request.getfixturevalue(request.param)
    return Segmenter.load(model.config, model.weights, "cpu")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [golden_image(*size, seed).permute(1, 2, 0).numpy() for seed, size in enumerate(SIZES)]


def test_every_answer_is_that_of_the_call(segmenter, images, tmp_path):
    bad = [*images[:2], tmp_path / "gone.png", *images[2:], np.zeros((3, 3), np.uint8)]
    for options in ({}, {"background": ["wall"], "threshold": 0.4, "batch_size": 3}):
        found = list(segmenter.many(iter(bad), WORDS, **options))
        options.pop("batch_size", None)
        assert [answer.image is image for answer, image in zip(found, bad, strict=True)] == [True] * len(bad)
        assert "no such file" in str(found[2].error) and "shape (3, 3)" in str(found[-1].error)
        for answer, image in zip(found[:2] + found[3:-1], images, strict=True):
            wanted = segmenter(image, WORDS, **options)
            np.testing.assert_array_equal(answer.result.labels, wanted.labels)
            np.testing.assert_array_equal(answer.result.scores, wanted.scores)
            assert answer.result.summary() == wanted.summary()


def test_words_are_encoded_once_and_wrong_questions_are_refused_at_once(segmenter, images, monkeypatch):
    encoder, calls = segmenter.model.text_encoder, []
    encode = encoder.encode_tokens
    monkeypatch.setattr(encoder, "encode_tokens", lambda rows: calls.append(len(rows)) or encode(rows))
    assert len(list(segmenter.many(images, ["dog", "tree"], batch_size=3))) == len(images) and len(calls) == 1
    endless = itertools.repeat(images[0])
    for options, message in (({"words": []}, "empty vocabulary"), ({"threshold": 2}, "threshold: expected 0..1"),
                             ({"batch_size": 0}, "batch_size: expected"), ({"words": ["very " * 40]}, "at most 16"),
                             ({"images": "demo/images"}, "images: expected pictures")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            segmenter.many(**{"images": endless, "words": WORDS} | options)
    stream = segmenter.many(endless, WORDS)
    assert all(next(stream).error is None for _ in range(5))
    stream.close()


def test_looks_are_answered_too(segmenter, images):
    looks = [segmenter.look(image) for image in images[:2]]
    looks[1].free()
    first, second = segmenter.many(looks, WORDS)
    np.testing.assert_array_equal(first.result.labels, segmenter(images[0], WORDS).labels)
    assert "look: was freed" in str(second.error)


def test_what_is_seen_together_is_what_is_seen_alone(segmenter, images):
    """What a GPU does with a batch; sums of a larger product may be taken in another order."""
    model = segmenter.model
    tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
    with torch.inference_mode():
        words = model.text_features(Vocabulary.from_words(WORDS))
        together = model.see_together(tensors)
        for seen, tensor in zip(together, tensors, strict=True):
            size = tuple(tensor.shape[1:])
            scores = model.seen_labels(seen, size, words)[1]
            torch.testing.assert_close(scores, model.seen_labels(model.see(tensor), size, words)[1], rtol=1e-4,
                                       atol=1e-5)  # fmt: skip
