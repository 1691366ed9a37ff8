"""Peak memory and time of one training step on a CPU: forward, backward and optimizer.

    python benchmarks/training_memory.py --config catseg_b
    python benchmarks/training_memory.py --config catseg_b MODEL.CHECKPOINT_ACTIVATIONS True

A process for each, since the peak is the process's. Random weights, drawn images and labels. Linux only: the peak is
read from /proc.
"""

import argparse
import sys
import time

import torch
from detectron2.utils.events import EventStorage
from measuring import resident

from openvocab.engine.optimizer import build_optimizer
from openvocab.engine.setup import build_cfg, build_model
from openvocab.engine.step import StepTrainer
from openvocab.testing import golden_image, numbered_words
from openvocab.vocab.vocabulary import Vocabulary


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="catseg_b")
    parser.add_argument("--words", type=int, default=171)
    parser.add_argument("--images", type=int, default=1, help="of the step; the recipe gives one to each process")
    parser.add_argument("--size", type=int, default=384, help="side of an image in pixels")
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(arguments)
    cfg = build_cfg(args.config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", *args.overrides])
    torch.manual_seed(0)
    model = build_model(cfg)
    model.set_default_vocabulary(Vocabulary.from_words(numbered_words(args.words)), training=True)
    batch = [
        {
            "image": golden_image(args.size, args.size, seed),
            "sem_seg": torch.randint(0, args.words, (args.size, args.size)),
        }
        for seed in range(args.images)
    ]
    trainer = StepTrainer(model, iter([batch]), build_optimizer(cfg, model), accumulate=cfg.SOLVER.ACCUMULATE)
    before, start = resident("VmRSS"), time.perf_counter()
    with EventStorage():
        trainer.iter = 0
        trainer.run_step()
    print(
        f"{args.config}, {args.words} words, {args.images} images of {args.size}, {' '.join(args.overrides)}: "
        f"peak {resident('VmHWM'):.0f} MiB, {before:.0f} MiB before the step, {time.perf_counter() - start:.1f} s, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
