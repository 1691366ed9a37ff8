"""The options of `openvocab segment`, and what they name: words, pictures, a model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.cli.model_options import Source, add_model_options, named_model
from openvocab.cli.on_ray import add_options
from openvocab.cli.running import Parser

if TYPE_CHECKING:
    from openvocab.inference.inputs import Inputs
    from openvocab.vocab.vocabulary import Vocabulary

OUTPUT = "output/masks"
EXAMPLES = """examples:
  {program} --input img.jpg --vocabulary "cat, sofa|couch"
  {program} --input folder other.jpg --vocabulary-file words.txt --output masks
  {program} --input img.jpg --vocabulary "cat, sofa" --background "wall, floor" --device cuda --dtype float16
  {program} --input album --recursive --format coco,labelme --vocabulary-file words.txt --output masks
  {program} --video-input clip.mov --vocabulary "cat, sofa" --output masks.mp4
  {program} --input drawing.png --vocabulary "cat, tree" --model emojiscapes_catseg    (needs no network)"""


def build_parser(program: str = "openvocab segment", pictures: Path | None = None) -> argparse.ArgumentParser:
    """Describes the options.

    Args:
        program: how it was called.
        pictures: a folder of drawn scenes with a `vocabulary.txt`, which stands where no --input is given.

    Returns:
        The parser.
    """
    default = f" (default: {pictures.parent.name}/{pictures.name})" if pictures else ""
    drawn = ", of its own pictures the small one that ships" if pictures else ""
    parser = Parser(program, "Pictures or a video and words in, a mask per word out.", EXAMPLES.format(program=program),
                    allow_abbrev=False)  # fmt: skip
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", nargs="+", metavar="PATH", help=f"files, folders or patterns{default}")
    parser.add_argument("--recursive", action="store_true", help="pictures in folders below, too; outputs lie as they "
                        "do")  # fmt: skip
    source.add_argument("--video-input", metavar="FILE", help="a video; shown in a window where no --output is given")
    source.add_argument("--webcam", nargs="?", const=0, type=int, metavar="N", help="a camera (default: 0), shown in a "
                        "window until q is pressed; with --output written as well")  # fmt: skip
    words = parser.add_argument_group("words")
    words.add_argument("--vocabulary", metavar="WORDS", help='comma separated, "|" joins synonyms: "cat, sofa|couch"')
    words.add_argument("--vocabulary-file", metavar="FILE", help=".txt with one entry per line, .json with a list, "
                       "or .safetensors of `openvocab words`")  # fmt: skip
    words.add_argument("--synonyms", choices=("mean", "first"), help="which synonyms count (default: as the model was "
                       "trained here, else the mean of all)")  # fmt: skip
    words.add_argument("--background", metavar="WORDS", help='words that come out as "none of these"')
    words.add_argument("--threshold", type=float, metavar="S", help='scores below S (0..1) become "none of these"')
    words.add_argument(
        "--absent",
        type=float,
        metavar="Q",
        help='"none of these": of the pixels of words that are not '
        "there at most the share Q (0..1) is shown; needs the model's curve (`openvocab calibrate`)",
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME", help="see `openvocab models` (default: catseg_b, fetched once"
                       f"{drawn})")  # fmt: skip
    add_model_options(model)
    model.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    model.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16; with ! forced")
    parser.add_argument("--output", metavar="PATH", help=f"of pictures a folder (default: {OUTPUT}), of a video or a "
                        "camera an .mp4 file")  # fmt: skip
    parser.add_argument("--format", metavar="NAMES", help="what a picture becomes: some of png, json, coco, npz, "
                        "labelme, comma separated (default: png,json)")  # fmt: skip
    parser.add_argument("--batch-size", type=int, metavar="N", help="pictures that are computed at a time (default: 2 "
                        "side by side on a CPU, 8 in one pass on a GPU)")  # fmt: skip
    add_options(parser)
    parser.add_argument("--list-models", action="store_true", help="what `openvocab models` shows")
    parser.set_defaults(pictures=pictures)
    return parser


def words_of(args: argparse.Namespace) -> "tuple[Vocabulary, Vocabulary | tuple]":
    """Reads the words and the background words, () where there are none.

    Args:
        args: the command line.

    Raises:
        ValueError: none, or words that cannot be read.
    """
    from openvocab.vocab.background import combine
    from openvocab.vocab.vocabulary import Vocabulary

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold: expected 0..1, got {args.threshold}")
    if args.absent is not None and not 0 <= args.absent <= 1:
        raise ValueError(f"--absent: expected 0..1, got {args.absent}")
    if args.absent is not None and args.threshold is not None:
        raise ValueError("--absent and --threshold: expected one of them, both say which pixels are none of the words")
    words = _vocabulary(args), Vocabulary.parse(args.background) if args.background is not None else ()
    combine(*words)  # refuses a word that is in both
    return words


def formats_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Reads what pictures become, and checks the number of those that are computed at a time.

    Args:
        args: the command line.

    Raises:
        ValueError: a format that does not exist, or a number below 1.
    """
    from openvocab.inference.outputs import USUAL, checked_formats

    if args.batch_size is not None and args.batch_size < 1:
        raise ValueError(f"--batch-size: expected at least 1, got {args.batch_size}")
    names = USUAL if args.format is None else [name.strip().lower() for name in args.format.split(",")]
    try:
        return checked_formats(names)
    except ValueError as error:
        raise ValueError(f"--{error}") from error


def refuse_without_pictures(args: argparse.Namespace) -> None:
    """Refuses what says something about pictures where there is a video.

    Args:
        args: the command line.

    Raises:
        ValueError: names the option.
    """
    given = {"--format": args.format is not None, "--batch-size": args.batch_size is not None,
             "--recursive": args.recursive}  # fmt: skip
    for option in filter(given.get, given):
        raise ValueError(f"{option}: got it with a video or a camera, expected it with pictures (--input) only")


def _vocabulary(args: argparse.Namespace) -> "Vocabulary":
    from openvocab.vocab.vocabulary import Vocabulary

    if args.vocabulary is not None and args.vocabulary_file is not None:
        raise ValueError("--vocabulary and --vocabulary-file: expected one of them, got both")
    if args.vocabulary is not None:
        return Vocabulary.parse(args.vocabulary)
    if args.vocabulary_file is not None:
        return Vocabulary.from_file(args.vocabulary_file)
    if args.pictures is None:
        raise ValueError('--vocabulary: none given, expected words such as "cat, sofa|couch" (or --vocabulary-file)')
    default = args.pictures / "vocabulary.txt"
    if not default.is_file():
        raise ValueError(f"--vocabulary: none given, and the list that comes with the demo is missing ({default})")
    return Vocabulary.from_file(default)


def pictures_of(args: argparse.Namespace) -> "Inputs":
    """Finds the pictures.

    Args:
        args: the command line.

    Raises:
        ValueError: there are none.
    """
    from openvocab.inference.inputs import find_inputs

    inputs: Sequence[str] = args.input
    if args.input is None:
        if args.pictures is None:
            raise ValueError("--input: none given, expected files, folders or patterns (or --video-input, --webcam)")
        if not args.pictures.is_dir():
            raise ValueError(
                f"--input: none given, and the pictures that come with the demo are missing ({args.pictures})"
            )
        inputs = [str(args.pictures)]
    if args.recursive and not any(Path(path).is_dir() for path in inputs):
        raise ValueError(f"--recursive: expected a folder among the inputs, got {', '.join(map(str, inputs[:3]))}")
    found = find_inputs(inputs, args.recursive)
    if not found.pictures and not found.refused:
        raise ValueError(f"input: no pictures, left out {found.left_out()}")
    return found


def source_of(args: argparse.Namespace, single: bool) -> Source:
    """Finds the model, which may take a download; what has to be said of it is said on stderr, too.

    Args:
        args: the command line.
        single: whether one picture is asked for.

    Raises:
        ValueError: no such model, or --model and --config-file at once.
        DownloadError: its parameters cannot be had.
    """
    from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, STAND_IN, choose

    if args.config_file is not None:
        if args.model is not None:
            raise ValueError("--model and --config-file: expected one of them, got both")
        return named_model(args, None)
    pictures_of_ours = all(given is None for given in (args.input, args.manifest, args.video_input, args.webcam))
    name = args.model or (FOR_PHOTOGRAPHS if args.weights else STAND_IN if pictures_of_ours else None)
    if args.absent is not None and not args.weights:
        from openvocab.inference.absent import check_there_is_a_curve

        check_there_is_a_curve(name or FOR_PHOTOGRAPHS)
    if name is not None:
        return named_model(args, name)
    choice = choose(single, not args.no_download)
    if choice.notice:
        print(f"warning: {choice.notice}", file=sys.stderr)
    return Source(choice.model.name, choice.weights, choice.notice)
