"""A tiny model's training on fixed global batches: one process, micro-batches, or as a script two processes."""

import functools
import sys
import tempfile
from pathlib import Path

import torch
from detectron2.utils import comm
from shortening import shortened
from torch import nn

from openvocab.engine.launcher import run_processes
from openvocab.engine.optimizer import build_optimizer
from openvocab.engine.setup import build_cfg, build_model
from openvocab.engine.step import StepTrainer
from openvocab.engine.trainer import wrap_for_distributed
from openvocab.testing import TINY_CATSEG, TINY_LSEG

STEPS, SIDE, NOTHING_COUNTS = 3, 32, 1
CONFIGS = {
    "catseg": (TINY_CATSEG, ["MODEL.CATSEG.IGNORED_PIXELS", "masked", "MODEL.CATSEG.TAPS", "[0, 1]"]),
    "lseg": (TINY_LSEG, ["MODEL.LSEG.TAPS", "[0, 1, 2, 3]"]),
}
OF_TWO_PROCESSES = {"batch_norm": True, "size": 8, "steps": 2}  # two pictures at once, for batch statistics
RECOMPUTED = ("MODEL.CHECKPOINT_ACTIVATIONS", "True")
WORDS = ["MODEL.VOCABULARY.TRAIN", "ade20k_150", "MODEL.VOCABULARY.TRAIN_SAMPLE", "10"]


@functools.cache
def initial(method, *overrides):
    """The config and the parameters that every run begins with."""
    text, own = CONFIGS[method]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.yaml"
        path.write_text(text)
        cfg = build_cfg(path, ["MODEL.DEVICE", "cpu", *WORDS, *own, *overrides])
    torch.manual_seed(0)
    return cfg, shortened(build_model(cfg)).state_dict()


def global_batch(step, dtype, size):
    """Pictures with more and more ignored rows, and classes that no other picture of the batch has."""
    generator = torch.Generator().manual_seed(step)
    items = []
    for number in range(size):
        label = torch.randint(18 * number, 18 * number + 2, (SIDE, SIDE), generator=generator)
        label[: 4 * number + 2] = 255
        if step == NOTHING_COUNTS:
            label[:] = 255
        image = 255 * torch.rand(3, SIDE, SIDE, generator=generator, dtype=torch.float64)
        items.append({"image": image.to(dtype), "sem_seg": label})
    return items


def trained(method, dtype, *, accumulate=1, overrides=(), batch_norm=False, seed=0, start=None, steps=STEPS, size=4):
    """Trains, or goes on from another trainer's end; the trainer, its model without wrapping, and the losses."""
    cfg, state = initial(method, *overrides)
    torch.manual_seed(123 + seed)  # what the global generator gives must not matter
    model = shortened(build_model(cfg))
    model.load_state_dict(state)
    model.to(dtype)
    wrapped = wrap_for_distributed(model)
    trainer = StepTrainer(wrapped, None, build_optimizer(cfg, model), accumulate=accumulate)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(batch_norm)
    if start is not None:
        model.load_state_dict(start[0].model.state_dict())
        trainer.load_state_dict(start[0].state_dict())
    first = 0 if start is None else start[0].iter
    rank, world = comm.get_rank(), comm.get_world_size()
    trainer.data_loader = (global_batch(step, dtype, size)[rank::world] for step in range(first, steps))
    trainer.seed = 7
    trainer.train(first, steps)
    if rank:
        return trainer, model, None
    return trainer, model, [value for value, _ in trainer.storage.history("total_loss").values()]


def job(path):
    """Of each of the two processes."""
    found = {}
    for method in CONFIGS:
        _, model, losses = trained(
            method, torch.float64, accumulate=2, seed=comm.get_rank(), overrides=RECOMPUTED, **OF_TWO_PROCESSES
        )
        found[method] = {"parameters": dict(model.named_parameters()), "losses": losses}
    if comm.is_main_process():
        torch.save(found, path)


if __name__ == "__main__":
    sys.exit(run_processes(job, (sys.argv[1],), processes=2, device="cpu"))
