#!/usr/bin/env python
"""Trains and evaluates: Detectron2's command line over the configs of this project.

    python train_net.py --config-file configs/catseg_b.yaml --num-gpus 8
    python train_net.py --config-file configs/catseg_b.yaml --eval-only MODEL.WEIGHTS catseg_b.pth
    python train_net.py --config-file configs/emojiscapes/catseg.yaml --num-gpus 0 --resume
"""

import argparse
import shlex
import sys
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from openvocab.data.checking.quick import require_ready
from openvocab.data.register import register_all
from openvocab.engine.launcher import count_processes, report_user_errors, run_processes
from openvocab.engine.setup import build_cfg, import_method, setup_job
from openvocab.engine.trainer import AtomicCheckpointer, Trainer, load_weights_for_cfg


def build_parser() -> argparse.ArgumentParser:
    """Detectron2's parser, with CPU processes and a free port by default.

    Returns:
        The parser.
    """
    parser = default_argument_parser(epilog=__doc__)
    parser.add_argument(
        "--num-processes", type=int, default=0, help="CPU processes on this machine, with --num-gpus 0 (default 1)"
    )
    parser.set_defaults(dist_url="auto")
    return parser


def run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Does the job in one process.

    Args:
        cfg: of the job, frozen.
        args: the command line.
    """
    register_all()
    import_method(cfg.MODEL.META_ARCHITECTURE)
    setup_job(cfg, args.command_line)
    require_ready([*cfg.DATASETS.TEST, *(() if args.eval_only else cfg.DATASETS.TRAIN)])
    if args.resume and (Path(cfg.OUTPUT_DIR) / "last_checkpoint").is_file():
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.WEIGHTS = cfg.OUTPUT_DIR  # not read; the checkpoint holds the whole model, so nothing is fetched
        cfg.freeze()
    if args.eval_only:
        evaluate(cfg, resume=args.resume)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def evaluate(cfg: CfgNode, resume: bool) -> None:
    """Evaluates MODEL.WEIGHTS, or with `resume` the last checkpoint in OUTPUT_DIR.

    Args:
        cfg: of the job.
        resume: whether to look for a checkpoint.
    """
    model = Trainer.build_model(cfg)
    checkpointer = AtomicCheckpointer(model, cfg.OUTPUT_DIR)
    if resume and checkpointer.has_checkpoint():
        checkpointer.load(checkpointer.get_checkpoint_file())
    else:
        load_weights_for_cfg(model, cfg.MODEL.WEIGHTS)
    Trainer.test(cfg, model)
    comm.synchronize()


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, composes the config and starts the processes.

    Args:
        arguments: default: those of the process.

    Returns:
        Exit code: 0, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    args = build_parser().parse_args(arguments)
    args.command_line = shlex.join(["train_net.py", *arguments])

    def start() -> int:
        processes, device = count_processes(args.num_gpus, args.num_processes, args.num_machines)
        cfg = build_cfg(args.config_file, args.opts)
        if device == "cpu":
            cfg.MODEL.DEVICE = "cpu"
        cfg.freeze()
        return run_processes(
            run,
            (cfg, args),
            processes=processes,
            device=device,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
        )

    return report_user_errors(start)


if __name__ == "__main__":
    sys.exit(main())
