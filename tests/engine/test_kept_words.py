"""SOLVER.KEEP: what the start model said of other words is kept, the same for any number of micro-batches."""

import pytest
import torch
from curves import global_batch, initial
from shortening import shortened

from openvocab.engine.global_batch import MicroBatch
from openvocab.engine.optimizer import build_optimizer
from openvocab.engine.setup import build_model
from openvocab.engine.start import Start
from openvocab.engine.step import StepTrainer
from openvocab.vocab.vocabulary import Vocabulary

OTHERS = Vocabulary.from_words([f"word {number}" for number in range(12)])


def model_of(state, dtype=torch.float64):
    cfg, first = initial("catseg")
    model = shortened(build_model(cfg))
    model.load_state_dict(state or first)
    return cfg, model.to(dtype)


def trained(*, weight, accumulate=1, steps=2, dtype=torch.float64):
    cfg, model = model_of(None, dtype)
    trainer = StepTrainer(model, None, build_optimizer(cfg, model), accumulate=accumulate, keep_weight=weight)
    trainer.start = Start(model_of(None, dtype)[1], OTHERS, 5) if weight else None
    trainer.data_loader = (global_batch(2 * step, dtype, 4) for step in range(steps))
    trainer.seed = 7
    model.train()
    trainer.train(0, steps)
    return model, {name: [value for value, _ in trainer.storage.history(name).values()]
                   for name in trainer.storage.histories() if name.startswith(("loss", "total"))}  # fmt: skip


def test_micro_batches_equal_the_whole():
    one, losses = trained(weight=0.7)
    two, found = trained(weight=0.7, accumulate=2)
    for name in ("loss_sem_seg", "loss_kept"):
        assert found[name] == pytest.approx(losses[name], abs=1e-12)
    assert abs(losses["loss_kept"][0]) < 1e-12 and losses["loss_kept"][1] > 1e-9, "it has moved after one step"
    for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-8, rtol=0, msg=name)


def test_the_first_step_is_that_without():
    """At the start there is nothing to keep: neither loss nor gradient."""
    assert trained(weight=0.7, steps=1)[1]["loss_sem_seg"] == trained(weight=0.0, steps=1)[1]["total_loss"]
    one, two = (trained(weight=weight, steps=1)[0] for weight in (0.7, 0.0))
    grads = [(name, p.grad, q.grad) for (name, p), q in zip(one.named_parameters(), two.parameters(), strict=True)
             if p.grad is not None]  # fmt: skip
    assert len(grads) > 50
    for name, kept, plain in grads:
        torch.testing.assert_close(kept, plain, atol=1e-10, rtol=0, msg=name)


def test_other_words_move_less():
    def distance(model):
        start = Start(model_of(None)[1], OTHERS, 12)
        (part,) = start.ask([MicroBatch(global_batch(9, torch.float64, 2), 1.0, 1.0)], 0, 0)
        with torch.no_grad():
            return float(model.train()(part.inputs)["loss_kept"])

    free, kept = (distance(trained(weight=weight, steps=5)[0]) for weight in (0.0, 30.0))
    assert 0 < kept < free / 1.5


def test_words_of_a_step_are_the_same_everywhere():
    start = Start(model_of(None, torch.float32)[1], OTHERS, 5)
    parts = [MicroBatch(global_batch(step, torch.float32, 1), 1.0, 1.0) for step in (0, 1)]
    asked = [{item["kept"].words for part in start.ask(parts, 3, step) for item in part.inputs} for step in (0, 1, 0)]
    assert [len(words) for words in asked] == [1, 1, 1] and asked[0] == asked[2] != asked[1]
    (words,) = asked[0]
    assert len(set(words.names)) == 5 and set(words.names) < set(OTHERS.names)
    assert start.ask(parts[:1], 3, 0)[0].inputs[0]["kept"].probabilities.shape[0] == 5
