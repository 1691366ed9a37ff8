"""Procedural textures with names: the stuff of EmojiScapes.

Each texture is a function (rng, size) -> (size, size, 3) float32 RGB, about 0..255, drawn from `rng` alone.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np

Rng = np.random.Generator


def _noise(rng: Rng, size: int, rows: int, columns: int | None = None) -> np.ndarray:
    """Smooth noise, (size, size) float32 in about -1..1, with the given number of cells."""
    cells = rng.random((max(2, rows), max(2, columns or rows)), dtype=np.float32) * 2 - 1
    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)


def _grain(rng: Rng, size: int) -> np.ndarray:
    return rng.standard_normal((size, size), dtype=np.float32)


def _shade(color: tuple[float, float, float], *fields: tuple[np.ndarray, tuple[float, float, float]]) -> np.ndarray:
    """A colour plus the sum of field * direction; fields are (size, size)."""
    image = np.zeros((*fields[0][0].shape, 3), np.float32) + np.float32(color)
    for field, direction in fields:
        image += field[..., None] * np.float32(direction)
    return image


def _ramp(size: int) -> np.ndarray:
    return np.repeat(np.linspace(-1, 1, size, dtype=np.float32)[:, None], size, 1)


def sky(rng: Rng, size: int) -> np.ndarray:
    """A light blue gradient."""
    return _shade((120, 180, 235), (_ramp(size), (45, 25, 5)), (_noise(rng, size, 2), (12, 10, 6)))


def night_sky(rng: Rng, size: int) -> np.ndarray:
    """Dark blue with stars."""
    image = _shade((18, 20, 52), (_ramp(size), (10, 12, 25)), (_noise(rng, size, 3), (8, 6, 14)))
    stars = rng.integers(0, size, (max(8, size * size // 500), 2))
    image[stars[:, 0], stars[:, 1]] = rng.uniform(150, 255, (len(stars), 1))
    return image


def clouds(rng: Rng, size: int) -> np.ndarray:
    """White and grey, soft."""
    field = _noise(rng, size, 4) + 0.5 * _noise(rng, size, 9) + 0.3 * _noise(rng, size, 20)
    return _shade((205, 210, 218), (np.tanh(2 * field), (38, 34, 28)))


def grass(rng: Rng, size: int) -> np.ndarray:
    """Green blades."""
    blades = _noise(rng, size, size // 12, size // 2)
    return _shade((70, 140, 45), (blades, (30, 45, 18)), (_noise(rng, size, 5), (18, 20, 6)))


def sand(rng: Rng, size: int) -> np.ndarray:
    """Beige, grainy, with ripples."""
    ripples = np.sin(np.arange(size, dtype=np.float32)[:, None] / rng.uniform(2.5, 5) + 2.5 * _noise(rng, size, 4))
    return _shade((218, 190, 135), (ripples, (9, 9, 8)), (_grain(rng, size), (9, 9, 8)))


def water(rng: Rng, size: int) -> np.ndarray:
    """Blue waves with highlights."""
    waves = _noise(rng, size, size // 5, 7) + 0.5 * _noise(rng, size, size // 3, 12)
    return _shade((35, 115, 175), (waves, (28, 35, 32)), (np.maximum(waves - 0.8, 0), (190, 170, 150)))


def snow(rng: Rng, size: int) -> np.ndarray:
    """Nearly white."""
    return _shade((236, 241, 248), (_noise(rng, size, 4), (10, 8, 4)), (_grain(rng, size), (4, 4, 3)))


def _masonry(rng: Rng, size: int, height: int, width: int, shift: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rectangular cells: (size, size) joint mask, and a random value in -1..1 per cell spread over its pixels."""
    y, x = np.mgrid[:size, :size]
    row = y // height
    x = x + (row % 2) * (width // 2) * shift + int(rng.integers(0, width))
    values = rng.random((size // height + 2, size // width + 4), dtype=np.float32) * 2 - 1
    joints = ((y % height) < 2) | ((x % width) < 2)
    return joints, values[row, x // width]


def brick_wall(rng: Rng, size: int) -> np.ndarray:
    """Red bricks with light joints."""
    height = int(rng.integers(10, 15))
    joints, tone = _masonry(rng, size, height, 2 * height + 4, True)
    image = _shade((168, 72, 52), (tone, (25, 16, 12)), (_grain(rng, size), (8, 6, 5)))
    image[joints] = (190, 180, 168)
    return image


def wooden_floor(rng: Rng, size: int) -> np.ndarray:
    """Planks with grain."""
    joints, tone = _masonry(rng, size, int(rng.integers(14, 22)), size // 2 + 20, True)
    joints = joints | np.roll(joints, 1, 0) & joints
    image = _shade((165, 112, 62), (tone, (22, 17, 12)), (_noise(rng, size, size // 2, 6), (16, 13, 9)))
    image[joints] *= 0.55
    return image


def stone(rng: Rng, size: int) -> np.ndarray:
    """Grey cobbles."""
    small = max(8, size // 3)
    y, x = np.mgrid[:small, :small].astype(np.float32)
    points = rng.uniform(0, small, (36, 2)).astype(np.float32)
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    nearest = np.partition(distance, 1, axis=-1)[..., :2]
    edge = np.sqrt(nearest[..., 1]) - np.sqrt(nearest[..., 0])
    tone = (rng.random(36, dtype=np.float32) * 2 - 1)[distance.argmin(-1)]
    field = cv2.resize(tone * 24 - 75 * (edge < 1.2), (size, size), interpolation=cv2.INTER_LINEAR)
    return _shade((140, 142, 146), (field, (1, 1, 1)), (_grain(rng, size), (6, 6, 6)))


def road(rng: Rng, size: int) -> np.ndarray:
    """Asphalt with a dashed line."""
    image = _shade((66, 67, 72), (_grain(rng, size), (10, 10, 10)), (_noise(rng, size, 4), (6, 6, 6)))
    x, width, dash = int(rng.integers(0, size)), max(3, size // 40), size // 6
    for top in range(int(rng.integers(-dash, 0)), size, 2 * dash):
        image[max(0, top) : max(0, top + dash), x : x + width] = (225, 220, 190)
    return image


def tiles(rng: Rng, size: int) -> np.ndarray:
    """A light checker with joints."""
    side = int(rng.integers(18, 30))
    y, x = np.mgrid[:size, :size]
    checker = (((y // side) + (x // side)) % 2).astype(np.float32)
    image = _shade((225, 222, 212), (checker, tuple(rng.uniform(-115, -60, 3))))
    image[(y % side < 2) | (x % side < 2)] = (165, 165, 165)
    return image


def dirt(rng: Rng, size: int) -> np.ndarray:
    """Brown noise."""
    field = _noise(rng, size, 6) + 0.7 * _noise(rng, size, 18)
    return _shade((102, 72, 46), (field, (20, 16, 12)), (_grain(rng, size), (9, 8, 6)))


def leaves(rng: Rng, size: int) -> np.ndarray:
    """Many dark green ellipses."""
    image = np.zeros((size, size, 3), np.float32) + np.float32((22, 58, 22))
    for _ in range(size * size // 200):
        center = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = (int(rng.integers(6, 11)), int(rng.integers(3, 5)))
        light = rng.uniform(0.5, 1.5)
        color = (int(34 * light), int(92 * light), int(32 * light))
        cv2.ellipse(image, center, axes, float(rng.uniform(0, 180)), 0, 360, color, -1)
    return image


def carpet(rng: Rng, size: int) -> np.ndarray:
    """A regular purple pattern."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    period = rng.uniform(3.5, 6.5)
    pattern = np.sign(np.sin(x / period) + np.sin(y / period))
    return _shade((120, 32, 84), (pattern, (40, 22, 30)), (_grain(rng, size), (7, 7, 7)))


TEXTURES: Mapping[str, Callable[[Rng, int], np.ndarray]] = MappingProxyType(
    {
        "sky": sky,
        "night sky": night_sky,
        "clouds": clouds,
        "grass": grass,
        "sand": sand,
        "water": water,
        "snow": snow,
        "brick wall": brick_wall,
        "wooden floor": wooden_floor,
        "stone": stone,
        "road": road,
        "tiles": tiles,
        "dirt": dirt,
        "leaves": leaves,
        "carpet": carpet,
    }
)


def texture(name: str, rng: Rng, size: int) -> np.ndarray:
    """Draws one texture with a random overall tint.

    Args:
        name: a key of `TEXTURES`.
        rng: the only source of randomness.
        size: side in pixels, at least 48.

    Returns:
        (size, size, 3) float32 RGB in 0..255.
    """
    image = TEXTURES[name](rng, size) * np.float32(rng.uniform(0.85, 1.15))
    return np.clip(image + np.float32(rng.uniform(-8, 8, 3)), 0, 255)
