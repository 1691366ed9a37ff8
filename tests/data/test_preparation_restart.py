"""A preparation may be killed at any time: what it leaves is never taken for finished, and the next run ends it."""

import errno
import hashlib
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import replicas
from PIL import Image

from openvocab.data.catalog import find_entries
from openvocab.data.checking.quick import check_quickly
from openvocab.data.preparation import runner
from openvocab.data.preparation.plans import plan_for
from openvocab.data.preparation.runner import prepare
from openvocab.data.preparation.stamp import STAMP, Stamp, read_stamp, write_stamp

(ENTRY,) = find_entries("ade20k_150")
FILES = 400


# A process that kills itself when it is about to touch a file of the label folder for the n-th time: opening, renaming.
DIES_AT_FILE = """
import os, signal, sys
from openvocab.data.preparation.plans import run_script
root, left = sys.argv[1], [int(sys.argv[2])]
def hook(event, arguments):
    if event in ("open", "os.rename") and "annotations_detectron2" in str(arguments[0]):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
run_script(("ade20k_150",), "", ["--part", "--quiet", "--processes", "1", "--root", root])
"""

# The same when n results have come from its two workers, which are then at work on others.
DIES_AT_RESULT = """
import os, signal, sys
from openvocab.data.preparation import plans, runner
root, left = sys.argv[1], int(sys.argv[2])
def results(items, *_, **__):
    for number, item in enumerate(items):
        if number == left:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
if __name__ == "__main__":
    runner.tqdm = results
    plans.run_script(("ade20k_150",), "", ["--part", "--quiet", "--processes", "2", "--root", root])
"""


def run_and_die(code: str, root: Path, moment: int) -> None:
    process = subprocess.run([sys.executable, "-c", code, str(root), str(moment)], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


def content(root: Path) -> dict[str, str]:
    folder = root / ENTRY.label_dir
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def plan(root: Path):
    return plan_for(ENTRY, root, part=True)


def test_ten_kills_and_an_unbroken_run_give_the_same_bytes(tmp_path, repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    replicas.ade20k_150(whole, count=FILES)
    (broken / "ADEChallengeData2016").mkdir(parents=True)
    for name in ("images", "annotations"):
        (broken / "ADEChallengeData2016" / name).symlink_to(whole / "ADEChallengeData2016" / name)
    prepare(plan(whole), progress=False)
    folder, draw = broken / ENTRY.label_dir, random.Random(0)
    for kill in range(10):
        if kill < 9:
            run_and_die(DIES_AT_FILE, broken, draw.randint(2, 50 * (kill + 1)))
        else:
            run_and_die(DIES_AT_RESULT, broken, draw.randint(1, 90))
        # The very first file is the stamp, without which nothing is taken for prepared either.
        assert not (folder / STAMP).exists() or not read_stamp(folder).finished
        assert re.search("stopped half-way: run python datasets/prepare_ade20k.py ade20k_150 again|not prepared",
                         check_quickly(ENTRY, broken).errors[0])  # fmt: skip
    have = sorted(folder.glob("*.png"))
    assert 100 < len(have) <= FILES  # two orphaned workers may have come to the end
    have[-1].unlink()
    (folder / "ADE_val_00000001.png.partial").write_bytes(b"half")
    prepare(plan(broken), progress=False)
    assert content(broken) == content(whole)
    assert len(content(whole)) == FILES + 1


def test_several_processes_give_the_same_bytes(tmp_path):
    replicas.ade20k_150(tmp_path, count=12)
    prepare(plan(tmp_path), progress=False)
    first = content(tmp_path)
    prepare(plan(tmp_path), progress=False, processes=2, again=True)
    assert content(tmp_path) == first


def test_finished_work_is_left_alone_and_lost_files_are_made_again(tmp_path):
    replicas.ade20k_150(tmp_path)
    prepare(plan(tmp_path), progress=False)
    folder = tmp_path / ENTRY.label_dir
    first, before = content(tmp_path), (folder / STAMP).stat().st_mtime_ns
    prepare(plan(tmp_path), progress=False)
    assert (folder / STAMP).stat().st_mtime_ns == before
    (folder / "ADE_val_00000002.png").unlink()
    assert "got 2 label files, expected 3 as prepared" in check_quickly(ENTRY, tmp_path).errors[0]
    prepare(plan(tmp_path), progress=False)
    assert content(tmp_path) == first


def test_an_older_version_is_named_and_replaced(tmp_path):
    replicas.ade20k_150(tmp_path)
    prepare(plan(tmp_path), progress=False)
    first, folder = content(tmp_path), tmp_path / ENTRY.label_dir
    stamp = read_stamp(folder)
    write_stamp(folder, Stamp(**{**stamp.__dict__, "version": 0}))
    Image.new("L", (32, 24), 5).save(folder / "ADE_val_00000001.png")
    (error,) = check_quickly(ENTRY, tmp_path).errors
    assert "was prepared by version 0 of the script, expected version 1" in error
    prepare(plan(tmp_path), progress=False)
    assert content(tmp_path) == first


def test_an_interrupted_run_of_an_older_version_is_not_continued(tmp_path):
    replicas.ade20k_150(tmp_path)
    prepare(plan(tmp_path), progress=False)
    first, folder = content(tmp_path), tmp_path / ENTRY.label_dir
    write_stamp(folder, Stamp(ENTRY.label_dir, 0, "annotations/validation"))
    Image.new("L", (32, 24), 5).save(folder / "ADE_val_00000001.png")
    prepare(plan(tmp_path), progress=False)
    assert content(tmp_path) == first


def test_a_full_disk_ends_it_at_once(tmp_path, monkeypatch):
    replicas.ade20k_150(tmp_path)
    real = runner.write_labels

    def fails(path: Path, labels: np.ndarray) -> None:
        if "2" in path.stem:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, labels)

    monkeypatch.setattr(runner, "write_labels", fails)
    with pytest.raises(OSError, match="stopped after 1 files: .*No space left on device"):
        prepare(plan(tmp_path), progress=False)
    assert not read_stamp(tmp_path / ENTRY.label_dir).finished
    monkeypatch.undo()
    assert prepare(plan(tmp_path), progress=False).files == 3


def test_bad_files_are_named_and_the_good_ones_kept(tmp_path):
    replicas.ade20k_150(tmp_path, count=5)
    place = tmp_path / "ADEChallengeData2016"
    masks, images = place / "annotations/validation", place / "images/validation"
    replicas.png(masks / "ADE_val_00000001.png", np.full(replicas.SHAPE, 151))
    replicas.png(masks / "ADE_val_00000002.png", np.zeros((*replicas.SHAPE, 3)))
    whole = (images / "ADE_val_00000004.jpg").read_bytes()
    (images / "ADE_val_00000004.jpg").write_bytes(whole[: len(whole) // 2])
    replicas.photograph(images / "ADE_val_00000005.jpg", (10, 10))
    with pytest.raises(ValueError) as caught:
        prepare(plan(tmp_path), progress=False)
    lines = str(caught.value).splitlines()
    assert "4 files could not be prepared" in lines[0]
    assert "ADE_val_00000001.png: got the values 151, expected those of the dataset (up to 150)" in lines[1]
    assert "ADE_val_00000002.png: got a mask of mode RGB" in lines[2]
    assert "image: damaged or truncated: " in lines[3] and "ADE_val_00000004.jpg" in lines[3]
    assert "ADE_val_00000005.png: labels are 24 x 32 (h x w), expected 10 x 10" in lines[4]
    assert list(content(tmp_path)) and not read_stamp(tmp_path / ENTRY.label_dir).finished
    (images / "ADE_val_00000004.jpg").write_bytes(whole + b"something behind the end of the picture")
    with pytest.raises(ValueError, match="3 files could not be prepared"):
        prepare(plan(tmp_path), progress=False)


def test_many_bad_files_end_it(tmp_path, monkeypatch):
    replicas.ade20k_150(tmp_path, count=5)
    for path in (tmp_path / "ADEChallengeData2016/annotations/validation").iterdir():
        path.write_bytes(b"")
    monkeypatch.setattr(runner, "MAX_FAILURES", 2)
    with pytest.raises(ValueError, match=r"2 files could not be prepared \(stopped there\)"):
        prepare(plan(tmp_path), progress=False)


def test_label_files_of_nobody_are_not_overlooked(tmp_path):
    replicas.ade20k_150(tmp_path)
    (tmp_path / ENTRY.label_dir).mkdir(parents=True)
    replicas.png(tmp_path / ENTRY.label_dir / "mine.png", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="got 1 label files that belong to no raw file, such as mine.png"):
        prepare(plan(tmp_path), progress=False)
