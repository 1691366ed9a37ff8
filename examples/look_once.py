"""A picture is looked at once; each further question costs what its words need.

python examples/look_once.py [PICTURE [MODEL]]
"""

import sys
import time
from pathlib import Path

from openvocab import Segmenter

PICTURE = Path(__file__).resolve().parent.parent / "demo" / "images" / "garden.png"


def main(picture: str | Path = PICTURE, model: str = "emojiscapes_catseg") -> None:
    """Asks three questions about one picture, and where a word fits best."""
    segmenter = Segmenter.load(model)
    start = time.perf_counter()
    seen = segmenter.look(picture)
    print(f"looked      {time.perf_counter() - start:.2f} s, holds {seen.nbytes / 1e6:.1f} MB")
    for words in (["dog", "tree", "grass"], ["dog", "tree", "grass", "sky"], ["house|home", "sky"]):
        start = time.perf_counter()
        result = seen(words)
        areas = ", ".join(f"{area.name} {100 * area.share:.0f} %" for area in result.occurring())
        print(f"asked       {time.perf_counter() - start:.2f} s: {areas}")
    heat = seen.heatmap("dog", among=["dog", "tree", "grass", "sky"]).probability
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    print(f"most of all a dog at row {row}, column {column}: {heat.max():.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
