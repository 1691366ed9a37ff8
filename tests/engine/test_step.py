"""A step in micro-batches with a gradient scaler, and with a model that is not ours."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from openvocab.engine.divergence import Diverged
from openvocab.engine.step import StepTrainer


class Product(nn.Module):
    """Loss weight * value, whose gradient is the mean of the values; two losses, as some models have them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        value = torch.stack([item["value"] for item in batch]).mean()
        return {"loss_a": self.weight * value, "loss_b": self.weight * 0.5 * value}


def step(values, accumulate, precision=torch.float32):
    model = Product()
    batches = iter([[{"value": torch.tensor(float(value))} for value in values]])
    trainer = StepTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.5), precision, accumulate)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == torch.float16)
    with EventStorage() as storage:
        trainer.iter = 0
        trainer.run_step()
    return model.weight.item(), storage, trainer


@pytest.mark.parametrize("precision", [torch.float32, torch.float16])
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_losses_and_steps(accumulate, precision):
    """By hand: mean 3, gradient 1.5 x 3 = 4.5, step 2.25."""
    weight, storage, trainer = step([1, 2, 4, 5], accumulate, precision)
    assert weight == 1 - 2.25
    losses = [storage.history(name).latest() for name in ("loss_a", "loss_b", "total_loss")]
    assert losses == [3, 1.5, 4.5]
    scale = {"grad_scaler": {}} if precision == torch.float32 else {"grad_scaler": trainer.grad_scaler.state_dict()}
    assert trainer.state_dict().items() >= scale.items()


def test_an_overflow_in_any_micro_batch_makes_no_step():
    """256 x 3e38 is above float32; the scale is halved, once."""
    for values in ([3e38, 1], [1, 3e38]):
        weight, _, trainer = step(values, 2, torch.float16)
        assert weight == 1 and trainer.grad_scaler.get_scale() == 128


def test_a_loss_that_is_no_number_ends_the_training():
    with pytest.raises(Diverged, match="norm nan at iteration 0"):
        step([1, float("nan")], 2)
