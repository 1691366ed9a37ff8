"""`openvocab train` and `openvocab evaluate`, and `train_net.py`: Detectron2's command line over our configs."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser
from detectron2.utils import comm

from openvocab.assets import config_path, weights_path
from openvocab.checkpoint.load import load_weights
from openvocab.cli.running import Parser
from openvocab.data.checking.ready import require_ready
from openvocab.data.folders import register_folders
from openvocab.data.loader import require_registered
from openvocab.data.register import register_all
from openvocab.engine.environment import Place, device_of, place_in, require_same_count
from openvocab.engine.errors import failing_together, report_user_errors
from openvocab.engine.estimate import dry_run
from openvocab.engine.folder import claimed_folder, newest_checkpoint
from openvocab.engine.job import setup_dry_run, setup_job
from openvocab.engine.launcher import check_meeting, count_processes, run_here, run_processes
from openvocab.engine.resuming import after_interruption
from openvocab.engine.setup import build_cfg, import_method
from openvocab.engine.stopping import StopRequest
from openvocab.engine.trainer import Trainer
from openvocab.evaluation.words import warn_of_other_rules

ABOUT = """
examples:
  openvocab train --config-file catseg_b --num-gpus 8
  openvocab train --config-file emojiscapes/catseg --num-gpus 0 --resume
  openvocab train --config-file catseg_b --dry-run           looks at the data, takes two steps, writes nothing
  openvocab evaluate --config-file catseg_b MODEL.WEIGHTS model_base.pth DATASETS.TEST "('ade20k_150_test_sem_seg',)"

your own folders of images and masks, with a line of words.txt for each value (or all this in a file with _BASE_):
  openvocab evaluate --config-file catseg_b MODEL.WEIGHTS model_base.pth DATASETS.TEST "('birds',)" DATASETS.FOLDERS \\
      "[{'NAME': 'birds', 'IMAGES': 'birds/images', 'LABELS': 'birds/masks', 'WORDS': 'birds/words.txt'}]"

--config-file takes a path or the name of a config that comes with the package. --resume goes on with a training from
the last checkpoint in OUTPUT_DIR; with --eval-only it evaluates that checkpoint (without one, MODEL.WEIGHTS) and goes
on where an interrupted evaluation of it was.

Started by torchrun, or by srun with several tasks, each process is one of theirs and starts none; --num-gpus 0 means on
the CPU then, and without it GPUs are used where there are any. Otherwise --num-gpus is 1 if not given."""


def build_parser(program: str = "openvocab train", evaluate: bool = False) -> argparse.ArgumentParser:
    """Detectron2's parser, with CPU processes and a free port by default.

    Args:
        program: how it was called.
        evaluate: whether nothing is trained in any case.

    Returns:
        The parser.
    """
    detectron2 = default_argument_parser(epilog="")
    detectron2.add_argument(
        "--num-processes", type=int, default=0, help="CPU processes on this machine, with --num-gpus 0 (default 1)"
    )
    detectron2.add_argument(
        "--max-hours",
        type=_above_zero(float),
        metavar="H",
        help="saves, and leaves with exit code 75 before H hours are over",
    )
    if not evaluate:
        detectron2.add_argument(
            "--keep",
            type=_above_zero(int),
            default=0,
            metavar="N",
            help="of the periodic checkpoints only the newest N stay, beside the best and the last (default: all)",
        )
    detectron2.add_argument(
        "--dry-run",
        action="store_true",
        help="all that comes before a training and two real steps, then its time and "
        "memory; writes nothing, also beside a training in OUTPUT_DIR",
    )
    description = "Evaluates a checkpoint (MODEL.WEIGHTS)." if evaluate else "Trains a config, and evaluates it."
    parser = Parser(program, description, ABOUT, parents=[detectron2], add_help=False)
    parser.set_defaults(deadline=None)
    # Not given is None here: torchrun and SLURM decide themselves, and contradict what is given.
    parser.set_defaults(config_file=None, num_gpus=None, num_machines=None, machine_rank=None, dist_url=None)
    if evaluate:
        parser.set_defaults(eval_only=True)
        for action in parser._actions:
            if action.dest in ("eval_only", "dry_run"):
                action.help = argparse.SUPPRESS
    return parser


def _above_zero(kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"got {text}, expected more than 0")
        return value

    number.__name__ = kind.__name__  # argparse names it where the text is no number
    return number


def run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Does the job in one process.

    Args:
        cfg: of the job, frozen.
        args: the command line.

    Raises:
        ValueError: OUTPUT_DIR is another job's, or what training and evaluation refuse.
        KeyboardInterrupt: says what --resume would go on with.
    """
    training, resume = not args.eval_only, args.resume
    if args.dry_run:
        try_out(cfg, args)
        return
    stop = StopRequest(args.deadline)
    with stop.listening(), claimed_folder(cfg.OUTPUT_DIR, training=training, resume=resume):
        register(cfg)
        if not training and not resume:
            weights_path(cfg.MODEL.WEIGHTS)  # before a config is written
        setup_job(cfg, args.command_line, training=training, resume=resume)
        require_datasets(cfg, training)
        if resume:
            cfg = with_newest_checkpoint(cfg, training)
        if training:
            train(cfg, resume, stop, args.keep)
        else:
            evaluate(cfg, resume, stop)


def try_out(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Does in one process what comes before a training and two steps of it, and touches nothing in OUTPUT_DIR.

    Args:
        cfg: of the job, frozen.
        args: the command line.

    Raises:
        ValueError: an evaluation is asked for, or what training refuses.
    """
    if args.eval_only:
        raise ValueError("--dry-run: got it with an evaluation, expected a training")
    register(cfg)
    setup_dry_run(cfg, args.command_line)
    require_datasets(cfg, training=True)
    trainer = Trainer(with_newest_checkpoint(cfg, training=True) if args.resume else cfg)
    trainer.resume_or_load(resume=args.resume)
    dry_run(trainer)


def register(cfg: CfgNode) -> None:
    """Registers datasets and method.

    Args:
        cfg: of the job.

    Raises:
        ValueError: folders or a method that cannot be.
    """
    register_all()
    register_folders(cfg.DATASETS.FOLDERS)
    import_method(cfg.MODEL.META_ARCHITECTURE)


def with_newest_checkpoint(cfg: CfgNode, training: bool) -> CfgNode:
    """Gives the config of a job that resumes, with OUTPUT_DIR's newest checkpoint, if any, as its weights.

    Args:
        cfg: of the job, frozen.
        training: or evaluation. A training that has started from weights may ask them again (SOLVER.KEEP): they stay.
    """
    last = newest_checkpoint(cfg.OUTPUT_DIR)
    if not last or (training and cfg.MODEL.WEIGHTS):
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(last)  # it holds the whole model, so nothing is fetched
    cfg.freeze()
    return cfg


def require_datasets(cfg: CfgNode, training: bool) -> None:
    """Checks that datasets are registered and ready; one process looks for all.

    Args:
        cfg: DATASETS.TEST and TRAIN, DATALOADER.SKIP_UNREADABLE.
        training: whether the training sets are wanted, too.

    Raises:
        ValueError: one is not.
    """
    test, train = cfg.DATASETS.TEST, cfg.DATASETS.TRAIN if training else ()
    for name in (*test, *train):
        require_registered(name)
    may_skip = set(train) - set(test) if cfg.DATALOADER.SKIP_UNREADABLE else ()
    with failing_together():
        if comm.is_main_process():
            require_ready([*test, *train], may_skip=may_skip)


def train(cfg: CfgNode, resume: bool, stop: StopRequest, keep: int) -> None:
    """Trains, and evaluates what was trained.

    Args:
        cfg: of the job.
        resume: whether to go on with the last checkpoint in OUTPUT_DIR.
        stop: see `Trainer`, and the next.
        keep: checkpoints.

    Raises:
        ValueError: what `Trainer` refuses.
        KeyboardInterrupt: says what --resume would go on with.
    """
    trainer = None
    try:
        trainer = Trainer(cfg, stop=stop, keep=keep)
        trainer.resume_or_load(resume=resume)
        trainer.train()
    except KeyboardInterrupt:
        done = trainer.iter if trainer else 0
        raise KeyboardInterrupt(after_interruption(cfg.OUTPUT_DIR, done)) from None


def evaluate(cfg: CfgNode, resume: bool, stop: StopRequest) -> None:
    """Evaluates MODEL.WEIGHTS.

    Args:
        cfg: of the job.
        resume: whether to go on with an interrupted evaluation.
        stop: asked now and then whether to go on.

    Raises:
        ValueError: no weights, or what `Trainer.test` refuses.
    """
    weights = weights_path(cfg.MODEL.WEIGHTS)
    model = Trainer.build_model(cfg)
    warn_of_other_rules(cfg, load_weights(model, weights))
    Trainer.test(cfg, model, resume=resume, stop=stop)
    comm.synchronize()


def main(arguments: Sequence[str] | None = None, program: str = "openvocab train", evaluate: bool = False) -> int:
    """Parses the command line, composes the config and starts the processes.

    Args:
        arguments: default: those of the process.
        program: how it was called.
        evaluate: see `build_parser`.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    arguments, began = sys.argv[1:] if arguments is None else arguments, time.monotonic()

    def start() -> int:
        args = build_parser(program, evaluate).parse_args(arguments)
        config_path(args.config_file or "")  # a wrong name is the first thing to say
        if args.max_hours is not None:
            args.deadline = began + 3600 * args.max_hours
        args.command_line = shlex.join([*program.split(), *arguments])
        place = place_in(os.environ)
        return start_processes(args) if place is None else join_processes(args, place)

    return report_user_errors(start)


def start_processes(args: argparse.Namespace) -> int:
    """Does the job in as many processes as the command line says.

    Args:
        args: the command line.

    Returns:
        Exit code.

    Raises:
        ValueError: numbers or a config that cannot be.
    """
    machines = 1 if args.num_machines is None else args.num_machines
    check_meeting(machines, args.machine_rank or 0, args.dist_url)
    processes, device = count_processes(1 if args.num_gpus is None else args.num_gpus, args.num_processes, machines)
    cfg = job_config(args, device)

    def what_is_left() -> str:
        return "interrupted" if args.eval_only or args.dry_run else after_interruption(cfg.OUTPUT_DIR, 0)

    return run_processes(
        run,
        (cfg, args),
        processes=processes,
        device=device,
        num_machines=machines,
        machine_rank=args.machine_rank or 0,
        dist_url=args.dist_url or "auto",
        what_is_left=what_is_left,
    )


def join_processes(args: argparse.Namespace, place: Place) -> int:
    """Does the job as one of the processes that torchrun or SLURM has started.

    Args:
        args: the command line.
        place: of this process.

    Returns:
        Exit code.

    Raises:
        ValueError: numbers that contradict the place, or a config that cannot be.
    """
    require_same_count(
        place,
        num_gpus=args.num_gpus,
        num_processes=args.num_processes,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )
    device = device_of(place, args.num_gpus, torch.cuda.device_count())
    return run_here(run, (job_config(args, device), args), place, device)


def job_config(args: argparse.Namespace, device: str) -> CfgNode:
    """Composes the config of a job.

    Args:
        args: the command line.
        device: "cpu", or of a GPU, which the config may choose.

    Returns:
        The config, frozen.

    Raises:
        ValueError: what `build_cfg` refuses.
    """
    cfg = build_cfg(args.config_file, args.opts)
    if device == "cpu":
        cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    return cfg
