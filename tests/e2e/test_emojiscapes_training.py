"""The small CAT-Seg through train_net.py on drawn scenes: a killed and resumed run ends where an unbroken run ends."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

OVERRIDES = {
    "DATASETS.TRAIN": "('emojiscapes_mini_train_openmoji',)",
    "DATASETS.TEST": "()",
    "MODEL.VOCABULARY.TRAIN_SAMPLE": "4",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.MAX_ITER": "6",
    "SOLVER.CHECKPOINT_PERIOD": "2",
}


def command(repository, output):
    arguments = [word for pair in (OVERRIDES | {"OUTPUT_DIR": str(output)}).items() for word in pair]
    script = [sys.executable, str(repository / "train_net.py"), "--num-gpus", "0", "--resume"]
    return [*script, "--config-file", str(repository / "configs/emojiscapes/catseg.yaml"), *arguments]


def run(repository, output):
    done = subprocess.run(command(repository, output), cwd=repository, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


def run_and_kill(repository, output, checkpoint):
    """Kills the run as soon as a checkpoint is written."""
    process = subprocess.Popen(
        command(repository, output), cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    mark, deadline = output / "last_checkpoint", time.monotonic() + 900
    while not (mark.is_file() and mark.read_text() == checkpoint):
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (output / "model_final.pth").exists()


def last_loss(output):
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return lines[-1]["iteration"], lines[-1]["total_loss"]


@pytest.mark.slow
def test_killed_and_resumed_equals_unbroken(repository, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(repository, whole)
    run_and_kill(repository, broken, "model_0000001.pth")
    run(repository, broken)
    assert last_loss(broken) == last_loss(whole)
    assert last_loss(whole)[0] == 5
    first, second = (torch.load(folder / "model_final.pth", weights_only=True)["model"] for folder in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
