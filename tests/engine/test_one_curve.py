"""The same global batch gives the same curve, whether it is computed at once, in micro-batches or by two processes.

In float64, sums in another order differ by 1e-16 of a gradient, which AdamW divides by at least its epsilon of 1e-8; 20
steps at rates of 1e-4 leave 1e-11. 1e-8 is far from that, and far below one step, 1e-4.
"""

import os
from pathlib import Path

import curves
import pytest
import torch
from curves import NOTHING_COUNTS, OF_TWO_PROCESSES, RECOMPUTED, STEPS, initial, trained
from processes import run_forked

both = pytest.mark.parametrize("method", ["catseg", "lseg"])


def assert_same_end(got, want, start, atol):
    """Of all parameters, of which most must have moved."""
    moved = sum(not torch.equal(value.to(start[name]), start[name]) for name, value in want.items())
    assert moved > len(want) / 3
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=atol, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("steps", [STEPS, pytest.param(20, marks=pytest.mark.slow)])
@both
def test_micro_batches_equal_the_whole(method, steps):
    """With activations computed again, too: one difference more that must make none."""
    _, whole, losses = trained(method, torch.float64, steps=steps)
    _, model, found = trained(method, torch.float64, accumulate=4, overrides=RECOMPUTED, seed=1, steps=steps)
    assert found == pytest.approx(losses, abs=1e-10)
    assert losses[NOTHING_COUNTS] == 0 and losses[0] > 0.01
    assert_same_end(*(dict(each.named_parameters()) for each in (model, whole)), initial(method)[1], 1e-8)


@both
def test_gradients_in_float32(method):
    """Where a gradient is more than noise, which AdamW would turn into steps of full length."""

    def one_step(accumulate):
        trainer, model, losses = trained(method, torch.float32, accumulate=accumulate, steps=1)
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, losses[0]

    whole, loss = one_step(1)
    parts, found = one_step(4)
    assert found == pytest.approx(loss, rel=1e-6)
    above = {name: gradient for name, gradient in whole.items() if gradient.norm() > 1e-9}
    assert len(above) > len(whole) / 2
    for name, gradient in above.items():
        assert (parts[name] - gradient).norm() <= 1e-5 * max(gradient.norm(), 1e-3), name


def test_two_processes_with_micro_batches(tmp_path):
    """Against one process of four micro-batches that keeps its activations: the same parts and batch statistics."""
    script = Path(curves.__file__)
    done = run_forked(script, [str(tmp_path / "two.pt")], dict(os.environ))
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    for method in ("catseg", "lseg"):
        _, one, losses = trained(method, torch.float64, accumulate=4, **OF_TWO_PROCESSES)
        assert two[method]["losses"] == pytest.approx(losses, abs=1e-10)
        assert_same_end(two[method]["parameters"], dict(one.named_parameters()), initial(method)[1], 1e-8)


def test_resumed_steps_have_their_words():
    """Neither the state of the global generator nor where a run was broken decides what is sampled."""
    straight, one, losses = trained("catseg", torch.float64, accumulate=2, steps=3)
    broken = trained("catseg", torch.float64, accumulate=2, steps=2)
    _, two, rest = trained("catseg", torch.float64, accumulate=2, steps=3, seed=2, start=broken)
    assert rest == losses[2:]
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))
