#!/usr/bin/env python
"""Pictures or a video and words in, a mask per word out.

    python demo/demo.py --input img.jpg --vocabulary "cat, sofa|couch"
    python demo/demo.py --video-input clip.mov --output masks.mp4 --vocabulary "cat, sofa|couch"

Exit code 0: all pictures were done. 1: some were done, others failed (each is named). 2: none was done. Of a video,
1: its end is missing, what could be read was done.
130: interrupted. What was done until then is whole; of what lies in the output folder, only this program's own files
are replaced.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import preflight
from openvocab.console import OutputClosedError, escape_what_cannot_be_shown, report, say, shown

# The rest of the package is imported where it is used: first `preflight` must be able to say what is missing, and a
# wrong option should be answered before torch and detectron2 have taken their seconds.
if TYPE_CHECKING:
    import numpy as np

    from openvocab.inference.batch import Tally
    from openvocab.inference.inputs import Inputs
    from openvocab.inference.result import Result
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

IMAGES = Path(__file__).resolve().parent / "images"
SHOWN_WORDS = 20  # a terminal line is no place for a thousand words; the JSON has them all


class _Parser(argparse.ArgumentParser):
    """Reports a wrong option in one line, like every other error."""

    def error(self, message: str) -> None:
        raise ValueError(f"{message} (see --help)")


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    about, exit_codes = __doc__.splitlines()[0], __doc__[__doc__.index("Exit code") :]
    parser = _Parser(description=about, epilog=exit_codes, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", nargs="+", metavar="PATH", help="files, folders or patterns (default: demo/images)")
    source.add_argument("--video-input", metavar="FILE", help="a video; shown in a window where no --output is given")
    source.add_argument("--webcam", nargs="?", const=0, type=int, metavar="N", help="a camera (default: 0), shown in a "
                        "window until q is pressed; with --output written as well")  # fmt: skip
    words = parser.add_argument_group("words")
    words.add_argument("--vocabulary", metavar="WORDS", help='comma separated, "|" joins synonyms: "cat, sofa|couch"')
    words.add_argument("--vocabulary-file", metavar="FILE", help=".txt with one entry per line, or .json with a list")
    words.add_argument("--synonyms", choices=("mean", "first"), help="which synonyms count (default: as the model was "
                       "trained here, else the mean of all)")  # fmt: skip
    words.add_argument("--background", metavar="WORDS", help='words that come out as "none of these"')
    words.add_argument("--threshold", type=float, metavar="S", help='scores below S (0..1) become "none of these"')
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME", help="see --list-models (default: catseg_b, fetched once; of the "
                       "pictures that come with the demo the small one that ships)")  # fmt: skip
    model.add_argument("--no-download", action="store_true", help="use only what is on this disk")
    model.add_argument("--config-file", metavar="FILE", help="a config instead of --model; needs --weights")
    model.add_argument("--weights", metavar="FILE", help="parameters; with --model instead of those it comes with")
    model.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    model.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16; with ! forced")
    model.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")
    parser.add_argument("--output", metavar="PATH", help="of pictures a folder (default: output/demo), of a video or a "
                        "camera an .mp4 file")  # fmt: skip
    parser.add_argument("--list-models", action="store_true", help="show the models that have a name, and stop")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Args:
        argv: options; None takes those of the process.

    Returns:
        exit code, see the top of the file.
    """
    escape_what_cannot_be_shown()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        preflight.check()
    except ImportError as error:
        report(error)
        return 2
    from openvocab.checkpoint.hub_errors import DownloadError

    try:
        args = build_parser().parse_args(argv)
        if args.list_models:
            _list_models()
            return 0
        return _run(args) if args.video_input is None and args.webcam is None else _run_video(args)
    except (ValueError, OSError, DownloadError, OutputClosedError) as error:
        report(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference import marks
    from openvocab.inference.batch import BatchStoppedError, Tally
    from openvocab.inference.naming import outputs_of, stems_for

    # Everything that is cheap to check comes before the model, which may take a download.
    words = _words(args)
    found = _inputs(args.input)
    folder = Path("output/demo" if args.output is None else args.output)
    stems = stems_for(found.pictures, folder)
    marks.refuse_foreign(outputs_of(stems, folder), marks.SEGMENTATION)
    tally = Tally(len(found.pictures) + len(found.refused))
    try:
        _segment_all(args, words, found, stems, folder, tally)
        if tally.asked > 1 or found.left_out():
            left_out = f", left out {found.left_out()}" if found.left_out() else ""
            say(f"{tally.done} done, {tally.failed} failed{left_out}")
    except (BatchStoppedError, OutputClosedError) as error:
        report(f"stopped, {tally.done} of {tally.asked} pictures done: {error}")
    except KeyboardInterrupt:
        print(f"interrupted, {tally.done} of {tally.asked} pictures done", file=sys.stderr)
        return 130
    return tally.exit_code


def _segment_all(
    args: argparse.Namespace, words: "tuple[Vocabulary, Vocabulary | tuple]", found: "Inputs", stems: Sequence[str],
    folder: Path, tally: "Tally",
) -> None:
    from openvocab.inference.batch import run_batch
    from openvocab.inference.result import prepare_folder

    segmenter = None
    if found.pictures:
        prepare_folder(folder)
        single = bool(args.input) and len(args.input) == 1 and Path(args.input[0]).is_file()
        segmenter = _segmenter(args, *words, single)
    for line in found.refused:
        tally.failed += 1
        report(line)
    if segmenter is None:
        return

    def segment(picture: Path) -> "Result":
        return segmenter(picture, words[0], background=words[1], threshold=args.threshold)

    def show(number: int, picture: Path, result: "Result", files: Sequence[Path], seconds: float) -> None:
        height, width = result.labels.shape
        say(f"[{number}/{len(stems)}] {shown(picture)}  {width}x{height}  {_areas_line(result)}  ({seconds:.1f} s)\n"
            f"      {shown(folder)}/: {' '.join(shown(file.name) for file in files)}")

    run_batch(list(zip(found.pictures, stems, strict=True)), segment, folder, show, tally)


def _run_video(args: argparse.Namespace) -> int:
    from openvocab.inference.video.reading import open_camera, open_file
    from openvocab.inference.video.run import VideoRun

    words = _words(args)
    source = None if args.video_input is None else Path(args.video_input)
    with open_camera(args.webcam) if source is None else open_file(source) as video:
        run = VideoRun(video, None if args.output is None else Path(args.output), source)
        segmenter = _segmenter(args, *words, False)
        say(f"video       {run}")

        def segment(frame: "np.ndarray") -> "np.ndarray":
            result = segmenter(frame[..., ::-1], words[0], background=words[1], threshold=args.threshold)
            return result.overlay()[..., ::-1]

        try:
            return run.segment(segment)
        except KeyboardInterrupt:
            print(f"interrupted, {run.progress()} done, nothing written", file=sys.stderr)
            return 130


def _words(args: argparse.Namespace) -> "tuple[Vocabulary, Vocabulary | tuple]":
    from openvocab.vocab.vocabulary import Vocabulary

    return _vocabulary(args), Vocabulary.parse(args.background) if args.background is not None else ()


def _vocabulary(args: argparse.Namespace) -> "Vocabulary":
    from openvocab.vocab.vocabulary import Vocabulary

    if args.vocabulary is not None and args.vocabulary_file is not None:
        raise ValueError("--vocabulary and --vocabulary-file: expected one of them, got both")
    if args.vocabulary is not None:
        return Vocabulary.parse(args.vocabulary)
    if args.vocabulary_file is not None:
        return Vocabulary.from_file(args.vocabulary_file)
    default = IMAGES / "vocabulary.txt"
    if not default.is_file():
        raise ValueError(f"--vocabulary: none given, and the list that comes with the demo is missing ({default})")
    return Vocabulary.from_file(default)


def _inputs(inputs: Sequence[str] | None) -> "Inputs":
    from openvocab.inference.inputs import find_inputs

    if inputs is None:
        if not IMAGES.is_dir():
            raise ValueError(f"--input: none given, and the pictures that come with the demo are missing ({IMAGES})")
        inputs = [str(IMAGES)]
    found = find_inputs(inputs)
    if not found.pictures and not found.refused:
        raise ValueError(f"input: no pictures, left out {found.left_out()}")
    return found


def _source(args: argparse.Namespace, single: bool) -> "tuple[str, str | Path | None, str]":
    """Finds the model, the file of its parameters, and what has to be said of it with every answer."""
    from openvocab.checkpoint import zoo
    from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, STAND_IN, choose

    if args.config_file is not None:
        return args.config_file, args.weights, ""
    pictures_of_ours = args.input is None and args.video_input is None and args.webcam is None
    name = args.model or (FOR_PHOTOGRAPHS if args.weights else STAND_IN if pictures_of_ours else None)
    if name is not None:
        return name, zoo.weights_file(zoo.find(name), args.weights, download=not args.no_download), ""
    choice = choose(single, not args.no_download)
    if choice.notice:
        print(f"warning: {choice.notice}", file=sys.stderr)
    return choice.model.name, choice.weights, choice.notice


def _segmenter(
    args: argparse.Namespace, vocabulary: "Vocabulary", background: "Vocabulary | tuple", single: bool
) -> "Segmenter":
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.background import combine

    if args.model is not None and args.config_file is not None:
        raise ValueError("--model and --config-file: expected one of them, got both")
    _, asked = combine(vocabulary, background)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold: expected 0..1, got {args.threshold}")
    source, weights, notice = _source(args, single)
    segmenter = Segmenter.load(source, weights, args.device, args.dtype, args.opts, args.synonyms)
    segmenter.notice = notice
    segmenter.text_embeddings(asked)  # words that do not fit the model are one error, and not one per picture
    say(f"model       {segmenter.name} ({segmenter.cfg.MODEL.META_ARCHITECTURE})")
    say(f"weights     {shown(segmenter.weights)}")
    say(f"device      {segmenter.device}, {segmenter.dtype}")
    rule = {"mean": "mean of the synonyms", "first": "first synonym only"}[segmenter.synonyms]
    say(f"vocabulary  {_words_line(vocabulary)} ({rule})")
    if background:
        say(f"background  {_words_line(background)}")
    return segmenter


def _words_line(vocabulary: "Vocabulary") -> str:
    first = ", ".join("|".join(entry) for entry in vocabulary.entries[:SHOWN_WORDS])
    more = len(vocabulary) - SHOWN_WORDS
    return f"{first}{f' and {more} more' if more > 0 else ''}"


def _areas_line(result: "Result") -> str:
    areas = result.occurring()[:SHOWN_WORDS]
    parts = [f"{area.name} {100 * area.share:.1f} %" for area in areas]
    if result.none_area.pixels:
        parts.append(f"(none of these) {100 * result.none_area.share:.1f} %")
    return ", ".join(parts)


def _list_models() -> None:
    from openvocab.checkpoint import zoo

    for model in zoo.models():
        say(f"{model.name:20} {model.method}, {model.note}\n{'':20} licence: {model.licence}")


if __name__ == "__main__":
    sys.exit(main())
