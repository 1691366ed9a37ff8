"""Draws docs/words.png and docs/garden.png: one drawn picture, asked for several lists of words.

python tools/draw_words.py [FOLDER]     (default: docs)
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from openvocab import Segmenter

ROOT = Path(__file__).resolve().parent.parent
FIVE = ("dog", "house|home", "tree", "grass", "sky")
QUESTIONS = ((FIVE, ()), ((*FIVE, "bicycle|bike"), ()), (("dog", "tree"), ()), (("dog", "tree"), ("grass", "sky")))


def draw(folder: Path) -> list[Path]:
    """Writes the two pictures.

    Args:
        folder: that they are written into.

    Returns:
        Their paths.
    """
    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu")
    seen = segmenter.look(ROOT / "demo" / "images" / "garden.png")
    results = [seen(words, background=background) for words, background in QUESTIONS]
    tiles = [np.pad(result.overlay(), ((0, 0), (0, 8), (0, 0)), constant_values=255) for result in results]
    paths = [folder / "words.png", folder / "garden.png"]
    rows = np.concatenate([np.concatenate(tiles[:2], 1), np.full((8, 2 * tiles[0].shape[1], 3), 255, np.uint8),
                           np.concatenate(tiles[2:], 1)])[:, :-8]  # fmt: skip
    for path, pixels in zip(paths, (rows, results[0].overlay())):
        Image.fromarray(pixels).quantize(128).save(path, optimize=True)
    return paths


if __name__ == "__main__":
    for path in draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
