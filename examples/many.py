"""Segments a folder of pictures with one question; run it as it stands, or with a folder of your own.

python examples/many.py [FOLDER]
"""

import sys
from collections import Counter
from pathlib import Path

from openvocab import Segmenter

IMAGES = Path(__file__).resolve().parent.parent / "demo" / "images"
WORDS = ["dog", "house|home", "tree", "grass", "sky", "car"]


def main() -> None:
    """Prints the largest word of each picture, and how often each word is it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    segmenter = Segmenter.load("emojiscapes_lseg")  # of drawn scenes; for photographs "catseg_b"
    largest = Counter()
    # Any iterable will do, an endless one too: a few pictures are read ahead, and no list is kept.
    for answer in segmenter.many(sorted(folder.glob("*.png")), WORDS):
        if answer.error:  # one picture's trouble is its own
            print(f"{answer.image.name}: {answer.error}")
            continue
        area = answer.result.occurring()[0]
        largest[area.name] += 1
        print(f"{answer.image.name}: {area.name} covers {area.share:.0%}")
    print(dict(largest))


if __name__ == "__main__":
    main()
