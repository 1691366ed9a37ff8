"""The mappers move image and labels alike, and repeat themselves for the same draw."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import Metadata
from PIL import Image

from openvocab.config import add_openvocab_config
from openvocab.data.augmentation import LabelSafeResizeTransform, SSDColorAugmentation, SSDColorTransform
from openvocab.data.augmentation import seeded_augmentation as seeded
from openvocab.data.mapper import SemSegTestMapper, SemSegTrainMapper
from openvocab.engine.setup import build_cfg


def config(**more):
    cfg = get_cfg()
    add_openvocab_config(cfg)
    values = {
        "INPUT.CROP.ENABLED": "True",
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": "[24, 32]",
        "INPUT.MIN_SIZE_TRAIN": "(40, 52)",
        "INPUT.COLOR_JITTER": "False",
    }
    cfg.merge_from_list([text for pair in (values | more).items() for text in pair])
    return cfg


def mapper(ignore_label=65535, classes=400, **more):
    metadata = Metadata(name="toy", stuff_classes=["x"] * classes, ignore_label=ignore_label)
    return SemSegTrainMapper.from_config(config(**{"MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "999"} | more), metadata, seed=3)


@pytest.fixture
def picture(tmp_path):
    """Blocks of 8 pixels whose red and green values spell the label (up to 399), so that the image tells the label."""
    labels = np.random.default_rng(0).integers(0, 400, (8, 12)).repeat(8, 0).repeat(8, 1)
    image = np.stack([labels // 20 * 10, labels % 20 * 10, np.zeros_like(labels)], axis=-1)
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "labels.png")
    return {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}


def spelled(image):
    return (image[0].long() + 5) // 10 * 20 + (image[1].long() + 5) // 10


def inner_pixels(labels):
    """Pixels whose eight neighbours have the same label; none at the border."""
    inside = torch.zeros_like(labels, dtype=torch.bool)
    windows = labels.unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    inside[1:-1, 1:-1] = (windows == windows[..., :1]).all(-1)
    return inside


def test_image_and_labels_move_alike(picture):
    train = mapper()
    for draw in range(20):
        sample = train(draw, picture)
        assert sample["image"].shape == (3, 24, 32) and sample["image"].dtype == torch.uint8
        assert sample["sem_seg"].shape == (24, 32) and sample["sem_seg"].dtype == torch.int64
        # edges of the blocks, which shrink to 5 or 6.5 pixels, are blends: compare what lies inside
        same = spelled(sample["image"]) == sample["sem_seg"]
        inside = inner_pixels(sample["sem_seg"])
        assert inside.sum() > 150 and same[inside].float().mean() > 0.95
        shifted = torch.roll(spelled(sample["image"]), 2, dims=1) == sample["sem_seg"]
        assert shifted[inside].float().mean() < 0.8


def test_same_draw_same_sample_whatever_happened_before(picture):
    train = mapper(**{"INPUT.COLOR_JITTER": "True"})
    np.random.seed(1)
    first = train(17, picture)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    train(18, picture)
    again = train(17, picture)
    assert torch.equal(first["image"], again["image"]) and torch.equal(first["sem_seg"], again["sem_seg"])
    assert np.array_equal(np.random.get_state()[1], state)  # the global generator is not touched
    others = [train(draw, picture)["image"] for draw in range(8)]
    assert len({image.numpy().tobytes() for image in others}) == 8


def test_the_mapper_seed_decides_and_minus_one_takes_the_run_s(picture):
    mappers = [mapper(**{"DATALOADER.MAPPER_SEED": seed}) for seed in ("0", "3", "-1")]
    zero, three, run = (train(5, picture)["image"].numpy().tobytes() for train in mappers)
    assert run == three != zero


def test_padding_with_ignore(tmp_path):
    Image.new("RGB", (10, 50)).save(tmp_path / "image.png")
    Image.new("L", (10, 50), 7).save(tmp_path / "labels.png")
    item = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    sample = mapper(ignore_label=255, **{"INPUT.MIN_SIZE_TRAIN": "(10,)"})(0, item)
    assert sample["image"].shape == (3, 24, 32)
    assert (sample["sem_seg"][:, :10] == 7).all() and (sample["sem_seg"][:, 10:] == 999).all()
    assert (sample["image"][:, :, 10:] == 128).all()
    assert (sample["height"], sample["width"]) == (50, 10)


def test_crops_limit_the_share_of_one_class(tmp_path):
    labels = np.zeros((40, 80), dtype=np.uint8)
    labels[:, 70:] = 1
    Image.fromarray(labels).save(tmp_path / "labels.png")
    Image.new("RGB", (80, 40)).save(tmp_path / "image.png")
    item = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    more = {"INPUT.MIN_SIZE_TRAIN": "(40,)"}
    free, limited = (
        mapper(ignore_label=255, **more, **{"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": share}) for share in ("1.0", "0.9")
    )
    both = [sum(len(train(draw, item)["sem_seg"].unique()) == 2 for draw in range(60)) for train in (free, limited)]
    assert both[1] > both[0] + 15


def test_labels_out_of_range_name_the_file(picture):
    with pytest.raises(ValueError, match="labels.png: got labels .*expected 0 to 299 or 65535"):
        mapper(classes=300)(0, picture)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"INPUT.CROP.TYPE": "relative"}, "INPUT.CROP.TYPE: got 'relative'"),
        ({"INPUT.RANDOM_FLIP": "vertical"}, "INPUT.RANDOM_FLIP: got 'vertical'"),
        ({"MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "255"}, "IGNORE_VALUE: got 255, expected a label that is none of the 400"),
    ],
)
def test_bad_settings(more, message):
    with pytest.raises(ValueError, match=message):
        mapper(**more)


def test_the_test_mapper_resizes_the_image_only(picture):
    sample = SemSegTestMapper(short_side=32, max_side=40)(picture)
    assert sample["image"].shape == (3, 27, 40)  # the long side is the limit
    assert sample["sem_seg"].shape == (64, 96) and (sample["height"], sample["width"]) == (64, 96)
    untouched = SemSegTestMapper(short_side=0, max_side=10)(picture)
    assert (spelled(untouched["image"]) == untouched["sem_seg"]).all()
    del picture["sem_seg_file_name"]
    assert "sem_seg" not in SemSegTestMapper(short_side=0, max_side=10)(picture)


def test_labels_are_taken_from_the_nearest_centre():
    labels = np.arange(6, dtype=np.int32)[None].repeat(6, 0) * 1000
    small = LabelSafeResizeTransform(6, 6, 2, 2).apply_segmentation(labels)
    assert small.dtype == np.int32
    assert small.tolist() == [[1000, 4000]] * 2  # torch's "nearest" would take columns 0 and 3


def test_colour_jitter_by_hand():
    grey = np.full((1, 1, 3), 100, dtype=np.uint8)
    neutral = {"brightness": 0.0, "contrast": 1.0, "contrast_first": True, "saturation": 1.0, "hue": 0}
    assert SSDColorTransform(**neutral).apply_image(grey).tolist() == [[[100] * 3]]
    bright = SSDColorTransform(**neutral | {"brightness": 20.0, "contrast": 1.5}).apply_image(grey)
    assert bright.tolist() == [[[180] * 3]]
    clipped = SSDColorTransform(**neutral | {"brightness": 32.0, "contrast": 1.5}).apply_image(grey + 100)
    assert clipped.tolist() == [[[255] * 3]]
    red = np.array([[[200, 0, 0]]], dtype=np.uint8)
    assert SSDColorTransform(**neutral | {"hue": 60}).apply_image(red).tolist() == [[[0, 200, 0]]]  # 120 degrees
    pale = SSDColorTransform(**neutral | {"saturation": 0.5}).apply_image(red)[0, 0]
    assert pale[0] == 200 and pale[1] == pale[2] and 98 <= pale[1] <= 102


def test_colour_jitter_draws_each_change_half_of_the_time():
    with seeded((0,)):
        drawn = [SSDColorAugmentation().get_transform(None) for _ in range(400)]
    for unchanged in (
        [t.brightness == 0 for t in drawn],
        [t.contrast == 1 for t in drawn],
        [t.saturation == 1 for t in drawn],
        [t.hue == 0 for t in drawn],
        [t.contrast_first for t in drawn],
    ):
        assert 150 < sum(unchanged) < 250
    assert max(abs(t.hue) for t in drawn) <= 18 and max(abs(t.brightness) for t in drawn) <= 32


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (3, 9_000), (1, 1)])
@pytest.mark.parametrize("config", ["catseg_b", "lseg_l16", "emojiscapes/catseg"])
def test_the_thinnest_pictures_are_trained_and_evaluated(tmp_path, config, size):
    Image.new("RGB", size).save(tmp_path / "image.png")
    Image.new("L", size).save(tmp_path / "labels.png")
    item = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    cfg = build_cfg(config)
    metadata = SimpleNamespace(stuff_classes=["a", "b"], ignore_label=255, name="thin")
    trained = SemSegTrainMapper.from_config(cfg, metadata, seed=0)(0, item)
    assert trained["image"].shape[1:] == trained["sem_seg"].shape and 0 in trained["sem_seg"]
    tested = SemSegTestMapper.from_config(cfg)(item)
    assert min(tested["image"].shape) >= 1 and tested["sem_seg"].shape == size[::-1]
