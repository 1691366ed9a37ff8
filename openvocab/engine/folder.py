"""A folder of results belongs to one job at a time, and a training's to that training."""

import logging
import math
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.utils import comm

from openvocab.engine.errors import failing_together
from openvocab.files import remove_partials
from openvocab.locks import lock

logger = logging.getLogger(__name__)

LOCK = "job.lock"

CONFIG_MARK = "# Written by openvocab: every key of a job. The next such job in this folder replaces this file."
"""First line of the configs that a job writes; a file without it is somebody's own, and stays."""

CHECKPOINT = re.compile(r"model_(\d{7,}|final)\.pth")
FINAL, BEST = "model_final.pth", "model_best.pth"


@contextmanager
def claimed_folder(output_dir: str, *, training: bool, resume: bool) -> Iterator[None]:
    """Makes a folder this job's as long as the block runs; every process enters it, the first one looks.

    What is refused is left exactly as it was. The claim ends with the process, however that dies.

    Args:
        output_dir: created if need be.
        training: whether the job is a training: one that does not resume is refused where there are checkpoints.
        resume: whether the job goes on with what is there.

    Raises:
        ValueError: another job runs there, the folder holds what the job would replace, or it cannot be written.
    """
    release = None
    try:
        with failing_together():
            if comm.is_main_process():
                make_output_dir(output_dir)
                release = lock(Path(output_dir) / LOCK, "OUTPUT_DIR")
                if training:
                    _refuse_checkpoints(Path(output_dir), resume)
                    remove_leftovers(Path(output_dir))
        yield
    finally:
        if release is not None:
            release.close()


def newest_checkpoint(output_dir: str) -> Path | None:
    """Finds the checkpoint that --resume goes on with, or evaluates.

    Args:
        output_dir: of the job.

    Returns:
        The file that `last_checkpoint` names, or None if no training has left one there.

    Raises:
        ValueError: the file is not there.
    """
    mark = Path(output_dir) / "last_checkpoint"
    if not mark.is_file():
        return None
    path = mark.with_name(mark.read_text().strip())
    if not path.is_file():
        raise ValueError(f"{mark}: names {path.name}, which is not there; write the name of another checkpoint into it")
    return path


def trained_model(output_dir: str) -> tuple[Path, Path]:
    """Finds what a training has made.

    Args:
        output_dir: of the training.

    Returns:
        Its config, and its newest checkpoint.

    Raises:
        ValueError: no training has left both there.
    """
    config, last = Path(output_dir) / "config.yaml", newest_checkpoint(output_dir)
    if last is None or not config.is_file():
        missing = "last_checkpoint" if last is None else config.name
        raise ValueError(f"model: {output_dir} is a folder without {missing}, expected the OUTPUT_DIR of a training")
    return config, last


def checkpoints_in(folder: Path) -> list[Path]:
    """Lists the checkpoints that --resume can go on with, the one of most iterations first.

    Args:
        folder: of a training.
    """
    found = {path: CHECKPOINT.fullmatch(path.name) for path in folder.iterdir()}
    return sorted((path for path, match in found.items() if match), reverse=True,
                  key=lambda path: math.inf if path.name == FINAL else int(found[path][1]))  # fmt: skip


def whole_checkpoint(output_dir: str) -> Path | None:
    """Finds the checkpoint to go on with, and passes by those that a crash has cut.

    Args:
        output_dir: of a training.

    Returns:
        The file that `last_checkpoint` names, or where that is not whole, the newest one before it that is; None if no
        training has left one.

    Raises:
        ValueError: the file is not there, or none is whole.
    """
    last = newest_checkpoint(output_dir)
    if last is None:
        return None
    others = checkpoints_in(last.parent)
    older = others[others.index(last) + 1 :] if last in others else others
    for path in (last, *older):
        if _is_whole(path):
            if path != last:
                logger.warning(
                    "%s is cut or damaged: going on with %s, the newest checkpoint that is whole", last, path.name
                )
            return path
    raise ValueError(
        f"--resume: {last} is cut or damaged, and {output_dir} holds no older checkpoint that is whole; "
        "another OUTPUT_DIR starts anew"
    )


def _is_whole(path: Path) -> bool:
    """What torch writes is an archive whose members have checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError):
        return False


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes have left of the files of a training that they were writing.

    Args:
        folder: of a training that this process has claimed.
    """
    names = {"last_checkpoint", "config.yaml", "metrics.json", BEST}
    partial = [path.name.rsplit(".", 2)[0] for path in folder.glob("*.partial")]
    final = [folder / name for name in partial if name in names or CHECKPOINT.fullmatch(name)]
    if final:
        remove_partials(lambda: final)
        logger.info("removed what killed processes had left of %s", ", ".join(sorted({path.name for path in final})))


def config_path(output_dir: str, *, training: bool, resume: bool) -> Path:
    """Chooses where a job writes its config.

    Args:
        output_dir: of the job.
        training: an evaluation has a file of its own, so that it leaves the training's as it is.
        resume: whether the job goes on with what is there.

    Returns:
        The file; absent, or written by an earlier job.

    Raises:
        ValueError: somebody's own file lies in its place.
    """
    path = Path(output_dir) / ("config.yaml" if training else "config_evaluation.yaml")
    if not _is_foreign(path):
        return path
    if training and resume and newest_checkpoint(output_dir):  # earlier versions did not mark theirs
        other = path.with_name("config_resumed.yaml")
        logger.warning("%s has no mark of a job's config and stays: this job's goes to %s", path, other.name)
        if not _is_foreign(other):
            return other
        path = other
    raise ValueError(f"{path}: got a file that no job wrote where this job writes its config; move it, or choose "
                     "another OUTPUT_DIR")  # fmt: skip


def _is_foreign(path: Path) -> bool:
    if not path.exists():
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") != CONFIG_MARK


def make_output_dir(output_dir: str) -> None:
    """Makes a folder for results.

    Args:
        output_dir: of the job.

    Raises:
        ValueError: it cannot be made, or not be written into.
    """
    try:
        os.makedirs(output_dir, exist_ok=True)
    except OSError as error:
        raise ValueError(f"OUTPUT_DIR: cannot create {output_dir}: {error.strerror}") from error
    if not os.access(output_dir, os.W_OK):
        raise ValueError(f"OUTPUT_DIR: no permission to write in {output_dir}")


def _refuse_checkpoints(folder: Path, resume: bool) -> None:
    newest = newest_checkpoint(str(folder))
    found = sorted((path for path in folder.iterdir() if CHECKPOINT.fullmatch(path.name)),
                   key=lambda path: path.stat().st_mtime_ns)  # fmt: skip
    if newest and not resume:
        raise ValueError(f"OUTPUT_DIR: {folder} holds a training, newest checkpoint {newest.name}: --resume goes on "
                         "with it, another OUTPUT_DIR starts anew")  # fmt: skip
    if found and not newest:
        raise ValueError(
            f"OUTPUT_DIR: {folder} holds a training, newest checkpoint {found[-1].name}, but no file "
            "last_checkpoint with its name, as --resume needs; another OUTPUT_DIR starts anew"
        )
