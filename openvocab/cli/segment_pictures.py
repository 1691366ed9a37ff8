"""The part of `openvocab segment` that is about pictures: what is done, what goes on, how far it is."""

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cli.running import sigterm_is_ctrl_c
from openvocab.cli.segment_options import OUTPUT, formats_of, pictures_of, words_of
from openvocab.console import OutputClosedError, report, say, shown

if TYPE_CHECKING:
    from openvocab.inference.batch import Tally, Written
    from openvocab.inference.inputs import Inputs
    from openvocab.inference.plan import Plan
    from openvocab.inference.record import Record
    from openvocab.inference.result import Result
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

    Words = tuple[Vocabulary, Vocabulary | tuple]

SHOWN_WORDS = 20  # a terminal line is no place for a thousand words; the JSON has them all


def run(args: argparse.Namespace, load: "Callable[[argparse.Namespace, Words, bool], Segmenter]") -> int:
    """Segments the pictures that were asked for.

    Args:
        args: the command line.
        load: gives the model for the words, told whether one picture is asked for; prints what it is.

    Returns:
        Exit code.
    """
    from openvocab.inference.batch import BatchStoppedError, Tally
    from openvocab.inference.plan import Plan

    # Everything that is cheap to check comes before the model, which may take a download.
    words, formats = words_of(args), formats_of(args)
    found = pictures_of(args)
    plan = Plan(found, Path(OUTPUT if args.output is None else args.output), formats)
    plan.refuse_foreign()
    tally = Tally(len(found.pictures) + len(found.refused))
    again = "; the same command goes on from there" if plan.several else ""
    try:
        with sigterm_is_ctrl_c():
            _segment_all(args, words, found, plan, load, tally)
        if plan.several or found.left_out():
            left_out = f", left out {found.left_out()}" if found.left_out() else ""
            say(f"{tally.done} done, {tally.failed} failed{left_out}")
    except BatchStoppedError as error:
        report(f"stopped, {tally.done} of {tally.asked} pictures done: {error}{again}")
        return tally.exit_code or exit_codes.IN_PART
    except OutputClosedError as error:
        report(f"stopped, {tally.done} of {tally.asked} pictures done: {error}")
    except KeyboardInterrupt:
        print(f"interrupted, {tally.done} of {tally.asked} pictures done{again}", file=sys.stderr)
        return exit_codes.INTERRUPTED
    return tally.exit_code


def _segment_all(
    args: argparse.Namespace,
    words: "Words",
    found: "Inputs",
    plan: "Plan",
    load: "Callable[[argparse.Namespace, Words, bool], Segmenter]",
    tally: "Tally",
) -> None:
    from openvocab.files import remove_partials
    from openvocab.inference.plan import LOCK
    from openvocab.inference.record import Record, question_of
    from openvocab.inference.result import prepare_folder
    from openvocab.locks import lock

    with ExitStack() as stack:
        segmenter = record = None
        if plan.jobs:
            prepare_folder(plan.folder)
            if plan.several:
                stack.enter_context(closing(lock(plan.folder / LOCK, "--output")))
            single = bool(args.input) and len(args.input) == 1 and Path(args.input[0]).is_file()
            segmenter = load(args, words, single)
        for line in found.refused:
            tally.failed += 1
            report(line)
        if segmenter is None:
            return
        if plan.several:
            root = plan.root if plan.whole else ""
            question = question_of(
                segmenter,
                words,
                threshold=args.threshold,
                formats=plan.formats,
                root=root,
                **_absent(args, words, segmenter),
            )
            record = stack.enter_context(closing(Record(plan.folder, question)))
            remove_partials(lambda: (record.path, *plan.files()))
        _go_on(args, words, plan, segmenter, record, tally)
        if record is not None and tally.done == tally.asked:
            record.remove()


def _absent(args: argparse.Namespace, words: "Words", segmenter: "Segmenter") -> dict[str, list[float]]:
    """Gives what the outputs depend on with --absent: another curve may have been measured since."""
    from openvocab.inference.absent import cut_of
    from openvocab.vocab.background import combine

    cut = None if args.absent is None else cut_of(segmenter, args.absent, len(combine(*words)[1]))
    return {"absent": [cut.absent, cut.threshold]} if cut else {}


def _go_on(
    args: argparse.Namespace,
    words: "Words",
    plan: "Plan",
    segmenter: "Segmenter",
    record: "Record | None",
    tally: "Tally",
) -> None:
    """Does what is still to be done."""
    from openvocab.inference.batch import run_batch

    todo = (
        plan.jobs
        if record is None
        else [job for job in plan.jobs if not record.has(job.picture, job.stem, plan.files([job]))]
    )
    done = {job.number for job in plan.jobs} - {job.number for job in todo}
    tally.done += len(done)
    if done:
        say(f"{len(done)} of {len(plan.jobs)} done before, {len(todo)} to do")
    if record is not None and record.changed:
        say(f"another question was asked here before ({', '.join(record.changed)}): all is done anew")
    if plan.whole is not None and todo:
        plan.whole.unlink(missing_ok=True)  # it would not be of these pictures any more
    with closing(segmenter.many((job.picture for job in todo), words[0], words[1], args.threshold,
                                batch_size=args.batch_size, absent=args.absent)) as answers:  # fmt: skip
        run_batch(todo, answers, plan.save, _shower(plan, len(todo), record, done), tally)
    if plan.whole is not None and done:
        _write_whole(plan, done)


def _shower(plan: "Plan", count: int, record: "Record | None", done: set[int]) -> "Callable[[Written, float], None]":
    """Gives what notes and prints each picture that is written."""
    from openvocab.inference.pace import Pace

    pace = Pace(count, plan.folder)

    def show(written: "Written", seconds: float) -> None:
        job, result = written.job, written.result
        if written.error is None:
            done.add(job.number)
            _note(record, written)
        pace.add(written.files)
        if written.error is None:
            names = " ".join(shown(os.path.relpath(file, plan.folder)) for file in written.files)
            height, width = result.labels.shape
            say(
                f"[{job.number}/{len(plan.jobs)}] {shown(job.picture)}  {width}x{height}  {_areas_line(result)}  "
                f"({seconds:.1f} s{pace.left()})\n      {shown(plan.folder)}/: {names}"
            )
        if estimate := pace.estimate():
            say(estimate[0])
            if estimate[1]:
                print(f"warning: {estimate[1]}", file=sys.stderr)

    return show


def _note(record: "Record | None", written: "Written") -> None:
    from openvocab.inference.batch import BatchStoppedError

    try:
        if record is not None:
            record.add(written.job.picture, written.job.stem, written.files)
    except FileNotFoundError as error:  # somebody has moved the picture or its outputs: it is asked again next time
        print(f"warning: {shown(written.job.picture)}: gone since it was segmented ({error.filename})", file=sys.stderr)
    except OSError as error:
        raise BatchStoppedError(f"{record.path}: {error.strerror}") from error


def _write_whole(plan: "Plan", done: set[int]) -> None:
    from openvocab.inference.batch import BatchStoppedError
    from openvocab.inference.coco_folder import write_whole
    from openvocab.inference.naming import outputs_of

    stems = [job.stem for job in plan.jobs if job.number in done]
    try:
        write_whole(plan.whole, lambda: outputs_of(stems, plan.folder, ["coco"]))
    except OSError as error:
        raise BatchStoppedError(f"{plan.whole}: {error.strerror}") from error
    say(f"      {shown(plan.whole)}: {len(stems)} pictures")


def _areas_line(result: "Result") -> str:
    areas = result.occurring()[:SHOWN_WORDS]
    parts = [f"{area.name} {100 * area.share:.1f} %" for area in areas]
    if result.none_area.pixels:
        parts.append(f"(none of these) {100 * result.none_area.share:.1f} %")
    return ", ".join(parts)
