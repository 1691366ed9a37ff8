"""`openvocab calibrate`: measures from which cosine on a model's words count as being in the picture."""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab import exit_codes
from openvocab.cli.model_options import add_model_options, check_one_model, named_model
from openvocab.cli.running import Parser, command
from openvocab.console import say, shown

if TYPE_CHECKING:
    import numpy as np

    from openvocab.inference.absent import Curve
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

PICTURES = 60
EXAMPLES = """examples:
  openvocab calibrate --model catseg_b --dataset ade20k_150_test_sem_seg
  openvocab calibrate --model emojiscapes_lseg --pictures 100       (drawn scenes; needs tools/fetch_drawings.py)
  openvocab calibrate --model output/mine --dataset mine --opts DATASETS.FOLDERS "[{'NAME': 'mine', ...}]"
  openvocab segment --input img.jpg --model catseg_b --vocabulary "cat, sofa" --absent 0.1"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab calibrate", 'Measures a model\'s curve of "none of these", which --absent of `openvocab '
                    "segment` needs: which share of the pixels of words that are not there is shown from which cosine "
                    "on, and what is kept of those that are.", EXAMPLES, allow_abbrev=False)  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="that is measured; see `openvocab models`")
    add_model_options(parser)
    parser.add_argument("--dataset", metavar="NAME", help="labelled pictures such as those that will be asked: a "
                        "benchmark's, or of DATASETS.FOLDERS (default: drawn scenes of EmojiScapes, which say nothing "
                        "of photographs)")  # fmt: skip
    parser.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help="how many, drawn at random "
                        f"(default: {PICTURES}; more make the bounds narrower)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of scenes, pictures and words (default: 0)")
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    parser.add_argument("--output", metavar="FILE", help="of curves, .json (default: beside the weights, of a named "
                        "model in the cache, where they are looked for)")  # fmt: skip
    return parser


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference import marks
    from openvocab.inference.absent import places, write_curve
    from openvocab.inference.segmenter import Segmenter

    check_one_model(args)
    if args.pictures < 10 or args.seed < 0:
        raise ValueError(f"--pictures and --seed: expected at least 10 and 0, got {args.pictures} and {args.seed}")
    if args.output is not None and not args.output.endswith(".json"):
        raise ValueError(f"--output: expected a file that ends in .json, got {args.output}")
    source = named_model(args, args.model)
    segmenter = Segmenter.load(source.model, source.weights, args.device, overrides=args.opts)
    path = Path(args.output) if args.output else places(segmenter.name, segmenter.weights)[0]
    marks.refuse_foreign([path], marks.CURVES)
    say(f"model       {segmenter.name} ({shown(segmenter.weights)})")
    curve = _measured(segmenter, args)
    write_curve(path, segmenter.weights_sha256, curve)
    say(_table(curve))
    say(shown(path))
    return exit_codes.DONE


def _measured(segmenter: "Segmenter", args: argparse.Namespace) -> "Curve":
    from openvocab.evaluation.absent import curve_of, observe

    dicts, vocabulary, ignore_label, about = samples(segmenter, args.dataset, args.pictures, args.seed)
    say(f"pictures    {len(dicts)} of {about}, seed {args.seed}; {len(vocabulary)} words")

    def tell(number: int) -> None:
        if number % 10 == 0 or number == len(dicts):
            say(f"[{number}/{len(dicts)}]")

    seen = list(observe(segmenter, _read(dicts), vocabulary, ignore_label, args.seed, tell))
    return curve_of(segmenter, seen, {"pictures": len(seen), "of": about, "seed": args.seed}, args.seed)


def samples(segmenter: "Segmenter", dataset: str | None, count: int, seed: int
            ) -> "tuple[list[dict[str, Any]], Vocabulary, int, str]":
    """Chooses labelled pictures.

    Args:
        segmenter: whose config may name folders and a spelling of words.
        dataset: registered; None for scenes of EmojiScapes that no training and no benchmark holds.
        count: how many.
        seed: of the choice, or of the scenes.

    Returns:
        Dataset dicts, the words of their labels, the label of pixels that do not count, and what they are.

    Raises:
        ValueError: no such dataset, one without words, or of episodes.
    """
    import numpy as np
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from openvocab.console import did_you_mean
    from openvocab.data.emojiscapes import TRAIN_STYLES, world
    from openvocab.data.emojiscapes.samples import scene_dicts
    from openvocab.data.emojiscapes.scenes import IGNORE
    from openvocab.data.folders import register_folders
    from openvocab.data.register import register_all
    from openvocab.evaluation.words import words_for_test
    from openvocab.vocab.vocabulary import Vocabulary

    if dataset is None:
        words = Vocabulary.from_words(world("mini").classes)
        return scene_dicts(f"calibration {seed}", TRAIN_STYLES, count), words, IGNORE, "EmojiScapes"
    register_all()
    register_folders(segmenter.cfg.DATASETS.FOLDERS)
    if dataset not in DatasetCatalog:
        raise ValueError(f"--dataset: got {dataset!r}, which is not registered"
                         f"{did_you_mean(dataset, DatasetCatalog.list(), 3)}")
    vocabulary = words_for_test(segmenter.cfg, dataset)
    if vocabulary is None:
        raise ValueError(f"--dataset: got {dataset}, expected one whose labels have words")
    dicts = DatasetCatalog.get(dataset)
    chosen = np.random.default_rng(seed).permutation(len(dicts))[:count]
    return [dicts[number] for number in chosen], vocabulary, MetadataCatalog.get(dataset).ignore_label, dataset


def _read(dicts: Iterable[dict[str, Any]]) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    from openvocab.data.reading import read_pair

    return map(read_pair, dicts)


def _table(curve: "Curve") -> str:
    counts = ", ".join(map(str, curve.words))
    lines = [f"of {counts} words: from which cosine on pixels are shown, and what is kept of the right ones, at least",
             f"  absent   shown{'cosine':>{8 * len(curve.words) - 5}}{'kept at least':>{8 * len(curve.words) + 2}}"]
    lines += [f"{point.share:8.3f}{max(point.shown):8.3f}  " + "".join(f"{value:8.3f}" for value in point.thresholds)
              + "  " + "".join(f"{value:8.3f}" for value in point.kept_at_least) for point in curve.points]  # fmt: skip
    taken = [f"{least:g} or more of {count}" for count in curve.words if (least := curve.least(count)) <= 1]
    return "\n".join([*lines, f"--absent takes {', '.join(taken) or 'nothing: too few right pixels are kept'}"])


main = command(build_parser, _run)
