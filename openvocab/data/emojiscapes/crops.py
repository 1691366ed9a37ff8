"""Small captioned pictures of EmojiScapes ("a cat and a cup on grass"), for training a CLIP: names, no masks."""

from collections.abc import Sequence

import cv2
import numpy as np

from .scenes import finish, paste, pick_drawing
from .textures import texture
from .world import World

TEXTURE_SIDE = 192


class CropPainter:
    """Paints captioned crops from a stream of random numbers.

    Args:
        world: whose words.
        styles: drawing styles to choose from.
        rng: source of all randomness.
        textures: how many background pictures to draw in advance.
    """

    def __init__(self, world: World, styles: Sequence[str], rng: np.random.Generator, textures: int = 240):
        self.world, self.styles, self.rng = world, tuple(styles), rng
        self.bank = [
            (k % len(world.stuff), texture(world.stuff[k % len(world.stuff)], rng, TEXTURE_SIDE).astype(np.uint8))
            for k in range(textures)
        ]

    def background(self, size: int) -> tuple[np.ndarray, int]:
        """A random piece of a random texture at a random zoom: (size, size, 3) float32, stuff index."""
        stuff, picture = self.bank[int(self.rng.integers(len(self.bank)))]
        side = min(TEXTURE_SIDE, int(size * self.rng.uniform(0.8, 1.5)))
        top, left = self.rng.integers(0, TEXTURE_SIDE - side + 1, 2)
        piece = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
        if self.rng.random() < 0.5:
            piece = piece[:, ::-1]
        return piece.astype(np.float32), stuff

    def crop(self, size: int, objects: int, difficulty: float) -> tuple[np.ndarray, list[int]]:
        """Paints one crop.

        Args:
            size: side in pixels.
            objects: how many drawings; 0 leaves the bare texture.
            difficulty: 0 (centred, upright, original colours) .. 1.

        Returns:
            image: (size, size, 3) uint8 RGB; names: class ids, the objects first and the stuff last.
        """
        image, stuff = self.background(size)
        nouns = []
        slots = _slots(objects, self.rng)
        for x, y, room in slots:
            noun = int(self.rng.integers(len(self.world.nouns)))
            low = 1 - 0.45 * difficulty
            side = size * room * float(self.rng.uniform(low, 1.1))
            shift = self.rng.uniform(-1, 1, 2) * 0.22 * difficulty * room * size
            center = (x * size + shift[0], y * size + shift[1])
            drawing = pick_drawing(self.world, noun, self.styles, self.rng)
            paste(image, drawing, center, side, self.rng, jitter=difficulty)
            nouns.append(noun)
        return finish(image, self.rng), [*nouns, len(self.world.nouns) + stuff]

    def mosaic(self, cells: int, across: int, patch: int) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
        """Lays captioned crops side by side; what is known is which crop a patch belongs to, not what it shows.

        Args:
            cells: crops per row and per column.
            across: patches per row and per column.
            patch: side of a patch in pixels.

        Returns:
            image: (across * patch, across * patch, 3) uint8 RGB; regions: (across, across) uint8, number of the crop;
            names: the class ids of each crop.
        """
        edges = np.round(np.linspace(0, across, cells + 1)).astype(int)
        image = np.empty((across * patch, across * patch, 3), np.uint8)
        regions = np.empty((across, across), np.uint8)
        names = []
        spans = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        for rows in spans:
            for columns in spans:
                height, width = (patch * (s.stop - s.start) for s in (rows, columns))
                objects = int(self.rng.choice(3, p=(0.1, 0.8, 0.1)))
                crop, present = self.crop(max(height, width), objects, 1.0)
                pixels = tuple(slice(patch * s.start, patch * s.stop) for s in (rows, columns))
                image[pixels] = crop[:height, :width]
                regions[rows, columns] = len(names)
                names.append(present)
        return image, regions, names


def _slots(objects: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Places (x, y, side) in 0..1 for the objects: one fills the crop, more share a grid."""
    if objects <= 1:
        return [(0.5, 0.5, 0.95)] * objects
    cells = int(np.ceil(np.sqrt(objects)))
    places = rng.permutation(cells * cells)[:objects]
    room = 1 / cells
    return [((p % cells + 0.5) * room, (p // cells + 0.5) * room, 1.05 * room) for p in places]
