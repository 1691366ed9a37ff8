"""`openvocab segment`, which `demo/demo.py` calls too: pictures or a video and words in, a mask per word out.

Of what lies in the output folder, only this program's own files are replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cli import on_ray
from openvocab.cli.running import run_with_warnings
from openvocab.cli.segment_options import OUTPUT, build_parser, pictures_of, source_of, words_of
from openvocab.console import OutputClosedError, report, say, shown

if TYPE_CHECKING:
    import numpy as np

    from openvocab.inference.batch import Tally
    from openvocab.inference.inputs import Inputs
    from openvocab.inference.result import Result
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

SHOWN_WORDS = 20  # a terminal line is no place for a thousand words; the JSON has them all


def main(
    arguments: Sequence[str] | None = None, program: str = "openvocab segment", pictures: Path | None = None
) -> int:
    """Runs the command.

    Args:
        arguments: options; default: those of the process.
        program: how it was called.
        pictures: see `build_parser`.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    def work() -> int:
        parser = build_parser(program, pictures)
        args = parser.parse_args(arguments)
        if args.list_models:
            from openvocab.cli.models import show

            show()
            return exit_codes.DONE
        on_ray.check_engine(args, parser)
        if args.engine == "ray":
            return on_ray.run(args)
        return _run(args) if args.video_input is None and args.webcam is None else _run_video(args)

    return run_with_warnings(work)


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference import marks
    from openvocab.inference.batch import BatchStoppedError, Tally
    from openvocab.inference.naming import outputs_of, stems_for

    # Everything that is cheap to check comes before the model, which may take a download.
    words = words_of(args)
    found = pictures_of(args)
    folder = Path(OUTPUT if args.output is None else args.output)
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
        return exit_codes.INTERRUPTED
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

    words = words_of(args)
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
            return exit_codes.INTERRUPTED


def _segmenter(
    args: argparse.Namespace, vocabulary: "Vocabulary", background: "Vocabulary | tuple", single: bool
) -> "Segmenter":
    # `loading` brings torch and Detectron2 along: before the network is asked, so that only its answer is waited for.
    from openvocab.inference import loading  # noqa: F401
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.background import combine

    _, asked = combine(vocabulary, background)
    source, weights, notice = source_of(args, single)
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
