"""Scenes and crops of EmojiScapes, drawn from a seed: split + index -> the same pixels and labels everywhere."""

import zlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from .drawings import SIDE, drawings
from .textures import texture
from .world import World, world

IGNORE = 255
MIN_AREA = 0.004  # share of the scene; a smaller visible region of a class is not scored


class Scene(NamedTuple):
    """What names a scene completely.

    Attributes:
        world: "mini".
        split: any string; "train" shows base nouns only, "clip" all nouns alike, every other split base and novel nouns
            equally often (a single novel noun four times as often as a single base noun).
        styles: drawing styles to choose from.
        index: number within the split.
        size: side in pixels.
    """

    world: str
    split: str
    styles: tuple[str, ...]
    index: int
    size: int = 192


def stream(*key: object) -> np.random.Generator:
    """A random generator that depends on the key's text only."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(repr(key).encode())))


def pick_drawing(world_: World, noun: int, styles: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """One (128, 128, 4) uint8 drawing of a noun, in a random style among those that have it."""
    while True:
        pictures = drawings(world_, styles[int(rng.integers(len(styles)))])[noun]
        if len(pictures):
            return pictures[int(rng.integers(len(pictures)))]


def paste(
    image: np.ndarray,
    drawing: np.ndarray,
    center: tuple[float, float],
    side: float,
    rng: np.random.Generator,
    jitter: float,
) -> np.ndarray:
    """Blends a drawing into an image, in place, with random rotation, flip and colour.

    Args:
        image: (h, w, 3) float32 RGB 0..255.
        drawing: (128, 128, 4) uint8 RGBA.
        center: x, y in pixels.
        side: side of the drawing in pixels.
        rng: source of randomness.
        jitter: 0 (none) .. 1 (rotation within 35 degrees, strong colour changes).

    Returns:
        (h, w) bool, where the drawing covers more than half of a pixel.
    """
    height, width = image.shape[:2]
    angle = float(rng.uniform(-35, 35)) * jitter
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), angle, side / SIDE)
    if rng.random() < 0.5:
        matrix[:, 2] += matrix[:, 0] * SIDE
        matrix[:, 0] *= -1
    matrix[:, 2] += np.array(center) - SIDE / 2
    source = drawing
    if side < SIDE / 2:  # halve first: linear interpolation alone would alias
        source = cv2.resize(drawing, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
        matrix[:, :2] *= 2
    warped = cv2.warpAffine(source, matrix, (width, height), flags=cv2.INTER_LINEAR).astype(np.float32)
    alpha = warped[..., 3:] * np.float32(1 / 255)
    gain = np.float32(1 + 0.3 * jitter * rng.uniform(-1, 1, 3) + 0.15 * jitter * rng.uniform(-1, 1))
    color = np.minimum(warped[..., :3] * gain + np.float32(20 * jitter * rng.uniform(-1, 1)), 255)
    image += alpha * (color - image)
    return alpha[..., 0] > 0.5


def finish(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Optional blur and noise, then uint8."""
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (3, 3), float(rng.uniform(0.4, 1.0)))
    if rng.random() < 0.15:
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(2, 9))
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _background(
    world_: World, chosen: Sequence[int], size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Stuff regions from top to bottom with wavy borders: image float32, labels uint8."""
    count = len(chosen)
    image = texture(world_.stuff[chosen[0]], rng, size)
    labels = np.full((size, size), len(world_.nouns) + chosen[0], np.uint8)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    for k in range(1, count):
        tilt, phase, wave = rng.uniform(-0.35, 0.35), rng.uniform(0, 6.3), rng.uniform(3, 12)
        border = k / count + rng.uniform(-0.1, 0.1) + tilt * (x - 0.5) + 0.04 * np.sin(wave * x + phase)
        below = y > border
        image[below] = texture(world_.stuff[chosen[k]], rng, size)[below]
        labels[below] = len(world_.nouns) + chosen[k]
    return image, labels


@cache
def _noun_pools(world_: World) -> tuple[np.ndarray, np.ndarray]:
    return np.array(world_.base_nouns), np.array(sorted(world_.novel))


def _nouns(world_: World, split: str, count: int, rng: np.random.Generator) -> list[int]:
    base, novel = _noun_pools(world_)
    if split == "train":
        return [int(n) for n in rng.choice(base, count)]
    if split == "clip":
        return [int(n) for n in rng.integers(len(world_.nouns), size=count)]
    return [int(rng.choice(novel if rng.random() < 0.5 else base)) for _ in range(count)]


def render_scene(scene: Scene | Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Draws a scene of one to three stuff regions and two to eight things.

    Args:
        scene: a `Scene` or a sequence with its fields.

    Returns:
        image: (size, size, 3) uint8 RGB; labels: (size, size) uint8 class ids, 255 where a class's visible region is
        smaller than `MIN_AREA` of the scene.

    Raises:
        ValueError: unknown world or style, or a style's drawings are not there.
    """
    scene = Scene(*scene)
    world_ = world(scene.world)
    styles = tuple(scene.styles)
    rng = stream(scene.world, scene.split, styles, scene.index, scene.size)
    stuff = rng.choice(len(world_.stuff), int(rng.integers(1, 4)), replace=False)
    nouns = _nouns(world_, scene.split, int(rng.integers(2, 9)), rng)
    return compose(world_, stuff, nouns, styles, scene.size, rng)


def compose(
    world_: World,
    stuff: Sequence[int],
    nouns: Sequence[int],
    styles: Sequence[str],
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws given things on given stuff, at random places, sizes and angles.

    Args:
        world_: whose words.
        stuff: positions in `world_.stuff`, one to three, top to bottom.
        nouns: positions in `world_.nouns`, back to front.
        styles: drawing styles to choose from.
        size: side in pixels.
        rng: the only source of randomness.

    Returns:
        As `render_scene`.
    """
    image, labels = _background(world_, stuff, size, rng)
    for noun in nouns:
        side = size * float(rng.uniform(0.2, 0.55))
        center = tuple(rng.uniform(0.08, 0.92, 2) * size)
        covered = paste(image, pick_drawing(world_, noun, styles, rng), center, side, rng, jitter=0.7)
        labels[covered] = noun
    for class_id in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:255]):
        region = labels == class_id
        if region.sum() < MIN_AREA * size * size:
            labels[region] = IGNORE
    return finish(image, rng), labels
