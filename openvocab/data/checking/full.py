"""The full check: every label file is read, and counted against what is expected."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from openvocab.data.catalog import DatasetEntry
from openvocab.data.checking.quick import all_stems, check_file, check_quickly
from openvocab.data.checking.report import Report
from openvocab.data.few_shot import episodes_of
from openvocab.data.preparation.coco_20i import class_lists, compare_lists, write_lists
from openvocab.data.preparation.pool import in_parallel
from openvocab.data.preparation.stamp import (
    STAMP,
    FileSummary,
    Stamp,
    finished_stamp,
    read_stamp,
    summarize_labels,
    write_stamp,
)
from openvocab.data.samples import label_values
from openvocab.vocab.vocabulary import Vocabulary, builtin_absent

logger = logging.getLogger(__name__)

ADOPTED = "files that were here already"
MAX_ERRORS = 20


def check_fully(
    entry: DatasetEntry,
    root: Path,
    *,
    processes: int = 1,
    progress: bool = True,
    adopt: bool = False,
    known: dict[Path, list[FileSummary]] | None = None,
) -> Report:
    """Checks one dataset, reading every label file and the head of every image.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.
        processes: how many.
        progress: whether to show a bar.
        adopt: whether label files without a stamp, made by other scripts, get one if nothing is wrong with them.
        known: label folders that were read before, whose datasets share them; those read now are added.

    Returns:
        The report.
    """
    label_dir = root / entry.label_dir
    stems = all_stems(entry, label_dir) if label_dir.is_dir() else []
    adopting = adopt and bool(stems) and read_stamp(label_dir) is None
    report = Report(entry.name) if adopting else check_quickly(entry, root)
    if not report.ok:
        return report
    summaries = known.get(label_dir) if known else None
    if summaries is None:
        summaries = _read_all(report, entry, root, stems, processes, progress)
    if not report.ok:
        return report
    if known is not None:
        known[label_dir] = summaries
    counted = finished_stamp(_begun(entry, len(stems)), summaries)
    _check_classes(report, entry, counted)
    if adopting:
        _adopt(report, entry, root, counted, summaries)
        return report
    stamp = read_stamp(label_dir)
    for what, found, expected in (
        ("labels", counted.digest, stamp.digest),
        ("pixels per class", counted.pixels, stamp.pixels),
        ("ignored pixels", counted.ignored_pixels, stamp.ignored_pixels),
    ):
        if found != expected:
            report.errors.append(f"{label_dir}: the {what} are not those that were prepared, somebody changed files")
    if entry.few_shot:
        _check_episodes(report, entry, label_dir, summaries, counted.complete)
    return report


def check_and_summarize(entry: DatasetEntry, root: Path, stem: str) -> FileSummary | str:
    """Checks and counts one label file.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.
        stem: of the file.

    Returns:
        The counts, or what is wrong.
    """
    try:
        labels = check_file(entry, root, stem)
        return summarize_labels(stem, labels, label_values(entry), entry.ignore_label)
    except (ValueError, OSError) as error:
        return str(error)


def _begun(entry: DatasetEntry, files: int) -> Stamp:
    return Stamp(entry.label_dir, entry.version, ADOPTED, complete=entry.label_files in (None, files))


def _read_all(
    report: Report, entry: DatasetEntry, root: Path, stems: Sequence[str], processes: int, progress: bool
) -> list[FileSummary]:
    results = in_parallel(partial(check_and_summarize, entry, root), stems, processes)
    summaries = []
    for result in tqdm(results, entry.label_dir, len(stems), unit="file", disable=not progress):
        if isinstance(result, FileSummary):
            summaries.append(result)
        elif len(report.errors) < MAX_ERRORS:
            report.errors.append(result)
    return summaries


def _check_classes(report: Report, entry: DatasetEntry, counted: Stamp) -> None:
    """Compares the classes that occur with those that should."""
    total = sum(counted.pixels) + counted.ignored_pixels
    shows = {label for label, pixels in enumerate(counted.pixels) if pixels}
    report.notes.append(f"{len(shows)} of {len(counted.pixels)} label values occur, "
                        f"{100 * counted.ignored_pixels / total:.1f} % of the pixels are ignored")  # fmt: skip
    if not (entry.occurrence_known and counted.complete):
        return
    names = Vocabulary.builtin(entry.vocabulary).names
    absent = set(builtin_absent(entry.vocabulary))
    for classes, what in ((set(range(len(names))) - absent - shows, "do not occur"),
                          (shows & absent, "occur, which no image of the dataset shows")):  # fmt: skip
        if classes:
            listed = ", ".join(names[label].split(", ")[0] for label in sorted(classes)[:5])
            report.errors.append(f"{len(classes)} classes {what}, such as {listed}: prepared from another dataset?")


def _adopt(report: Report, entry: DatasetEntry, root: Path, counted: Stamp, summaries: Sequence[FileSummary]) -> None:
    """Gives files of other scripts a stamp, and takes it back if the fast check then finds something."""
    label_dir = root / entry.label_dir
    if not counted.complete:
        report.errors.append(f"{label_dir}: got {counted.files} label files, expected {entry.label_files}")
    if not report.ok:
        return
    if entry.benchmark == "coco_20i":
        write_lists(counted.complete, label_dir, summaries)
    write_stamp(label_dir, counted)
    checked = check_quickly(entry, root)
    if not checked.ok:
        (label_dir / STAMP).unlink()
    report.errors += checked.errors
    report.warnings += checked.warnings
    report.notes += checked.notes


def _check_episodes(
    report: Report, entry: DatasetEntry, label_dir: Path, summaries: Sequence[FileSummary], complete: bool
) -> None:
    """Checks that every episode shows its class, and that the lists of COCO-20i are the published ones."""
    pixels = {summary.stem: summary.pixels for summary in summaries}
    episodes = [episode for episode in episodes_of(entry, label_dir) if episode.stem in pixels]
    empty = sorted({episode.stem for episode in episodes if not pixels[episode.stem][episode.foreground]})
    if empty:
        report.warnings.append(f"{len(empty)} images do not show the class of their episode, such as {empty[0]}")
    if entry.benchmark == "coco_20i" and complete:
        differences = compare_lists(class_lists(summaries))
        report.warnings += [f"lists of COCO-20i: {text}" for text in differences[:MAX_ERRORS]]
        if not differences:
            report.notes.append("the lists of COCO-20i are the published ones")
