"""Test-time augmentation: the plain mean over views, by hand."""

import weakref

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge

from openvocab import windows
from openvocab.augmented_views import AugmentedViews, with_short_side
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.statement import describe_model
from openvocab.testing import TINY_CATSEG, TINY_LSEG

WORDS = ["cat", "sofa", "sky"]


def tiny_model(path, *overrides):
    return build_model(build_cfg(path, ["MODEL.DEVICE", "cpu", *overrides])).eval()


@pytest.fixture
def build(copies, config_of):
    return lambda text, *overrides: copies(tiny_model, config_of(text), *overrides)


def image(height=40, width=56):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, height, width), dtype=np.uint8))


def answer(model, picture, **more):
    with torch.no_grad():
        return model([{"image": picture, "vocabulary": WORDS, "height": 50, "width": 70} | more])[0]


AUG = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MAX_SIZE", "96", "TEST.AUG.MIN_SIZES"]
OWN = "TEST.SLIDING_WINDOW"
WINDOWS = [f"{OWN}.ENABLED", "True", f"{OWN}.KERNEL", "32", f"{OWN}.STRIDE", "16"]
METHODS = pytest.mark.parametrize(
    ("text", "windows"), [(TINY_CATSEG, WINDOWS), (TINY_LSEG, [])], ids=["catseg", "lseg"]
)


@METHODS
@pytest.mark.parametrize("flip", [False, True])
def test_mean_over_sizes_and_mirror_images(build, text, windows, flip):
    got = answer(build(text, *windows, *AUG, "(32, 48)", "TEST.AUG.FLIP", str(flip)), image())["sem_seg"]
    parts = []
    for size in (32, 48):
        plain = build(text, *windows, *(["TEST.SLIDING_WINDOW.SIZE", str(size)] if windows else []))
        view = with_short_side(image(), size, 96)
        parts.append(answer(plain, view)["sem_seg"])
        if flip:
            parts.append(answer(plain, view.flip(-1))["sem_seg"].flip(-1))
    torch.testing.assert_close(got, torch.stack(parts).mean(dim=0), rtol=1e-5, atol=1e-6)


@METHODS
def test_label_maps_are_those_of_the_mean(build, text, windows):
    model = build(text, *windows, *AUG, "(32, 48)")
    labels, probabilities = answer(model, image(), output="labels"), answer(model, image())["sem_seg"]
    assert torch.equal(labels["labels"], probabilities.argmax(dim=0))
    assert torch.equal(labels["scores"], probabilities.amax(dim=0))


@METHODS
def test_one_size_without_mirror_is_the_plain_evaluation(build, text, windows):
    picture = image(32, 48)
    size = ["TEST.SLIDING_WINDOW.SIZE", "32"] if windows else []
    plain = answer(build(text, *windows, *size), picture)["sem_seg"]
    once = answer(build(text, *windows, *AUG, "(32,)", "TEST.AUG.FLIP", "False"), picture)["sem_seg"]
    assert torch.equal(once, plain)


def test_only_one_view_is_held_beside_the_sum(monkeypatch):
    """Each view's maps are gone before the next ones are made."""
    monkeypatch.setattr(windows, "PIXELS_PER_CHUNK", 50)
    alive = []

    def maps_of(view, short_side):
        maps = torch.rand(4, 6, 8)
        assert not [other for other in alive if other() is not None]
        alive[:] = [weakref.ref(maps)]
        return maps

    AugmentedViews((16, 32, 48), 96, flip=False).mean(image(), (10, 10), maps_of)


@pytest.mark.parametrize(
    ("height", "width", "short", "longest"),
    [(40, 56, 80, 400), (56, 40, 33, 400), (40, 200, 80, 100), (40, 40, 40, 40), (1, 90, 20, 100)],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_sizes_are_detectron2s(height, width, short, longest, dtype):
    picture = image(height, width)
    pixels = picture.permute(1, 2, 0).numpy()
    wanted = ResizeShortestEdge(short, longest).get_transform(pixels)
    got = with_short_side(picture.to(dtype), short, longest)
    assert got.dtype == dtype
    if min(wanted.new_h, wanted.new_w) > 0:
        assert got.shape == (3, wanted.new_h, wanted.new_w)
        difference = got.permute(1, 2, 0).numpy().astype(float) - wanted.apply_image(pixels)
        assert np.abs(difference).max() <= 1.01, "a rounding of grey values"
    else:
        assert min(got.shape) == 1


@pytest.mark.parametrize(("text", "overrides", "message"), [
    (TINY_CATSEG, [*AUG, "(32, 48)"], "MIN_SIZES: got .32, 48., expected one size: without TEST.SLIDING_WINDOW"),
    (TINY_CATSEG, [*WINDOWS, *AUG, "(24,)"], "TEST.AUG.MIN_SIZES: got 24: kernel: got 32, expected 1..24"),
    (TINY_LSEG, ["TEST.MULTI_SCALE.ENABLED", "True", *AUG, "(32,)"], "expected one of them, got both"),
    (TINY_LSEG, ["MODEL.LSEG.INPUT_SIZE", "64", *AUG, "(32, 48)"], "MIN_SIZES: got .32, 48., expected one size"),
    (TINY_LSEG, [*AUG, "()"], "expected at least one size"),
    (TINY_LSEG, [*AUG, "(0,)"], "positive numbers"),
])  # fmt: skip
def test_sizes_that_change_nothing_or_do_not_fit_are_refused(build, text, overrides, message):
    with pytest.raises(ValueError, match=message):
        build(text, *overrides)


def test_a_result_states_it(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY_CATSEG)
    cfg = build_cfg(tmp_path / "tiny.yaml", [*WINDOWS, *AUG, "(32, 48)"])
    statement = describe_model(cfg)
    assert statement["test_time_augmentation"] == {
        "short_sides": [32, 48],
        "long_side": 96,
        "mirrored": True,
        "mean_of": "probabilities",
    }
    assert (statement["image"], statement["sliding_window"]) == ("its own size", "32 of each short side, stride 16")
