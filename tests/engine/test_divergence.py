"""Gradients that are no numbers, or that grow beyond measure, end a training before the optimizer sees them."""

import pytest
import torch
from toy_method import ToySegmenter, toy_cfg

from openvocab.engine.divergence import Divergence
from openvocab.engine.errors import report_user_errors
from openvocab.engine.trainer import Trainer

BATCH = [{"file_name": f"{letter}.jpg"} for letter in "abcdefghij"]


def test_the_first_norm_that_is_no_number_is_one_too_many():
    watch = Divergence(scaled=False)
    watch.check(1.0, BATCH, 6)
    with pytest.raises(ValueError, match=r"got gradients of norm nan at iteration 7, .* the batch was a.jpg, b.jpg, "
                                         r"c.jpg, d.jpg, e.jpg, f.jpg, g.jpg, h.jpg and 2 more$"):  # fmt: skip
        watch.check(float("nan"), BATCH, 7)


def test_a_scaler_may_leave_steps_out():
    watch = Divergence(scaled=True)
    for iteration in range(24):
        watch.check(float("inf"), BATCH, iteration)
    watch.check(1.0, BATCH, 24)  # and starts to count anew
    for iteration in range(24):
        watch.check(float("inf"), BATCH, iteration)
    with pytest.raises(ValueError, match=r"norm inf, 25 steps in a row, at iteration 50"):
        watch.check(float("inf"), BATCH, 50)


def test_an_outlier_is_let_through_and_a_row_of_them_not():
    watch = Divergence(scaled=False)
    for iteration in range(49):
        watch.check(1e-3 if iteration else 1e9, BATCH, iteration)  # nothing is usual yet
    watch.check(2e-3, BATCH, 49)
    for iteration in range(4):
        watch.check(1.01, BATCH, iteration)
    watch.check(0.99, BATCH, 4)
    for iteration in range(4):
        watch.check(1.01, BATCH, iteration)
    with pytest.raises(ValueError, match=r"norm 1.01, where 0.001 is usual, 5 steps in a row, at iteration 60"):
        watch.check(1.01, BATCH, 60)


def test_the_model_of_the_last_checkpoint_is_as_it_was_before(toys, tmp_path, monkeypatch, capsys, caplog):
    forward, steps = ToySegmenter.forward, iter(range(100))

    def spoiled(self, batch):
        loss = forward(self, batch)["loss_seg"]
        return {"loss_seg": loss * (float("nan") if next(steps) == 6 else 1)}

    monkeypatch.setattr(ToySegmenter, "forward", spoiled)
    trainer = Trainer(toy_cfg(tmp_path, **{"DATASETS.TEST": "()"}))
    assert report_user_errors(lambda: trainer.train() and 0) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: training: got gradients of norm nan at iteration 6, ")
    assert all(name in line for name in trainer.model.seen[-1]) and "last good checkpoint is model_0000003.pth" in line
    saved = torch.load(tmp_path / "model_0000003.pth", weights_only=True)["model"]
    assert all(torch.isfinite(value).all() for value in (*saved.values(), *trainer.model.parameters()))
