"""Killed and stopped at random moments, a training ends where an unbroken one does (`make stress`: the long form)."""

import os
import random
import signal
import time

import pytest
import torch
from test_kill_and_resume import arguments, output_of, start

from openvocab.testing import TINY_CATSEG

TOY = "MODEL:\n  META_ARCHITECTURE: ToySegmenter\n"
# Two micro-batches, in bfloat16 whether the machine has it or not; float16's scaler needs a GPU.
KEYS = ["SOLVER.ACCUMULATE", "2", "SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.FORCE", "True", "SOLVER.CHECKPOINT_PERIOD",
        "3", "SOLVER.REFERENCE_WORLD_SIZE", "0", "TEST.SHEET_IMAGES", "0", "TEST.HEALTH_STEPS", "0"]  # fmt: skip


def parameters(output):
    content = torch.load(output / "model_final.pth", weights_only=True)
    return content["model"], content["trainer"]["_trainer"]["optimizer"]["state"]


def interrupted(command, toys, draws, chance, sent):
    """Starts a run, sends a signal at a random moment of its training, and gives its exit code."""
    before = len(draws.read_text()) if draws.exists() else 0
    process = start(command, toys, draws)
    deadline = time.monotonic() + 120
    while process.poll() is None and (len(draws.read_text()) if draws.exists() else 0) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.4))  # a step takes a twentieth of a second, saving another
    if process.poll() is None:
        os.kill(process.pid, sent)
    text = output_of(process)
    assert process.returncode in (0, 75, -signal.SIGKILL), text
    return process.returncode


def endure(tmp_path, toys, method, iterations, kills, stops):
    chance = random.Random(0)
    sent = [signal.SIGKILL] * kills + [signal.SIGTERM] * stops
    chance.shuffle(sent)
    keys = [*KEYS, "SOLVER.MAX_ITER", str(iterations)]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start([*arguments(tmp_path, method, whole), *keys], toys, tmp_path / "whole.draws")
    text = output_of(process)
    assert process.returncode == 0, text
    codes = []
    for number in sent:
        more = ["--resume"] if broken.exists() else []
        codes.append(interrupted([*arguments(tmp_path, method, broken, *more), *keys], toys, tmp_path / "draws", chance,
                                 number))  # fmt: skip
    process = start([*arguments(tmp_path, method, broken, "--resume"), *keys], toys, tmp_path / "draws")
    text = output_of(process)
    assert process.returncode == 0, text
    assert 0 not in codes, "the training is too short for so many signals"
    assert codes.count(75) >= min(1, stops) and not list(broken.glob("*.partial"))
    for expected, got in zip(parameters(whole), parameters(broken), strict=True):
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            same = (
                torch.equal(value, got[key])
                if isinstance(value, torch.Tensor)
                else all(torch.equal(value[name], got[key][name]) for name in value)
            )
            assert same, key
    return codes


def test_two_kills_and_a_stop(toys, tmp_path):
    endure(tmp_path, toys, ("toy", TOY), 200, kills=2, stops=1)


@pytest.mark.slow
def test_ten_kills_and_three_stops(toys, tmp_path):
    print(endure(tmp_path, toys, ("catseg", TINY_CATSEG), 120, kills=10, stops=3))
