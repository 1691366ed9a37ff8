#!/usr/bin/env python
"""Pictures and words in, a mask per word out.

    python demo/demo.py --input img.jpg --vocabulary "cat, sofa|couch"

Exit code 0: all pictures were done. 1: some could not be read, the others were done. 2: nothing was done.
130: interrupted; what was done until then is whole.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import preflight

# The rest of the package is imported where it is used: first `preflight` must be able to say what is missing, and a
# wrong option should be answered before torch and detectron2 have taken their seconds.
if TYPE_CHECKING:
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
    parser = _Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--input", nargs="+", metavar="PATH", help="files, folders or patterns (default: demo/images)")
    words = parser.add_argument_group("words")
    words.add_argument("--vocabulary", metavar="WORDS", help='comma separated, "|" joins synonyms: "cat, sofa|couch"')
    words.add_argument("--vocabulary-file", metavar="FILE", help=".txt with one entry per line, or .json with a list")
    words.add_argument("--background", metavar="WORDS", help='words that come out as "none of these"')
    words.add_argument("--threshold", type=float, metavar="S", help='scores below S (0..1) become "none of these"')
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME", help="see --list-models (default: the small one that ships)")
    model.add_argument("--config-file", metavar="FILE", help="a config instead of --model; needs --weights")
    model.add_argument("--weights", metavar="FILE", help="parameters; with --model instead of those it comes with")
    model.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    model.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16; with ! forced")
    model.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")
    parser.add_argument("--output", default="output/demo", metavar="DIR", help="default: output/demo")
    parser.add_argument("--list-models", action="store_true", help="show the models that have a name, and stop")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Args:
        argv: options; None takes those of the process.

    Returns:
        exit code, see the top of the file.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        preflight.check()
    except ImportError as error:
        _report(error)
        return 2
    from openvocab.checkpoint.download import DownloadError

    try:
        args = build_parser().parse_args(argv)
        if args.list_models:
            _list_models()
            return 0
        return _run(args)
    except (ValueError, OSError, DownloadError) as error:
        _report(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference.result import prepare_folder
    from openvocab.vocab.vocabulary import Vocabulary

    # Everything that is cheap to check comes before the model, which may take a download.
    vocabulary = _vocabulary(args)
    background = Vocabulary.parse(args.background) if args.background is not None else ()
    paths = _pictures(args.input)
    folder = prepare_folder(args.output)
    segmenter = _segmenter(args, vocabulary, background)
    print(f"model       {segmenter.name} ({segmenter.cfg.MODEL.META_ARCHITECTURE})")
    print(f"weights     {segmenter.weights}")
    print(f"device      {segmenter.device}, {segmenter.dtype}")
    print(f"vocabulary  {_words_line(vocabulary)}")
    if background:
        print(f"background  {_words_line(background)}")
    failed = 0
    for number, (path, stem) in enumerate(zip(paths, _stems(paths), strict=True), start=1):
        start = time.perf_counter()
        try:
            result = segmenter(path, vocabulary, background=background, threshold=args.threshold)
        except ValueError as error:
            failed += 1
            _report(error)
            continue
        seconds = time.perf_counter() - start
        files = result.save_all(folder, stem)
        height, width = result.labels.shape
        print(f"[{number}/{len(paths)}] {path}  {width}x{height}  {_areas_line(result)}  ({seconds:.1f} s)")
        print(f"      {folder}/: {' '.join(file.name for file in files)}", flush=True)
    if failed == len(paths):
        return 2
    return 1 if failed else 0


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


def _pictures(inputs: Sequence[str] | None) -> list[Path]:
    from openvocab.inference.images import find_images

    if inputs is None:
        if not IMAGES.is_dir():
            raise ValueError(f"--input: none given, and the pictures that come with the demo are missing ({IMAGES})")
        inputs = [str(IMAGES)]
    paths = find_images(inputs)
    if not any(path.exists() for path in paths):
        raise ValueError(f"input: no such file: {paths[0]}")
    return paths


def _segmenter(args: argparse.Namespace, vocabulary: "Vocabulary", background: "Vocabulary | tuple") -> "Segmenter":
    from openvocab.checkpoint import zoo
    from openvocab.inference.segmenter import Segmenter, combine

    if args.model is not None and args.config_file is not None:
        raise ValueError("--model and --config-file: expected one of them, got both")
    combine(vocabulary, background)  # for its checks
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold: expected 0..1, got {args.threshold}")
    source = args.config_file or args.model or zoo.DEFAULT_MODEL
    return Segmenter.load(source, args.weights, args.device, args.dtype, overrides=args.opts)


def _stems(paths: Sequence[Path]) -> list[str]:
    """Gives every picture its own file name: a/cat.jpg and b/cat.png become cat and cat-2."""
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _words_line(vocabulary: "Vocabulary") -> str:
    shown = ", ".join("|".join(entry) for entry in vocabulary.entries[:SHOWN_WORDS])
    more = len(vocabulary) - SHOWN_WORDS
    rule = {"mean": "mean of the synonyms", "first": "first synonym only"}[vocabulary.synonyms]
    return f"{shown}{f' and {more} more' if more > 0 else ''} ({rule})"


def _areas_line(result: "Result") -> str:
    areas = result.occurring()[:SHOWN_WORDS]
    parts = [f"{area.name} {100 * area.share:.1f} %" for area in areas]
    if result.none_area.pixels:
        parts.append(f"(none of these) {100 * result.none_area.share:.1f} %")
    return ", ".join(parts)


def _list_models() -> None:
    from openvocab.checkpoint import zoo

    for model in zoo.models():
        print(f"{model.name:20} {model.method}, {model.note}\n{'':20} licence: {model.licence}")


def _report(error: Exception) -> None:
    """Prints one line, whatever line breaks the message holds."""
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    else:
        text = " ".join(str(error).split())
    print(f"error: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
