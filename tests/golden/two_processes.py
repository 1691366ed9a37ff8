"""A script: one step of CAT-Seg B with golden weights in two processes, an image each, and its loss and gradient norms.

python two_processes.py OUTPUT            starts both
torchrun --nproc-per-node 2 two_processes.py OUTPUT
"""

import json
import os
import sys
from pathlib import Path

import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from openvocab.checkpoint.load import Unfilled
from openvocab.engine.environment import place_in
from openvocab.engine.launcher import run_here, run_processes
from openvocab.engine.setup import build_cfg, build_model
from openvocab.engine.step import StepTrainer
from openvocab.engine.trainer import wrap_for_distributed
from openvocab.testing import SMALL_VOCABULARY, golden_image, golden_labels, golden_state
from openvocab.vocab.vocabulary import Vocabulary

SMALL = Vocabulary(SMALL_VOCABULARY, tuple(words[0] for words in SMALL_VOCABULARY), synonyms="first")


def inputs() -> list[dict]:
    """Of the golden training step."""
    return [
        {"image": golden_image(384, 384, seed), "sem_seg": label, "vocabulary": SMALL}
        for seed, label in zip((1, 2), golden_labels())
    ]


def job(path: str) -> None:
    """Of each of the two processes."""
    torch.set_num_threads(1)
    with Unfilled():
        model = build_model(build_cfg("catseg_b", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "golden",
                                                   "MODEL.CHECKPOINT_ACTIVATIONS", "True"]))  # fmt: skip
    model.load_state_dict(golden_state(Path(__file__).with_name("catseg_vitb_state_dict.json")))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    mine = inputs()[comm.get_rank() :: comm.get_world_size()]
    trainer = StepTrainer(wrap_for_distributed(model.train()), iter([mine]), optimizer)
    with EventStorage() as storage:
        trainer.iter = 0
        trainer.run_step()
        if comm.is_main_process():
            norms = {key: float(p.grad.double().norm()) for key, p in model.named_parameters() if p.requires_grad}
            Path(path).write_text(json.dumps([storage.history("total_loss").latest(), norms, comm.get_world_size()]))


if __name__ == "__main__":
    place = place_in(os.environ)
    if place is None:
        sys.exit(run_processes(job, (sys.argv[1],), processes=2, device="cpu"))
    sys.exit(run_here(job, (sys.argv[1],), place, "cpu"))
