"""Look once, ask often: the same digits as whole calls, for both methods; what no longer counts is refused."""

import numpy as np
import pytest
import torch

from openvocab.engine.setup import build_cfg, build_model
from openvocab.inference.one_view import one_view, views_of
from openvocab.inference.segmenter import Segmenter
from openvocab.testing import TINY_CATSEG, TINY_LSEG
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.windows import resize

WORDS = ["cat", "sofa|couch", "wall", "sky", "dog"]
WINDOWS = "TEST: {SLIDING_WINDOW: {ENABLED: True, SIZE: 48, KERNEL: 32, STRIDE: 16}}\n"


def tiny_segmenter(path, *overrides):
    cfg = build_cfg(path, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", "INPUT.MIN_SIZE_TEST", "64", *overrides])
    return Segmenter(build_model(cfg), cfg, name="tiny")


@pytest.fixture
def build(copies, config_of):
    return lambda text, *overrides: copies(tiny_segmenter, config_of(text), *overrides)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture(params=["catseg", "catseg with windows", "catseg, pruned", "lseg", "lseg, reference"])
def segmenter(request, build):
    kind, _, how = request.param.partition(", ")
    extra = {"pruned": ["MODEL.CATSEG.PRUNING.PER_TOKEN", "2"], "reference": ["MODEL.FAST", "False"]}.get(how, [])
    return build({"catseg": TINY_CATSEG, "lseg": TINY_LSEG}.get(kind, TINY_CATSEG + WINDOWS), *extra)


def test_asking_is_the_whole_call_to_the_last_digit(segmenter, image):
    seen = segmenter.look(image)
    for words in (WORDS, ["cat"], ["tree", "cat"]):
        whole, asked = segmenter(image, words, background=["floor"], threshold=0.1), seen(words, ["floor"], 0.1)
        assert np.array_equal(whole.labels, asked.labels) and np.array_equal(whole.scores, asked.scores)
        assert np.array_equal(asked.image, image) and asked.names == whole.names
        assert np.array_equal(segmenter.probabilities(image, words), seen.probabilities(words))


def test_one_view_is_the_model_without_windows(build, image):
    whole, off = (build(TINY_CATSEG + WINDOWS, *extra) for extra in
                  ((), ("TEST.SLIDING_WINDOW.ENABLED", "False")))  # fmt: skip
    once = one_view(whole)
    assert (views_of(whole), views_of(once), views_of(off)) == (5, 1, 1) and one_view(off) is off
    for words in (WORDS, ["cat"]):
        answers = [segmenter(image, words) for segmenter in (whole, once, off)]
        assert np.array_equal(answers[1].scores, answers[2].scores)
        assert not np.array_equal(answers[0].scores, answers[1].scores), "the model with windows keeps them"
    assert next(once.model.parameters()) is next(whole.model.parameters())
    pruned = build(TINY_CATSEG + WINDOWS, "MODEL.CATSEG.PRUNING.PER_PIXEL", "1")
    with pytest.raises(ValueError, match="PER_PIXEL: got 1, expected 0 where there are no windows"):
        one_view(pruned)


def test_after_the_look_the_image_tower_is_not_asked(segmenter, image, monkeypatch):
    seen = segmenter.look(image)
    for name in ("encode_images", "_see", "see"):
        if hasattr(segmenter.model, name):
            monkeypatch.setattr(type(segmenter.model), name, lambda *_: pytest.fail("looked again"))
    assert seen(WORDS).labels.shape == (50, 70)
    assert seen.heatmap("cat", WORDS).cosine.shape == (50, 70)


def test_heatmaps_are_the_cosine_before_and_the_probability_after(segmenter, image):
    seen = segmenter.look(image)
    heat = seen.heatmap("sofa|couch", WORDS)
    assert np.allclose(heat.probability, seen.probabilities(WORDS)[1], atol=1e-6)
    assert np.array_equal(heat.cosine, segmenter.heatmap(image, "sofa|couch").cosine), "no other word changes it"
    assert heat.cosine.dtype == np.float32 and np.abs(heat.cosine).max() <= 1 + 1e-5 and heat.cosine.std() > 0
    added = seen.heatmap("tree", WORDS)  # a word that is not among the others joins them
    assert np.allclose(added.probability, seen.probabilities(["tree", *WORDS])[0], atol=1e-6)


def test_words_of_one_class_are_weighed_one_by_one_under_their_own_rule(build, image):
    segmenter = build(TINY_LSEG)
    entries = (("cat", "kitten"), ("sky",), ("cloud",))
    many = Vocabulary(entries=entries, names=("cat", "sky"), channel_to_class=(0, 1, 1),
                      synonyms="first")  # fmt: skip
    alone = ["cat", "sky", "cloud"]
    assert np.allclose(segmenter.heatmap(image, "cloud", many).probability, segmenter.probabilities(image, alone)[2])
    added = segmenter.heatmap(image, "dog", many).probability
    assert np.allclose(added, segmenter.probabilities(image, [*alone, "dog"])[3], atol=1e-6)


def test_lsegs_cosine_is_that_of_its_embeddings(build, image):
    segmenter = build(TINY_LSEG)
    pixels, words = segmenter.pixel_embeddings(image), segmenter.text_embeddings(["cat"])
    maps = torch.from_numpy(np.einsum("chw,tc->thw", pixels, words))
    doubled = torch.nn.functional.interpolate(maps[None], scale_factor=2, mode="bilinear", align_corners=True)
    want = resize(doubled, (50, 70))[0, 0].numpy()
    assert np.allclose(segmenter.heatmap(image, "cat").cosine, want, atol=1e-5)


def test_catsegs_cosine_is_its_cost_volume(build, image):
    segmenter = build(TINY_CATSEG)
    model = segmenter.model
    with torch.inference_mode():
        dense = segmenter.look(image).seen_by(segmenter).dense
        text = torch.from_numpy(segmenter.text_embeddings(["cat"]))
        cost = torch.einsum("vchw,tc->vthw", torch.nn.functional.normalize(dense, dim=1), text)[0]
        want = resize(cost[None], (50, 70))[0, 0]
    assert model.sliding_window is None
    assert np.allclose(segmenter.heatmap(image, "cat").cosine, want.numpy(), atol=1e-5)


def test_it_says_what_it_holds_and_gives_it_back(segmenter, image):
    seen = segmenter.look(image)
    assert seen.nbytes > image.nbytes
    seen.free()
    assert seen.nbytes == 0
    with pytest.raises(ValueError, match="look: was freed"):
        seen(WORDS)


def test_it_counts_for_its_own_weights_only(segmenter, image, build):
    seen = segmenter.look(image)
    other = build(TINY_LSEG)
    with pytest.raises(ValueError, match="tiny has looked, expected tiny, or another call of look"):
        other(seen, WORDS)
    with torch.no_grad():
        next(segmenter.model.parameters()).add_(1)
    with pytest.raises(ValueError, match="weights have changed since"):
        seen(WORDS)
    with pytest.raises(ValueError, match="weights have changed since"):
        seen.heatmap("cat")


@pytest.mark.parametrize(("text", "extra", "message"), [
    (TINY_CATSEG, ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "[32]"], "got TEST.AUG"),
    (TINY_LSEG, ["TEST.MULTI_SCALE.ENABLED", "True"], "got TEST.MULTI_SCALE"),
])  # fmt: skip
def test_evaluations_that_see_several_sizes_are_refused(text, extra, message, image, build):
    with pytest.raises(ValueError, match=f"look: {message}"):
        build(text, *extra).look(image)


def test_models_of_others_are_refused(image):
    class Theirs(torch.nn.Module):
        device = "cpu"

    with pytest.raises(ValueError, match="Theirs.* has no `see`"):
        Segmenter(Theirs(), None, name="theirs").look(image)


def test_a_batch_is_seen_or_not(build, image):
    segmenter = build(TINY_LSEG)
    inputs = [{"seen": None, "height": 5, "width": 5, "vocabulary": ["cat"]},
              {"image": torch.zeros(3, 32, 32), "vocabulary": ["cat"]}]  # fmt: skip
    with pytest.raises(ValueError, match="seen: got 1 in a batch of 2"):
        segmenter.model(inputs)
