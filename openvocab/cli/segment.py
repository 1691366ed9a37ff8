"""`openvocab segment`, which `demo/demo.py` calls too: pictures or a video and words in, a mask per word out.

Of what lies in the output folder, only this program's own files are replaced.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cli import on_ray, segment_pictures
from openvocab.cli.running import run_with_warnings
from openvocab.cli.segment_options import build_parser, refuse_without_pictures, source_of, words_of
from openvocab.cli.segment_pictures import SHOWN_WORDS
from openvocab.console import say, shown

if TYPE_CHECKING:
    import numpy as np

    from openvocab.cli.segment_pictures import Words
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary


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
        if args.video_input is None and args.webcam is None:
            return segment_pictures.run(args, _segmenter)
        return _run_video(args)

    return run_with_warnings(work)


def _run_video(args: argparse.Namespace) -> int:
    from openvocab.inference.video.reading import open_camera, open_file
    from openvocab.inference.video.run import VideoRun

    refuse_without_pictures(args)
    words = words_of(args)
    source = None if args.video_input is None else Path(args.video_input)
    with open_camera(args.webcam) if source is None else open_file(source) as video:
        run = VideoRun(video, None if args.output is None else Path(args.output), source)
        segmenter = _segmenter(args, words, False)
        say(f"video       {run}")

        def segment(frame: "np.ndarray") -> "np.ndarray":
            result = segmenter(
                frame[..., ::-1], words[0], background=words[1], threshold=args.threshold, absent=args.absent
            )
            return result.overlay()[..., ::-1]

        try:
            return run.segment(segment)
        except KeyboardInterrupt:
            print(f"interrupted, {run.progress()} done, nothing written", file=sys.stderr)
            return exit_codes.INTERRUPTED


def _segmenter(args: argparse.Namespace, words: "Words", single: bool) -> "Segmenter":
    # `loading` brings torch and Detectron2 along: before the network is asked, so that only its answer is waited for.
    from openvocab.inference import loading  # noqa: F401
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.background import combine

    vocabulary, background = words
    _, asked = combine(vocabulary, background)
    source, weights, notice = source_of(args, single)
    segmenter = Segmenter.load(source, weights, args.device, args.dtype, args.opts, args.synonyms)
    segmenter.notice = notice
    if args.vocabulary_file is not None and args.vocabulary_file.endswith(".safetensors"):
        from openvocab.inference.embeddings import use_embeddings

        use_embeddings(segmenter, args.vocabulary_file)
    segmenter.text_embeddings(asked)  # words that do not fit the model are one error, and not one per picture
    cut = None
    if args.absent is not None:
        from openvocab.inference.absent import cut_of

        cut = cut_of(segmenter, args.absent, len(asked))
    say(f"model       {segmenter.name} ({segmenter.cfg.MODEL.META_ARCHITECTURE})")
    say(f"weights     {shown(segmenter.weights)}")
    say(f"device      {segmenter.device}, {segmenter.dtype}")
    rule = {"mean": "mean of the synonyms", "first": "first synonym only"}[segmenter.synonyms]
    say(f"vocabulary  {_words_line(vocabulary)} ({rule})")
    if background:
        say(f"background  {_words_line(background)}")
    if cut:
        say(
            f"absent      at most {cut.absent:g} of their pixels is shown: cosine {cut.threshold:.3f} by "
            f"{shown(cut.curve)}"
        )
    return segmenter


def _words_line(vocabulary: "Vocabulary") -> str:
    first = ", ".join("|".join(entry) for entry in vocabulary.entries[:SHOWN_WORDS])
    more = len(vocabulary) - SHOWN_WORDS
    return f"{first}{f' and {more} more' if more > 0 else ''}"
