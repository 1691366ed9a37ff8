"""The fast check, which runs before training and evaluation: stamp, counts, pairs, and a few label files."""

import os
from pathlib import Path

import numpy as np

from openvocab.data.catalog import DatasetEntry
from openvocab.data.checking.report import Report
from openvocab.data.few_shot import episodes_of, missing_files
from openvocab.data.masks import read_indices_and_depth
from openvocab.data.preparation.ade20k import wrong_release
from openvocab.data.preparation.labels import check_image
from openvocab.data.preparation.plans import plan_for
from openvocab.data.preparation.sources import shown, stems_in
from openvocab.data.preparation.stamp import Stamp, read_stamp
from openvocab.data.reading import check_labels
from openvocab.data.samples import label_values

SPOT_CHECKS = 8
"""Label files that the fast check reads, evenly spread."""


def check_quickly(entry: DatasetEntry, root: Path) -> Report:
    """Checks one dataset without reading all of it.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.

    Returns:
        The report.
    """
    report = Report(entry.name)
    label_dir, image_dir = root / entry.label_dir, root / entry.image_dir
    stamp = check_stamp(report, entry, root)
    if stamp is None:
        return report
    if not image_dir.is_dir():
        report.errors.append(f"no folder {image_dir} of the images")
        return report
    stems = all_stems(entry, label_dir)
    _check_counts(report, entry, stamp, stems, label_dir)
    _check_pairs(report, entry, stems, root)
    for stem in stems[:: max(1, len(stems) // SPOT_CHECKS)][:SPOT_CHECKS]:
        try:
            check_file(entry, root, stem)
        except (ValueError, OSError) as error:
            report.errors.append(str(error))
    if entry.few_shot and report.ok:
        _check_episodes(report, entry, stamp, label_dir)
    return report


def check_stamp(report: Report, entry: DatasetEntry, root: Path) -> Stamp | None:
    """Checks that a dataset was prepared, to the end, and by this version.

    Args:
        report: takes the findings.
        entry: a row of the table.
        root: folder that the row's folders are relative to.

    Returns:
        The stamp, or None if the label files cannot be relied on.
    """
    label_dir = root / entry.label_dir
    problem = None
    try:
        stamp = read_stamp(label_dir)
    except ValueError as error:
        report.errors.append(str(error))
        return None
    if stamp is None and label_dir.is_dir() and any(label_dir.rglob("*" + entry.label_suffix)):
        problem = (f"{label_dir} holds label files, but no stamp says what made them: run {entry.command}, or, to keep "
                   f"them, python datasets/check.py {entry.benchmark} --adopt")  # fmt: skip
    elif stamp is None:
        problem = f"not prepared ({label_dir} is {'empty' if label_dir.is_dir() else 'missing'}). {_raw(entry, root)}"
    elif not stamp.finished:
        problem = f"the preparation of {label_dir} stopped half-way: run {entry.command} again, it goes on from there"
    elif stamp.version != entry.version:
        problem = (f"{label_dir} was prepared by version {stamp.version} of the script, expected version "
                   f"{entry.version}: run {entry.command} again")  # fmt: skip
    elif stamp.dataset != entry.label_dir:
        problem = f"{label_dir} holds a preparation of {stamp.dataset}, expected {entry.label_dir}"
    if problem:
        report.errors.append(problem)
        return None
    if not stamp.complete:
        report.warnings.append(f"this is a part, {stamp.files} of {entry.label_files} label files: scores mean little")
    report.notes.append(f"{stamp.files} label files from {stamp.source}, digest {stamp.digest[:12]}")
    return stamp


def all_stems(entry: DatasetEntry, label_dir: Path) -> list[str]:
    """Lists all label files of a dataset, those of subfolders as well.

    Args:
        entry: for the suffix.
        label_dir: an existing folder.

    Returns:
        Paths below the folder, without suffix, sorted.
    """
    if not entry.few_shot or entry.few_shot.split == "pascal_5i":
        return stems_in(label_dir, entry.label_suffix)
    suffix = entry.label_suffix
    folders = sorted(name for name in os.listdir(label_dir) if (label_dir / name).is_dir())
    return [f"{folder}/{stem}" for folder in folders for stem in stems_in(label_dir / folder, suffix)]


def check_file(entry: DatasetEntry, root: Path, stem: str) -> np.ndarray:
    """Checks one label file: depth, values, size.

    Args:
        entry: a row of the table.
        root: folder that the row's folders are relative to.
        stem: of the file.

    Returns:
        (h, w) int32, the labels.

    Raises:
        ValueError: the label file or its image is missing or unreadable, colours, 8 bits where 16 belong or the
            reverse, a value beyond the vocabulary, or another size than the image.
    """
    path = root / entry.label_dir / (stem + entry.label_suffix)
    labels, bits = read_indices_and_depth(path)
    wanted = 16 if entry.label_suffix == ".tif" else 8
    if bits != wanted:
        raise ValueError(f"{path}: got {bits} bits per pixel, expected {wanted} for {label_values(entry)} classes")
    check_labels(labels, label_values(entry), entry.ignore_label, str(path))
    check_image(labels, path, root / entry.image_dir / (stem + entry.image_suffix))
    return labels


def _raw(entry: DatasetEntry, root: Path) -> str:
    """Says whether the raw files are there."""
    try:
        count = len(plan_for(entry, root, part=True).items)
    except (ValueError, OSError, ImportError) as error:
        return f"The raw files are not all there either: {error}"
    missing = f" of {entry.label_files}" if entry.label_files not in (None, count) else ""
    return f"{count}{missing} raw files are there: run {entry.command}"


def _check_counts(report: Report, entry: DatasetEntry, stamp: Stamp, stems: list[str], label_dir: Path) -> None:
    if len(stems) != stamp.files:
        report.errors.append(f"{label_dir}: got {len(stems)} label files, expected {stamp.files} as prepared")
    if stamp.complete and entry.label_files not in (None, stamp.files):
        report.errors.append(f"{label_dir}: {stamp.files} files were prepared, expected {entry.label_files}")
    leftovers = sorted(path.name for path in label_dir.rglob("*.partial"))
    if leftovers:
        report.warnings.append(f"{label_dir}: {shown(leftovers)} of an interrupted run")


def _check_pairs(report: Report, entry: DatasetEntry, stems: list[str], root: Path) -> None:
    image_dir = root / entry.image_dir
    missing = missing_files(image_dir, (stem + entry.image_suffix for stem in stems))
    if missing:
        report.errors.append(f"{image_dir}: {shown(missing)} that have labels are missing")
    if entry.exclusive:
        alone = sorted(set(stems_in(image_dir, entry.image_suffix)) - set(stems))
        if alone:
            report.errors.append(f"{image_dir}: {shown(alone)} have no label")
    if entry.benchmark.startswith("ade20k"):
        problem = wrong_release(root, Path(entry.image_dir).parts[0])
        if problem:
            report.warnings.append(problem)


def _check_episodes(report: Report, entry: DatasetEntry, stamp: Stamp, label_dir: Path) -> None:
    try:
        episodes = episodes_of(entry, label_dir)
    except FileNotFoundError as error:
        report.errors.append(str(error))
        return
    missing = set(missing_files(label_dir, {episode.stem + entry.label_suffix for episode in episodes}))
    have = sum(episode.stem + entry.label_suffix not in missing for episode in episodes)
    report.notes.append(f"{have} episodes")
    if stamp.complete and have < len(episodes):
        report.errors.append(f"{label_dir}: {shown(sorted(missing))} of the episodes are missing")
    if stamp.complete and len(episodes) != entry.count:
        report.warnings.append(f"{len(episodes)} episodes, {entry.count} are published: see the check of the lists")
