"""Prepares a process for a job: loggers, seed, a copy of the config."""

import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from openvocab.engine.errors import failing_together
from openvocab.engine.folder import CONFIG_MARK, config_path
from openvocab.files import write_atomically
from openvocab.methods import METHODS

logger = logging.getLogger(__name__)

LOGGER_NAMES = ("fvcore", "detectron2", "openvocab", *METHODS.values())


def setup_job(cfg: CfgNode, command_line: str = "", *, training: bool = False, resume: bool = False) -> None:
    """Prepares a process for a job, in a folder that is claimed (`claimed_folder`).

    Random states are seeded with `SEED` + rank (a fresh seed if SEED < 0). Rank 0 writes `config.yaml`, or
    `config_evaluation.yaml`.

    Args:
        cfg: the config of the job.
        command_line: logged as it is, so that a log says how it was made.
        training: or evaluation.
        resume: whether the job goes on with what is in OUTPUT_DIR.

    Raises:
        ValueError: the place of the config is taken by somebody's own file.
    """
    rank, path = comm.get_rank(), None
    with failing_together():
        if comm.is_main_process():
            path = config_path(cfg.OUTPUT_DIR, training=training, resume=resume)
    _setup_loggers(cfg.OUTPUT_DIR, rank)
    _describe(cfg, command_line)
    if path is not None:
        write_atomically(path, f"{CONFIG_MARK}\n{cfg.dump()}".encode())
        logger.info("full config written to %s", path)
    _seed(cfg, training)


def setup_dry_run(cfg: CfgNode, command_line: str) -> None:
    """Prepares a process as `setup_job` does for a training, but writes no file and needs no folder.

    Args:
        cfg: the config of the job.
        command_line: logged as it is.
    """
    _setup_loggers(None, comm.get_rank())
    _describe(cfg, command_line)
    _seed(cfg, training=True)


def _describe(cfg: CfgNode, command_line: str) -> None:
    rank = comm.get_rank()
    logger.info("rank %d of %d, torch %s, device %s", rank, comm.get_world_size(), torch.__version__, cfg.MODEL.DEVICE)
    if command_line:
        logger.info("command line: %s", command_line)


def _seed(cfg: CfgNode, training: bool) -> None:
    if training:
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK  # as Detectron2's own set-up does
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + comm.get_rank())


def _setup_loggers(output_dir: str | None, rank: int) -> None:
    # Detectron2 only ever adds handlers. Those of an earlier job in this process would print every line twice, write it
    # into the earlier job's log as well, and hold on to a standard output that may be closed by now.
    setup_logger.cache_clear()
    for name in LOGGER_NAMES:
        logging.getLogger(name).handlers.clear()
        setup_logger(output_dir, distributed_rank=rank, name=name)
