"""200 pictures through the real command, killed at random moments: the same bytes as without."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from openvocab.testing import golden_image

PICTURES, KILLS, SEED = 200, 5, 7


@pytest.mark.slow
def test_five_kills_change_no_byte(tiny_lseg, tmp_path, repository):
    album, shape = tmp_path / "album", random.Random(SEED)
    for number in range(PICTURES):
        path = album / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = golden_image(shape.randrange(20, 60), shape.randrange(20, 60), number)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)

    def start(output: Path) -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "openvocab",
            "segment",
            "--input",
            str(album),
            "--recursive",
            "--output",
            str(output),
            "--vocabulary",
            "cat, sofa|couch, sky",
            "--format",
            "png,json,coco,npz,labelme",
            "--config-file",
            str(tiny_lseg.config),
            "--weights",
            str(tiny_lseg.weights),
            "--device",
            "cpu",
        ]
        return subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(repository)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    unbroken = start(tmp_path / "unbroken" / "out")
    text = unbroken.communicate(timeout=500)[0]
    assert unbroken.returncode == 0 and f"\n{PICTURES} done, 0 failed\n" in text, text
    wanted = contents(tmp_path / "unbroken" / "out")
    assert len(wanted) == 6 * PICTURES + 1

    before, when = 0, random.Random(SEED)
    for kill in range(1, KILLS + 1):
        process = start(tmp_path / "killed" / "out")
        # Far enough from the end that none comes there between two looks, on a machine that does other work.
        goal = before + when.randrange(1, max(2, 2 * (PICTURES - 50 - before) // (KILLS + 2 - kill)))
        wait_for(lambda goal=goal: done(tmp_path / "killed" / "out") >= goal, process)
        time.sleep(0.05 * when.random())  # somewhere in the next pictures
        os.killpg(process.pid, signal.SIGKILL)
        text = process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, text
        assert kill == 1 or f"of {PICTURES} done before, " in text
        before = done(tmp_path / "killed" / "out")
    last = start(tmp_path / "killed" / "out")
    text = last.communicate(timeout=500)[0]
    assert last.returncode == 0 and f"\n{PICTURES} done, 0 failed\n" in text, text
    assert int(text.split(f" of {PICTURES} done before")[0].split()[-1]) >= KILLS
    assert contents(tmp_path / "killed" / "out") == wanted


def wait_for(reached, process) -> None:
    end = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < end and process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def done(output: Path) -> int:
    """Pictures whose last file is there."""
    return sum(path.name.endswith("_labelme.json") for path in output.rglob("*"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
