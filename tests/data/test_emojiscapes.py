"""EmojiScapes: a seed draws the same scene, labels fit the pixels, training never shows a novel class."""

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.data.emojiscapes import HELD_OUT_STYLE, TRAIN_STYLES, Scene, compose, render_scene
from openvocab.data.emojiscapes.crops import CropPainter
from openvocab.data.emojiscapes.drawings import drawings
from openvocab.data.emojiscapes.register import register_emojiscapes
from openvocab.data.emojiscapes.scenes import IGNORE, MIN_AREA, paste, stream
from openvocab.data.emojiscapes.textures import TEXTURES, texture
from openvocab.data.emojiscapes.world import world
from openvocab.data.reading import read_pair

OPENMOJI = ("openmoji",)  # the one style that needs no npm
AREAS_OF_SCENE_0 = {3: 2486, 37: 1746, 51: 1664, 86: 3039, 111: 1834, 121: 11810, 131: 14285}


def scene(split, index, size=192):
    return render_scene(Scene("mini", split, OPENMOJI, index, size))


def test_the_mini_world():
    mini = world("mini")
    assert (len(mini.nouns), len(mini.stuff), len(mini.novel)) == (120, 15, 24)
    words = [*mini.classes, *(word for entry in mini.synonyms for word in entry)]
    assert len(set(words)) == len(words)
    assert set(mini.stuff) == set(TEXTURES)
    assert {"cat", "sofa"} <= {mini.nouns[i] for i in mini.base_nouns}


def test_an_unknown_world_is_named():
    with pytest.raises(ValueError, match="world: got 'maxi', expected one of .*mini"):
        world("maxi")


def test_an_unknown_style_is_named():
    with pytest.raises(ValueError, match="style: got 'crayon'"):
        drawings(world("mini"), "crayon")


def test_a_missing_style_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="tools/fetch_drawings.py"):
        drawings(world("mini"), "noto")


def test_the_same_seed_draws_the_same_pixels():
    first, labels = scene("test", 3)
    again, labels_again = scene("test", 3)
    other, _ = scene("test", 4)
    assert (first == again).all() and (labels == labels_again).all()
    assert (first != other).any()


def test_pixels_do_not_drift():
    """Areas of scene 0, noted once; vector units may round differently along borders, hence 1 pixel in 200."""
    _, labels = scene("test", 0)
    assert labels.shape == (192, 192) and labels.dtype == np.uint8
    areas = dict(zip(*(column.tolist() for column in np.unique(labels, return_counts=True)), strict=True))
    assert areas.keys() == AREAS_OF_SCENE_0.keys()
    assert sum(abs(areas[k] - AREAS_OF_SCENE_0[k]) for k in areas) <= labels.size / 200


def test_training_never_shows_a_novel_class():
    novel = world("mini").novel
    seen = set()
    for index in range(40):
        seen |= set(np.unique(scene("train", index, 96)[1]).tolist())
    assert not seen & novel
    assert len(seen) > 60


def test_test_scenes_show_base_and_novel_equally_often():
    mini = world("mini")
    counts = np.zeros(2, int)
    for index in range(60):
        present = np.unique(scene("test", index, 96)[1])
        nouns = present[present < len(mini.nouns)]
        novel = np.isin(nouns, list(mini.novel)).sum()
        counts += (len(nouns) - novel, novel)
    assert 0.75 < counts[0] / counts[1] < 1.33  # 60 scenes, about 4 nouns each: three deviations of a fair coin


def test_small_regions_are_ignored():
    for index in range(12):
        _, labels = scene("test", index)
        ids, areas = np.unique(labels, return_counts=True)
        assert (areas[ids != IGNORE] >= MIN_AREA * labels.size).all()


def test_labels_lie_where_the_drawing_is():
    white = np.zeros((128, 128, 4), np.uint8)
    white[32:96, 32:96] = 255
    image = np.zeros((192, 192, 3), np.float32)
    covered = paste(image, white, (100, 60), 64, stream("paste"), jitter=0.0)
    assert (covered == (image[..., 0] > 127)).all()
    rows, columns = np.nonzero(covered)
    assert abs(rows.mean() - 60) < 1 and abs(columns.mean() - 100) < 1
    assert abs(covered.sum() - 32 * 32) < 140  # one pixel along the border


def test_given_words_are_drawn():
    mini = world("mini")
    cat, sky = mini.nouns.index("cat"), mini.stuff.index("sky")
    _, labels = compose(mini, [sky], [cat], OPENMOJI, 192, stream("compose", 1))
    assert set(np.unique(labels)) == {cat, len(mini.nouns) + sky}


@pytest.mark.parametrize("name", TEXTURES)
def test_textures(name):
    first, again = (texture(name, stream(name), 64) for _ in range(2))
    assert first.shape == (64, 64, 3) and first.dtype == np.float32
    assert 0 <= first.min() and first.max() <= 255 and (first == again).all()
    assert first.std() > 1


def test_crops_name_what_they_show():
    mini = world("mini")
    painter = CropPainter(mini, OPENMOJI, stream("crops"), textures=15)
    for objects in (0, 1, 4):
        image, names = painter.crop(48, objects, 1.0)
        assert image.shape == (48, 48, 3) and image.dtype == np.uint8
        assert len(names) == objects + 1
        assert all(name < len(mini.nouns) for name in names[:-1]) and names[-1] >= len(mini.nouns)


def test_registration_is_idempotent_and_complete():
    register_emojiscapes()
    register_emojiscapes()
    mini = world("mini")
    metadata = MetadataCatalog.get("emojiscapes_mini_test_openmoji")
    assert tuple(metadata.stuff_classes) == mini.classes
    groups = metadata.class_groups
    assert sorted(groups["base"] + groups["novel"] + groups["stuff"]) == list(range(len(mini.classes)))
    first = DatasetCatalog.get("emojiscapes_mini_test_openmoji")[0]
    image, labels = render_scene(first["scene"])
    assert image.shape[:2] == labels.shape == (first["height"], first["width"])
    assert HELD_OUT_STYLE not in TRAIN_STYLES
    assert DatasetCatalog.get("emojiscapes_mini_test_heldout")[0]["scene"].styles == (HELD_OUT_STYLE,)


def test_training_does_not_even_hear_of_novel_classes():
    """A word that never fits would be learned as one that fits nothing."""
    register_emojiscapes()
    mini, metadata = world("mini"), MetadataCatalog.get("emojiscapes_mini_train_openmoji")
    assert set(metadata.stuff_classes) == set(mini.classes) - {mini.classes[i] for i in mini.novel}
    assert metadata.vocabulary.names == tuple(metadata.stuff_classes) and metadata.class_groups["novel"] == []
    item = DatasetCatalog.get("emojiscapes_mini_train_openmoji")[5]
    _, original = render_scene(item["scene"])
    _, renumbered = read_pair(item)
    assert np.array_equal(original == IGNORE, renumbered == IGNORE)
    for label in np.setdiff1d(renumbered, [IGNORE]):
        here = np.unique(original[renumbered == label])
        assert [mini.classes[i] for i in here] == [metadata.stuff_classes[label]]


def test_a_mosaic_knows_which_crop_a_patch_belongs_to():
    painter = CropPainter(world("mini"), OPENMOJI, stream("test"), textures=15)
    image, regions, names = painter.mosaic(3, 16, 8)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert regions.shape == (16, 16) and len(names) == 9
    assert np.bincount(regions.ravel()).tolist() == [25, 30, 25, 30, 36, 30, 25, 30, 25]
    assert all(1 <= len(present) <= 3 for present in names)
