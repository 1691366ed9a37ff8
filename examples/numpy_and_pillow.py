"""What `openvocab segment` wrote, read with numpy and Pillow alone: cuts a word out of its picture.

openvocab segment --input demo/images/garden.png --vocabulary "dog, tree, grass, sky" --model emojiscapes_catseg
python examples/numpy_and_pillow.py demo/images/garden.png output/masks/garden dog
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(picture: str, stem: str, word: str) -> None:
    """Writes STEM_WORD.png, transparent where the word is not.

    Args:
        picture: that was segmented.
        stem: path of its outputs without their endings.
        word: one of those that were asked for.
    """
    summary = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    found = {entry["name"]: entry for entry in summary["words"]}
    if word not in found:
        sys.exit(f"error: {word} was not asked for, expected one of {', '.join(found)}")
    labels = np.asarray(Image.open(f"{stem}_labels.png"))
    mask = labels == found[word]["label"]
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    path = f"{stem}_{word}.png"
    Image.fromarray(np.dstack([pixels, np.uint8(255) * mask])).save(path)
    print(f"{path}: {mask.sum()} of {mask.size} pixels, score {found[word]['mean_score']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
