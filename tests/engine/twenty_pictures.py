"""Twenty drawn pictures on disk with masks and words, as a user brings them, and the keys to train on them quickly."""

from pathlib import Path

import numpy as np
from PIL import Image

from openvocab.data.emojiscapes import compose, world
from openvocab.data.emojiscapes.scenes import IGNORE, stream

NOUNS = ("cat", "dog", "elephant", "tree", "car", "pizza", "guitar")
STUFF = ("sky", "grass", "water", "sand", "tiles")
WORDS = ("tree", "sky", "cat", "pizza", "grass", "dog", "water", "guitar", "sand", "car", "tiles", "elephant")
COUNT, SIDE = 20, 64


def write_pictures(root: Path, shift: int = 0) -> dict:
    """Draws them; returns the entry of DATASETS.FOLDERS.

    Every label is `shift` higher than its word's place; the last words go around to the first places.
    """
    mini = world("mini")
    table = np.full(256, IGNORE, np.uint8)
    for place, word in enumerate(WORDS):
        table[mini.classes.index(word)] = (place + shift) % len(WORDS)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(COUNT):
        stuff = [mini.stuff.index(STUFF[(index + step) % len(STUFF)]) for step in (0, 2)]
        nouns = [mini.nouns.index(NOUNS[(index + step) % len(NOUNS)]) for step in (0, 3)]
        image, labels = compose(mini, stuff, nouns, ("openmoji",), 2 * SIDE, stream("twenty", index))
        image = image.reshape(SIDE, 2, SIDE, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        Image.fromarray(image).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(table[labels[::2, ::2]]).save(root / "masks" / f"{index:02d}.png")
    (root / "words.txt").write_text("".join(f"{word}\n" for word in WORDS))
    return {"NAME": "twenty", "IMAGES": str(root / "images"), "LABELS": str(root / "masks"),
            "WORDS": str(root / "words.txt")}  # fmt: skip


def arguments(config: str, entry: dict, output: Path, **more: object) -> list[str]:
    """The command line of a training on them, of the small model of a method, at half the size that it ships with."""
    keys = {
        "DATASETS.FOLDERS": [entry], "DATASETS.TRAIN": ("twenty",), "DATASETS.TEST": (), "OUTPUT_DIR": output,
        "SEED": 3, "DATALOADER.NUM_WORKERS": 0, "INPUT.CROP.SIZE": (SIDE, SIDE), "INPUT.MIN_SIZE_TEST": SIDE,
        "INPUT.COLOR_JITTER": False, "SOLVER.IMS_PER_BATCH": 4, "SOLVER.AMP.ENABLED": False, "TEST.ORACLE_GRID": 0,
    }  # fmt: skip
    keys |= {"MODEL.CLIP.INPUT_SIZE": SIDE, "MODEL.CATSEG.WINDOW_SIZE": 4, "MODEL.CATSEG.POOLING_SIZES": [1, 1],
             "MODEL.CATSEG.NUM_LAYERS": 1, "MODEL.VOCABULARY.TRAIN_SAMPLE": 0, "TEST.SLIDING_WINDOW.ENABLED": False,
             "INPUT.MIN_SIZE_TRAIN": (SIDE,), "SOLVER.BASE_LR": 0.0015,
             } if config.endswith("catseg") else {
             "MODEL.LSEG.INPUT_SIZE": SIDE, "INPUT.LONG_SIDE_TRAIN": (SIDE, SIDE)}  # fmt: skip
    pairs = [str(word) for pair in (keys | more).items() for word in pair]
    return ["--config-file", config, "--num-gpus", "0", *pairs]
