"""What a browser draws from: it gets the labels back as they were, and numbers stand inside their masks."""

import io

import numpy as np
import pytest
from PIL import Image

from openvocab.inference.result import Result
from openvocab.web import panes


def result_of(labels: np.ndarray, count: int) -> Result:
    generator = np.random.default_rng(0)
    scores = generator.random(labels.shape).astype(np.float32)
    image = generator.integers(0, 256, (*labels.shape, 3), np.uint8)
    return Result(image=image, labels=labels.astype(np.int32), scores=scores, names=[f"w{n}" for n in range(count)])


def decoded(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content))).astype(int)


def test_the_map_holds_labels_and_scores():
    labels = np.random.default_rng(1).integers(-1, 300, (20, 30))
    result = result_of(labels, 300)
    red, green, blue = np.moveaxis(decoded(panes.shown_map(result)), 2, 0)
    shown = red + 256 * green
    assert np.array_equal(np.where(shown == 65535, -1, shown), labels)
    assert np.abs(blue / 255 - result.scores).max() <= 0.5 / 255 + 1e-6


def test_large_pictures_are_shown_smaller_and_alike():
    labels = np.zeros((100, 4000), int)
    labels[:, 2000:] = 1
    result = result_of(labels, 2)
    shown = decoded(panes.shown_map(result))
    assert shown.shape == (40, 1600, 3) == decoded(panes.shown_picture(result.image)).shape
    assert (shown[:, :800, 0] == 0).all() and (shown[:, 800:, 0] == 1).all()
    assert decoded(panes.shown_heat(result.scores, 0, 1)).shape == (40, 1600, 3)


def test_a_number_stands_farthest_from_other_masks():
    labels = np.full((60, 90), -1)
    labels[10:31, 20:41] = 3
    numbers = panes.label_numbers(result_of(labels, 5))
    assert set(numbers) == {"3", "-1"}
    assert numbers["3"]["x"] * 90 == pytest.approx(30.5) and numbers["3"]["y"] * 60 == pytest.approx(20.5)
    assert numbers["3"]["share"] == pytest.approx(21 * 21 / 5400) and numbers["-1"]["share"] > 0.9


def test_heat_grows_lighter():
    content = panes.shown_heat(np.linspace(-1, 1, 256)[None].repeat(2, 0), -1.0, 1.0)
    light = decoded(content)[0] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) > -1).all() and light[-1] > light[0] + 150


def test_an_even_heat_map_is_drawn():
    assert decoded(panes.shown_heat(np.zeros((3, 3)), 0.0, 0.0)).shape == (3, 3, 3)
