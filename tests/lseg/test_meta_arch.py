"""What LSeg as a whole promises: words per input, in any order and number, any sizes, no neighbours, clear errors."""

import pytest
import torch

from openvocab.testing import golden_image
from openvocab.vocab.vocabulary import Vocabulary

WORDS = ["cat", "sofa|couch", "sky", "tree", "wall"]
REGULARIZATIONS = {
    "none": {},
    "bottleneck": {"MODEL__LSEG__REGULARIZATION": "bottleneck", "MODEL__LSEG__BLOCK_DEPTH": 2},
    "depthwise": {"MODEL__LSEG__REGULARIZATION": "depthwise", "MODEL__LSEG__BLOCK_DEPTH": 3},
}
kinds = pytest.mark.parametrize("kind", REGULARIZATIONS)


def image(height=96, width=64, seed=0):
    return golden_image(height, width, seed)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def answer(model, *inputs):
    with torch.no_grad():
        return model(list(inputs))


def logits(model, words, picture=None):
    with torch.no_grad():
        pixels = model.pixel_embeddings((image() if picture is None else picture)[None])[0]
        return model.sem_seg_head(pixels, model.text_features(Vocabulary.from_words(words)))


def test_shapes_and_range(tiny):
    one, two, three = answer(
        tiny(),
        {"image": image(), "vocabulary": WORDS},
        {"image": image(33, 90).float(), "vocabulary": WORDS[:2], "height": 17, "width": 40},
        {"image": image(1, 1), "vocabulary": ["cat"]},
    )
    assert one["sem_seg"].shape == (5, 96, 64)
    assert two["sem_seg"].shape == (2, 17, 40)
    assert three["sem_seg"].shape == (1, 1, 1)
    for result in (one, two, three):
        assert result["sem_seg"].dtype == torch.float32
        close(result["sem_seg"].sum(dim=0), torch.ones(result["sem_seg"].shape[1:]))


def test_an_image_does_not_see_its_neighbours(tiny):
    model = tiny()
    inputs = [{"image": image(seed=1), "vocabulary": WORDS}, {"image": image(50, 70, 2), "vocabulary": WORDS[:3]}]
    for item, got in zip(inputs, answer(model, *inputs)):
        close(got["sem_seg"], answer(model, item)[0]["sem_seg"])


@kinds
def test_permuting_words_permutes_the_logits(tiny, kind):
    model, order = tiny(**REGULARIZATIONS[kind]), [3, 0, 4, 1, 2]
    straight = logits(model, WORDS)
    close(logits(model, [WORDS[i] for i in order]), straight[order])
    assert (straight[0] - straight[1]).abs().max() > 1e-3  # otherwise nothing was compared


@kinds
def test_a_further_word_changes_the_others_only_through_the_maximum(tiny, kind):
    model = tiny(**REGULARIZATIONS[kind])
    fewer, more = logits(model, WORDS), logits(model, [*WORDS, "grass"])
    if kind != "bottleneck":
        close(more[:5], fewer)
        return
    # The bottleneck adds the maximum over all words to each: the same amount, as long as nothing comes after it.
    with torch.no_grad():
        pixels = model.pixel_embeddings(image()[None])[0]
        block = model.sem_seg_head.regularization
        block.depth = 1
        words = [Vocabulary.from_words(names) for names in (WORDS, [*WORDS, "grass"])]
        few, more = (model.sem_seg_head(pixels, model.text_features(each)) for each in words)
        shift = more[:5] - few
    close(shift, shift[:1].expand_as(shift))
    assert shift.min() >= -1e-5


@pytest.mark.parametrize("count", [1, 300])
def test_any_number_of_words(tiny, count):
    words = [f"number {index}" for index in range(count)]
    assert answer(tiny(), {"image": image(), "vocabulary": words})[0]["sem_seg"].shape == (count, 96, 64)


def test_labels_and_scores(tiny):
    item = {"image": image(), "vocabulary": WORDS}
    probabilities = answer(tiny(), item)[0]["sem_seg"]
    got = answer(tiny(), item | {"output": "labels"})[0]
    assert torch.equal(got["labels"], probabilities.argmax(dim=0))
    close(got["scores"], probabilities.amax(dim=0))


def test_input_size(tiny):
    model = tiny(MODEL__LSEG__INPUT_SIZE=64)
    with torch.no_grad():
        assert model.pixel_embeddings(image(40, 90)[None]).shape == (1, 64, 32, 32)
    assert answer(model, {"image": image(40, 90), "vocabulary": WORDS})[0]["sem_seg"].shape == (5, 40, 90)


def test_pixel_embeddings_are_unit_vectors_in_the_space_of_the_words(tiny):
    model = tiny()
    with torch.no_grad():
        pixels = model.pixel_embeddings(image()[None])
        words = Vocabulary.from_words(WORDS)
        text = model.text_features(words).embeddings
    assert pixels.shape == (1, 64, 48, 32) and text.shape == (5, 1, 64)
    close(pixels.norm(dim=1), torch.ones(1, 48, 32))
    cosines = torch.einsum("chw,tc->thw", pixels[0], text[:, 0])
    close(model.sem_seg_head.regularization(cosines / 0.07), cosines / 0.07)  # none: the identity


def test_training(tiny):
    model = tiny().train()
    items = [{"image": image(64, 64, seed), "sem_seg": torch.randint(0, 2, (64, 64)), "vocabulary": words}
             for seed, words in ((1, ["others", "bird"]), (2, ["others", "aeroplane"]))]  # fmt: skip
    losses = model(items)
    losses["loss_sem_seg"].backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without and not any(p.requires_grad for p in model.text.parameters())
    assert not model.text.training and model.backbone.training


def test_words_are_encoded_once(tiny, monkeypatch):
    model = tiny().train()
    encode, calls = model.text.encode_tokens, []
    monkeypatch.setattr(model.text, "encode_tokens", lambda rows: calls.append(len(rows)) or encode(rows))
    item = {"image": image(64, 64), "sem_seg": torch.zeros(64, 64, dtype=torch.long), "vocabulary": WORDS}
    for _ in range(3):
        model([item])
        model.train()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL__LSEG__INPUT_SIZE": 40}, "expected a multiple of 32"),
        ({"MODEL__LSEG__TAPS": [1, 2, 4, 6]}, r"taps in 0..5 \(MODEL.LSEG.TAPS"),
        ({"MODEL__LSEG__BACKBONE": "vit_l"}, "expected a vision transformer of timm"),
        ({"MODEL__LSEG__BACKBONE_PRETRAINED": "imagenet"}, "got 'imagenet' for tiny-vit"),
        ({"MODEL__LSEG__BACKBONE": "resnet101"}, r"expected \[256, 512, 1024, 2048\]"),
        ({"MODEL__LSEG__REGULARIZATION": "deep"}, "MODEL.LSEG.REGULARIZATION"),
        ({"MODEL__LSEG__BLOCK_DEPTH": 1}, "MODEL.LSEG.BLOCK_DEPTH"),
        ({"MODEL__LSEG__ACTIVATION": "gelu"}, "MODEL.LSEG.ACTIVATION"),
        ({"TEST__MULTI_SCALE__ENABLED": True, "TEST__MULTI_SCALE__STRIDE": 481}, "TEST.MULTI_SCALE"),
    ],
)
def test_wrong_options_are_named(tiny, overrides, message):
    with pytest.raises(ValueError, match=message):
        tiny(**overrides)


def test_training_images_of_different_sizes_are_refused(tiny):
    items = [{"image": image(64, side), "sem_seg": torch.zeros(64, side, dtype=torch.long), "vocabulary": WORDS}
             for side in (64, 96)]  # fmt: skip
    with pytest.raises(ValueError, match=r"got sizes \[\(64, 64\), \(64, 96\)\] in one training batch"):
        tiny().train()(items)


@kinds
def test_fast_path_and_streamed_labels_equal_the_reference(tiny, kind, monkeypatch):
    monkeypatch.setattr("lseg.meta_arch.WORDS_PER_CHUNK", {"cpu": 2})
    fast, reference = tiny(**REGULARIZATIONS[kind]), tiny(MODEL__FAST=False, **REGULARIZATIONS[kind])
    with torch.no_grad():
        torch.manual_seed(2)
        for value in fast.sem_seg_head.state_dict().values():  # so that folding BatchNorm is not folding identity
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    reference.load_state_dict(fast.state_dict())
    item = {"image": image(), "vocabulary": WORDS, "height": 30, "width": 21}
    want = answer(reference, item)[0]["sem_seg"]
    close(answer(fast, item)[0]["sem_seg"], want)
    got, (scores, labels) = answer(fast, item | {"output": "labels"})[0], want.max(dim=0)
    assert (got["labels"] == labels).float().mean() > 0.99  # a tie within rounding may fall either way
    close(got["scores"], scores)


def test_the_fast_path_follows_running_statistics(tiny):
    model, item = tiny(), {"image": image(), "vocabulary": WORDS}
    before = answer(model, item)[0]["sem_seg"]
    with torch.no_grad():
        model.sem_seg_head.decoder.fusion[0].refine.bn2.running_mean.add_(1)
    assert (answer(model, item)[0]["sem_seg"] - before).abs().max() > 1e-3
