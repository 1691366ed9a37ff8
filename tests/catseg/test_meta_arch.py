"""What CAT-Seg as a whole promises: words per input, any sizes, no neighbours, clear errors."""

import copy
import warnings

import pytest
import torch

from catseg.fast_head import Chunks
from catseg.pruning import Pruning
from openvocab.kernels.dispatch import TRITON_INSTALLED
from openvocab.testing import golden_image
from openvocab.vocab.vocabulary import Vocabulary

WORDS = ["cat", "sofa|couch", "sky", "tree", "wall"]


def image(height=96, width=64, seed=0):
    return golden_image(height, width, seed)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=[False, True], ids=["whole", "windows"])
def model(tiny, request):
    return tiny(TEST__SLIDING_WINDOW__ENABLED=request.param)


def answer(model, *inputs):
    with torch.no_grad():
        return model(list(inputs))


def test_shapes_and_range(model):
    one, two, three = answer(
        model,
        {"image": image(), "vocabulary": WORDS},
        {"image": image(33, 90).float(), "vocabulary": WORDS[:2], "height": 17, "width": 40},
        {"image": image(1, 1), "vocabulary": ["cat"]},
    )
    assert one["sem_seg"].shape == (5, 96, 64)
    assert two["sem_seg"].shape == (2, 17, 40)
    assert three["sem_seg"].shape == (1, 1, 1)
    for result in (one, two, three):
        assert result["sem_seg"].dtype == torch.float32
        assert 0 <= result["sem_seg"].min() <= result["sem_seg"].max() <= 1


def test_an_image_does_not_see_its_neighbours(model):
    inputs = [
        {"image": image(seed=1), "vocabulary": WORDS},
        {"image": image(50, 70, 2), "vocabulary": WORDS[:3]},
        {"image": image(120, 40, 3), "vocabulary": WORDS},
    ]
    together = answer(model, *inputs)
    for item, got in zip(inputs, together):
        close(got["sem_seg"], answer(model, item)[0]["sem_seg"])


def test_permuting_words_permutes_the_answer(model):
    order = [3, 0, 4, 1, 2]
    straight = answer(model, {"image": image(), "vocabulary": WORDS})[0]["sem_seg"]
    permuted = answer(model, {"image": image(), "vocabulary": [WORDS[i] for i in order]})[0]["sem_seg"]
    close(permuted, straight[order])
    assert (straight[0] - straight[1]).abs().max() > 1e-4  # otherwise nothing was compared


@pytest.mark.parametrize("count", [1, 300])
def test_any_number_of_words(tiny, count):
    model = tiny(MODEL__CATSEG__PAD_LEN=256)
    words = [f"number {index}" for index in range(count)]
    got = answer(model, {"image": image(), "vocabulary": words}, {"image": image(seed=4), "vocabulary": words})
    dropped = [(result["sem_seg"].flatten(1) < 1e-40).all(dim=1).sum().item() for result in got]
    assert got[0]["sem_seg"].shape == (count, 96, 64)
    assert dropped == [max(0, count - 256)] * 2


def test_permuting_a_large_vocabulary(tiny):
    model = tiny(MODEL__CATSEG__PAD_LEN=6, MODEL__CATSEG__MAX_CLASSES=6)
    words = [f"number {index}" for index in range(11)]
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0)).tolist()
    with pytest.warns(UserWarning, match="of 11 words, every view keeps the 6"):
        straight = answer(model, {"image": image(), "vocabulary": words})[0]["sem_seg"]
    permuted = answer(model, {"image": image(), "vocabulary": [words[i] for i in order]})[0]["sem_seg"]
    close(permuted, straight[order])


@pytest.mark.parametrize("limit", [0, 6])
def test_streamed_labels_are_those_of_the_probabilities(tiny, limit):
    model = tiny(MODEL__CATSEG__MAX_CLASSES=limit, TEST__SLIDING_WINDOW__ENABLED=True)
    item = {"image": image(), "vocabulary": [f"number {index}" for index in range(11)], "height": 30, "width": 21}
    scores, labels = answer(model, item)[0]["sem_seg"].max(dim=0)
    got = answer(model, item | {"output": "labels"})[0]
    assert torch.equal(got["labels"], labels)
    close(got["scores"], scores)


def test_chunks_of_slices_change_nothing(tiny, monkeypatch):
    model = tiny(TEST__SLIDING_WINDOW__ENABLED=True)
    item = {"image": image(), "vocabulary": WORDS}
    want = answer(model, item)[0]["sem_seg"]
    monkeypatch.setattr("catseg.fast_head.CACHE_CHUNKS", Chunks(views=2, slices=3, decoded=2, tokens=20))
    close(answer(model, item)[0]["sem_seg"], want)


@pytest.mark.parametrize("changes", [
    {}, {"MODEL__CATSEG__MAX_CLASSES": 3, "MODEL__CATSEG__PAD_LEN": 4}, {"MODEL__CATSEG__PAD_LEN": 0},
    {"MODEL__VOCABULARY__TEMPLATES": "imagenet_select"},
    {"MODEL__CLIP__INPUT_SIZE": 40, "MODEL__CATSEG__WINDOW_SIZE": 3},
    {"TEST__SLIDING_WINDOW__ENABLED": True},
])  # fmt: skip
def test_fast_path_equals_the_reference(tiny, changes):
    item = {"image": image(), "vocabulary": WORDS}
    torch.manual_seed(1)
    fast = tiny(**changes)
    want = tiny(MODEL__FAST=False, **changes)
    want.load_state_dict(fast.state_dict())
    with torch.no_grad():  # so that the padding's, the guidance's and the biases' shares are not lost in the noise
        for model in (fast, want):
            torch.manual_seed(2)
            for parameter in model.sem_seg_head.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    close(answer(fast, item)[0]["sem_seg"], answer(want, item)[0]["sem_seg"])


@pytest.mark.skipif(not TRITON_INSTALLED, reason="needs Triton")
@pytest.mark.usefixtures("quick_interpreter")
@pytest.mark.parametrize("fast", [True, False])
def test_kernels_by_name(tiny, fast, monkeypatch):
    """In Triton's interpreter here, slow per head and window: 4 x 4 tokens are four. On a GPU where there is one."""
    item = {"image": image(), "vocabulary": WORDS[:2]}
    small = {"MODEL__CLIP__INPUT_SIZE": 32, "MODEL__CATSEG__WINDOW_SIZE": 2, "MODEL__CATSEG__NUM_LAYERS": 1,
             "MODEL__CATSEG__NUM_HEADS": 2, "MODEL__FAST": fast}  # fmt: skip
    models = [tiny(MODEL__CATSEG__KERNELS=kernels, **small) for kernels in ("eager", "triton")]
    models[1].load_state_dict(models[0].state_dict())
    want, got = (answer(model, item)[0]["sem_seg"] for model in models)
    close(got, want)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if models[1].device.type == "cpu":
        with pytest.raises(ValueError, match="^implementation: got 'triton' on device cpu"):
            answer(models[1], item)


@pytest.mark.parametrize(("per_token", "per_pixel"), [(1, 0), (2, 0), (0, 1), (0, 2), (2, 1), (9, 9)])
@pytest.mark.parametrize("fast", [True, False])
def test_pruning(tiny, per_token, per_pixel, fast):
    """What is left is the exact answer for fewer words, labels are those of the probabilities, the rest is 0."""
    torch.manual_seed(3)
    model = tiny(TEST__SLIDING_WINDOW__ENABLED=True, MODEL__FAST=fast)
    words = [f"number {index}" for index in range(12)]
    item = {"image": image(), "vocabulary": words}
    exact = answer(model, item)[0]["sem_seg"]
    model.pruning = Pruning(per_token, per_pixel)
    got = answer(model, item)[0]["sem_seg"]
    kept = [number for number, part in enumerate(got) if bool(part.any())]
    assert 0 < len(kept) <= 12 and (per_token not in (1, 2) or len(kept) < 12)
    if per_token and not per_pixel:
        model.pruning = Pruning(0, 0)
        close(got[kept], answer(model, item | {"vocabulary": [words[number] for number in kept]})[0]["sem_seg"])
        model.pruning = Pruning(per_token, per_pixel)
    if len(kept) == 12:
        close(got, exact)
    labels = answer(model, item | {"output": "labels"})[0]
    close(labels["scores"], got.amax(dim=0))
    assert set(labels["labels"].unique().tolist()) <= set(kept)


def test_pruning_nothing(tiny):
    """Pruning that keeps all words is exact."""
    model = tiny(TEST__SLIDING_WINDOW__ENABLED=True)
    item = {"image": image(), "vocabulary": [f"number {index}" for index in range(12)], "output": "labels"}
    model.pruning = Pruning(0, 12)
    all_kept = answer(model, item)[0]
    model.pruning = Pruning(0, 0)
    close(all_kept, answer(model, item)[0])


def test_a_model_that_has_answered_can_be_copied(tiny):
    model, item = tiny(), {"image": image(), "vocabulary": WORDS}
    want = answer(model, item)[0]["sem_seg"]
    close(answer(copy.deepcopy(model), item)[0]["sem_seg"], want)


def test_the_fast_path_follows_the_weights(tiny):
    model, item = tiny(), {"image": image(), "vocabulary": WORDS}
    before = answer(model, item)[0]["sem_seg"]
    with torch.no_grad():
        model.sem_seg_head.decoder.head.bias.add_(1)
    assert (answer(model, item)[0]["sem_seg"] - before).min() > 0.01


@pytest.mark.parametrize("part", ["clip.visual.proj", "sem_seg_head.decoder.head.bias"])
def test_train_forgets_what_was_derived(tiny, part):
    """A write through `.data` changes no version; in low precision both parts are copies."""
    model, item = tiny(), {"image": image(), "vocabulary": WORDS}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = answer(model, item)[0]["sem_seg"]
        model.get_parameter(part).data.add_(0.5)
        model.train().eval()
        assert (answer(model, item)[0]["sem_seg"] - before).abs().max() > 1e-3


def test_labels(tiny):
    words = Vocabulary((("cat",), ("sky",), ("tree",)), ("cat", "background"), channel_to_class=(0, 1, 1))
    item = {"image": image(), "vocabulary": words, "height": 30, "width": 21}
    probabilities = answer(tiny(), item)[0]["sem_seg"]
    assert probabilities.shape == (2, 30, 21)
    got = answer(tiny(), item | {"output": "labels"})[0]
    scores, label = probabilities.max(dim=0)
    assert torch.equal(got["labels"], label)
    close(got["scores"], scores)
    of_words = answer(tiny(), item | {"vocabulary": ["cat", "sky", "tree"]})[0]["sem_seg"]
    close(probabilities, torch.stack([of_words[0], of_words[1:].amax(dim=0)]))


def test_the_ensemble_of_80_templates_runs(tiny):
    model = tiny(MODEL__VOCABULARY__TEMPLATES="imagenet")
    assert model.sem_seg_head.cost_embedding.weight.shape[1] == 80
    assert answer(model, {"image": image(), "vocabulary": WORDS})[0]["sem_seg"].shape == (5, 96, 64)


@pytest.mark.parametrize(("size", "window"), [(56, 4), (40, 12), (72, 5)])
def test_grids_that_the_window_does_not_divide(tiny, size, window):
    model = tiny(MODEL__CLIP__INPUT_SIZE=size, MODEL__CATSEG__WINDOW_SIZE=window)
    assert answer(model, {"image": image(), "vocabulary": WORDS})[0]["sem_seg"].isfinite().all()


def test_where_words_come_from(tiny, monkeypatch):
    model = tiny(MODEL__VOCABULARY__TEST="pascal_voc_20", MODEL__VOCABULARY__TRAIN="ade20k_150")
    asked, encode = [], model.clip.text.forward
    monkeypatch.setattr(
        model.clip.text, "forward", lambda words, prompts: asked.append(words) or encode(words, prompts)
    )
    answer(model, {"image": image()})
    assert (len(asked[-1]), asked[-1].synonyms) == (20, "first")
    model.set_default_vocabulary(["cat", "sofa|couch"])
    answer(model, {"image": image()})
    assert asked[-1].texts() == (("cat",), ("sofa",))
    answer(model, {"image": image(), "vocabulary": ["dog", "sofa|couch"]})
    assert asked[-1].texts() == (("dog",), ("sofa", "couch"))
    model.train()
    labelled = {"image": image(), "sem_seg": torch.zeros(96, 64, dtype=torch.long)}
    model([labelled])
    assert len(asked[-1]) == 150  # the evaluation's words do not leak into training
    model.set_default_vocabulary(["dog"], training=True)
    model([labelled])
    assert asked[-1].names == ("dog",)


@pytest.mark.parametrize("pad_len", [16, len(WORDS), 3, 0], ids=["padded", "full", "cut", "neither"])
def test_training_step(tiny, pad_len):
    """Every trainable parameter gets a gradient, for distributed training refuses those that get none."""
    model = tiny(MODEL__CATSEG__PAD_LEN=pad_len).train()
    inputs = [
        {"image": image(64, 64, seed), "sem_seg": torch.randint(0, 5, (64, 64)), "vocabulary": WORDS} for seed in (0, 1)
    ]
    inputs.append({"image": image(40, 72), "sem_seg": torch.full((40, 72), 255), "vocabulary": WORDS})
    losses = model(inputs)
    assert set(losses) == {"loss_sem_seg"}
    losses["loss_sem_seg"].backward()
    without = {name for name, p in model.named_parameters() if (p.grad is None) == p.requires_grad}
    assert without == set()


def test_the_loss_is_the_mean_over_the_batch(tiny):
    model = tiny().train()
    inputs = [
        {"image": image(64, 64, seed), "sem_seg": torch.randint(0, 5, (64, 64)), "vocabulary": WORDS} for seed in (0, 1)
    ]
    with torch.no_grad():
        single = [model([item])["loss_sem_seg"] for item in inputs]
        torch.testing.assert_close(model(inputs)["loss_sem_seg"], sum(single) / 2, rtol=1e-5, atol=1e-6)


def test_sampled_vocabulary(tiny, monkeypatch):
    model = tiny(MODEL__VOCABULARY__TRAIN="ade20k_150", MODEL__VOCABULARY__TRAIN_SAMPLE=6).train()
    asked, encode = [], model.clip.text.forward
    monkeypatch.setattr(
        model.clip.text, "forward", lambda words, prompts: asked.append(words) or encode(words, prompts)
    )
    seen = []
    monkeypatch.setattr("catseg.meta_arch.segmentation_loss", lambda logits, labels, *rest: seen.append(labels))
    label = torch.full((64, 64), 255)
    label[:8], label[8:16] = 149, 2
    model([{"image": image(64, 64), "sem_seg": label}])
    assert len(asked[0]) == 6
    everything = Vocabulary.builtin("ade20k_150")
    for value in (2, 149):
        place = seen[0][0][label == value].unique()
        assert asked[0].entries[place.item()] == everything.entries[value]
    assert (seen[0][0][label == 255] == 255).all()


@pytest.mark.parametrize(("item", "message"), [
    ({"vocabulary": WORDS}, "sem_seg: got none"),
    ({"vocabulary": WORDS, "sem_seg": torch.zeros(64, 96)}, r"sem_seg: got \(64, 96\), expected .* \(96, 64\)"),
    ({"vocabulary": WORDS, "sem_seg": torch.full((96, 64), 5)}, r"labels \[5\], expected 0..4 \(T = 5"),
    ({"vocabulary": [f"w {i}" for i in range(256)], "sem_seg": torch.zeros(96, 64)}, "label 255 means 'ignored'"),
    ({"vocabulary": Vocabulary((("a",),), ("a",), (0,)), "sem_seg": torch.zeros(96, 64)}, "channel_to_class"),
    ({"sem_seg": torch.zeros(96, 64)}, "vocabulary: got none for training"),
])  # fmt: skip
def test_training_errors(tiny, item, message):
    with pytest.raises(ValueError, match=message):
        tiny().train()([{"image": image(), **item}])


def test_one_vocabulary_per_training_batch(tiny):
    label = torch.zeros(96, 64, dtype=torch.long)
    with pytest.raises(ValueError, match="got 2 in one training batch"):
        tiny().train()([{"image": image(), "sem_seg": label, "vocabulary": words} for words in (["a"], ["b"])])


@pytest.mark.parametrize(("item", "message"), [
    ({"image": image()}, "vocabulary: got none for evaluation"),
    ({"image": image(), "vocabulary": []}, "empty vocabulary"),
    ({"image": image()[0], "vocabulary": ["cat"]}, r"image: got shape \(96, 64\), expected \(3, h, w\)"),
    ({"image": image()[:, :0], "vocabulary": ["cat"]}, "image: got shape"),
])  # fmt: skip
def test_evaluation_errors(tiny, item, message):
    with pytest.raises(ValueError, match=message):
        answer(tiny(), item)


@pytest.mark.parametrize(("overrides", "message"), [
    ({"MODEL__CLIP__INPUT_SIZE": 60}, "INPUT_SIZE: got 60, expected a multiple of 8"),
    ({"MODEL__CATSEG__TAPS": [1, 5]}, r"taps: got \[5\]"),
    ({"MODEL__CATSEG__HIDDEN_DIM": 30}, "HIDDEN_DIM: got 30"),
    ({"MODEL__CATSEG__PRUNING__PER_TOKEN": -1}, "PER_TOKEN: got -1, expected 0"),
    ({"MODEL__CATSEG__PRUNING__PER_PIXEL": 1}, "PER_PIXEL: got 1 without TEST.SLIDING_WINDOW"),
    ({"MODEL__CATSEG__KERNELS": "cuda"}, "KERNELS: got 'cuda', expected one of"),
    ({"MODEL__CATSEG__POOLING_SIZES": [9, 1]}, "POOLING_SIZES: got"),
    ({"MODEL__VOCABULARY__TEMPLATES": "all"}, "expected one of .*imagenet"),
    ({"MODEL__CLIP__FINETUNE": "lora"}, "'lora', expected one of"),
])  # fmt: skip
def test_build_errors(tiny, overrides, message):
    with pytest.raises(ValueError, match=message):
        tiny(**overrides)


def test_bfloat16_stays_close(tiny):
    model = tiny()
    item = {"image": image(), "vocabulary": WORDS}
    want = answer(model, item)[0]["sem_seg"]
    got = answer(model.to(torch.bfloat16), item)[0]["sem_seg"]
    assert got.dtype == torch.float32
    assert (got - want).abs().max() < 0.05


def test_an_answer_from_random_weights_is_announced_once(tiny):
    item = {"image": image(), "vocabulary": WORDS}
    model = tiny()
    with pytest.warns(UserWarning, match="answers from random weights: none were loaded"):
        answer(model, item)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer(model, item)
        loaded = tiny()
        loaded.load_state_dict(model.state_dict())
        answer(loaded, item)
