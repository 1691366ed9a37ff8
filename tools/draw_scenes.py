"""Draws EmojiScapes pictures, for the demo or to look at.

    python tools/draw_scenes.py --seed 7 --count 2 --output output/scenes
    python tools/draw_scenes.py --nouns "sofa,cat" --stuff "brick wall,wooden floor" --output output/scenes

Random scenes come from the test split (base and novel words). Of what lies in the output folder, only drawn scenes are
replaced.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from openvocab.console import escape_what_cannot_be_shown, report, shown
from openvocab.data.emojiscapes import HELD_OUT_STYLE, TRAIN_STYLES, compose, world
from openvocab.data.emojiscapes.scenes import stream
from openvocab.data.emojiscapes.world import World
from openvocab.files import replace_together
from openvocab.inference import marks
from openvocab.vocab.vocabulary import Vocabulary


def positions(words: str, known: tuple[str, ...], option: str) -> list[int]:
    """Looks up comma-separated words.

    Raises:
        ValueError: a word is not in this world.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in known]
    if unknown:
        raise ValueError(f"{option}: got {unknown}, expected words of {', '.join(known)}")
    return [known.index(word) for word in wanted]


def pick(known: tuple[str, ...], words: Path | None, count: int, rng: np.random.Generator) -> list[int]:
    """Chooses words at random, among those of a vocabulary file if there is one."""
    allowed = {entry[0] for entry in Vocabulary.from_file(words).entries} if words else set(known)
    pool = [position for position, word in enumerate(known) if word in allowed]
    return rng.choice(pool, count, replace=False).tolist()


def draw(world_: World, args: argparse.Namespace, seed: int) -> np.ndarray:
    """One picture, (size, size, 3) uint8 RGB, drawn at 192 pixels as in training and enlarged."""
    rng = stream("draw", seed)
    stuff = positions(args.stuff, world_.stuff, "--stuff") or pick(world_.stuff, args.words, 2, rng)
    nouns = positions(args.nouns, world_.nouns, "--nouns") or pick(world_.nouns, args.words, 4, rng)
    image, _ = compose(world_, stuff, nouns, args.styles.split(","), 192, rng)
    return cv2.resize(image, (args.size, args.size), interpolation=cv2.INTER_CUBIC)


def write(args: argparse.Namespace) -> None:
    """Draws and writes the scenes, if nothing is in their way."""
    places = {seed: args.output / f"scene_{seed}.png" for seed in range(args.seed, args.seed + args.count)}
    check = partial(marks.refuse_foreign, kind=marks.SCENE)
    check(places.values())
    args.output.mkdir(parents=True, exist_ok=True)
    for seed, path in places.items():
        scene = Image.fromarray(draw(world("mini"), args, seed))
        replace_together({path: partial(scene.save, format="PNG", pnginfo=marks.png(marks.SCENE))}, check)
        print(shown(path))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first picture; the next ones count up")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--nouns", default="", help="comma-separated things, back to front; default: random")
    parser.add_argument("--stuff", default="", help="comma-separated textures, top to bottom; default: random")
    parser.add_argument("--words", type=Path, help="vocabulary file that random words are taken from")
    parser.add_argument("--styles", default="openmoji", help=f"of {', '.join((*TRAIN_STYLES, HELD_OUT_STYLE))}")
    parser.add_argument("--size", type=int, default=576, help="pixels")
    parser.add_argument("--output", type=Path, default=Path("output/scenes"))
    args = parser.parse_args(argv)
    escape_what_cannot_be_shown()
    try:
        write(args)
    except (ValueError, OSError) as error:
        report(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
