"""Makes sheets to look at: what an evaluation got wrong, or what a training is fed.

    python tools/show.py predictions output/eval --dataset ade20k_150_test_sem_seg --count 20
    python tools/show.py training --config-file configs/catseg_b.yaml --count 12

predictions: of an evaluation with TEST.PREDICTIONS True, which may be running still. Rows of picture, truth, prediction
and errors; the image with the lowest mean IoU, over the classes of its own truth, comes first.
training: the first samples that a training with this config and seed draws. The augmented picture, the labels over it
and their shares, with the words that the model is given; the last sheet has the shares over all of them.

Of what lies in the output folder, only sheets are replaced.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import openvocab  # noqa: F401 - before Detectron2, because it hides a warning that importing that prints

# isort: split
import numpy as np
from PIL import Image

from openvocab.console import escape_what_cannot_be_shown, say, shown
from openvocab.data.folders import register_folders
from openvocab.data.inspection import TrainingFeed
from openvocab.data.loader import dataset_dicts
from openvocab.data.register import register_all
from openvocab.engine.errors import report_user_errors
from openvocab.engine.setup import build_cfg
from openvocab.evaluation.inspection import Inspection, config_of, datasets_of
from openvocab.evaluation.predictions import PredictionFiles
from openvocab.files import replace_together
from openvocab.inference import marks
from openvocab.inference.result import prepare_folder

ROWS = 4  # on a sheet, which then fits on a screen or two


def sheets_of_predictions(args: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names and sheets of each dataset; checks what is in the way before a dataset is read.

    Raises:
        ValueError: no label maps, or those of a dataset that is not registered.
    """
    cfg = config_of(args.folder)
    register_all()
    register_folders(cfg.DATASETS.FOLDERS)
    for name in args.dataset or datasets_of(args.folder):
        samples = dataset_dicts(name)
        inspection = Inspection(cfg, name, samples, PredictionFiles.from_config(cfg, name, samples))
        count = min(args.count, len(inspection.samples))
        claim(args.output, [f"{name}_{number + 1:02d}" for number in range(-(-count // ROWS))], name)
        worst = inspection.worst_first()[:count]
        for number, first in enumerate(range(0, count, ROWS), start=1):
            yield f"{name}_{number:02d}", inspection.sheet(worst[first : first + ROWS], first + 1)


def sheets_of_training(args: argparse.Namespace) -> Iterator[tuple[str, np.ndarray]]:
    """Yields names and sheets of what a training is fed.

    Raises:
        ValueError: what config, datasets or words refuse.
    """
    cfg = build_cfg(args.config_file, args.opts)
    register_all()
    register_folders(cfg.DATASETS.FOLDERS)
    names = [f"training_{number + 1:02d}" for number in range(-(-args.count // ROWS))]
    claim(args.output, [*names, "training_labels"], "training")
    feed = TrainingFeed(cfg, args.count)
    for number, first in enumerate(range(0, args.count, ROWS), start=1):
        yield f"training_{number:02d}", feed.sheet(first, ROWS)
    yield "training_labels", feed.histogram()


def claim(folder: Path, names: Sequence[str], prefix: str) -> None:
    """Makes the output folder, and takes away the sheets of an earlier call that this one does not replace.

    Args:
        folder: of the sheets.
        names: that will be written, without suffix.
        prefix: the sheets of this kind are called `<prefix>_<number>`.

    Raises:
        ValueError: the folder cannot be written to, or a file that is no sheet is in the way.
    """
    prepare_folder(folder)
    marks.refuse_foreign([folder / f"{name}.png" for name in names], marks.SHEET)
    for path in folder.iterdir():
        earlier = re.fullmatch(rf"{re.escape(prefix)}_\d+\.png", path.name) and path.stem not in names
        if earlier and marks.kind_of(path) == marks.SHEET:
            path.unlink()


def write(folder: Path, found: Iterator[tuple[str, np.ndarray]]) -> None:
    """Writes sheets as they are made, and names each."""
    check = partial(marks.refuse_foreign, kind=marks.SHEET)
    for name, picture in found:
        path = folder / f"{name}.png"
        save = partial(Image.fromarray(picture).save, format="PNG", pnginfo=marks.png(marks.SHEET))
        replace_together({path: save}, check)
        say(shown(path))


def one_or_more(text: str) -> int:
    """Reads a number of the command line."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of 1 or more")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Makes the parser of both commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="predictions|training")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--count", type=one_or_more, default=12, help="images, four on a sheet (default: %(default)s)")
    both.add_argument("--output", type=Path, default=Path("output/show"), help="default: %(default)s")
    predictions = commands.add_parser("predictions", parents=[both], help="what an evaluation got wrong, worst first")
    predictions.add_argument("folder", type=Path, metavar="OUTPUT_DIR", help="of an evaluation with TEST.PREDICTIONS")
    predictions.add_argument("--dataset", nargs="+", metavar="NAME", help="default: all that were evaluated")
    predictions.set_defaults(sheets=sheets_of_predictions)
    training = commands.add_parser("training", parents=[both], help="what a training is fed")
    training.add_argument("--config-file", required=True, metavar="FILE")
    training.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys to override")
    training.set_defaults(sheets=sheets_of_training)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    args = build_parser().parse_args(arguments)
    escape_what_cannot_be_shown()

    def start() -> int:
        write(args.output, args.sheets(args))
        return 0

    return report_user_errors(start)


if __name__ == "__main__":
    sys.exit(main())
