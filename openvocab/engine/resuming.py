"""What a checkpoint says of its run, whether another run may go on with it, and where that starts."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from detectron2.config import CfgNode

from openvocab.engine.folder import CHECKPOINT, newest_checkpoint

logger = logging.getLogger(__name__)

FIXED = ("MODEL", "INPUT", "DATASETS.TRAIN", "DATASETS.FOLDERS", "DATALOADER.MAPPER_SEED", "SEED", "SOLVER.OPTIMIZER")
"""Sections and keys that belong to a training from its first iteration to its last: model, data, kind of momentum."""

FREE = (
    "MODEL.DEVICE",  # where it runs
    "MODEL.WEIGHTS",  # what a training starts from; a resumed one starts from the checkpoint
    "MODEL.FAST",  # of evaluation, like the next five
    "MODEL.CATSEG.PRUNING",
    "MODEL.CATSEG.TEST_POOLING_SIZES",
    "MODEL.VOCABULARY.TEST",
    "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST",
    "INPUT.SIZE_DIVISIBILITY",  # pads in evaluation only
    "INPUT.FORMAT",  # nothing here reads it
    "MODEL.CATSEG.KERNELS",  # who computes, not what
    "MODEL.CHECKPOINT_ACTIVATIONS",  # when, not what
)
"""Exceptions from `FIXED`, which may change."""


class Plan(NamedTuple):
    """Where a resumed training starts.

    Attributes:
        iteration: the first, in iterations of this run's batch.
        draw: number of the first sample.
        repeated: samples that are drawn again, because they are a part of a batch.
        old_iterations: how many there were, in iterations of the batch that the checkpoint was made with.
        same_batch: whether that batch is this run's.
    """

    iteration: int
    draw: int
    repeated: int
    old_iterations: int
    same_batch: bool


def plan_resumption(old_iterations: int, draws: int, batch: int) -> Plan:
    """Goes on at the same share of the samples, whatever the batch was.

    Args:
        old_iterations: done when the checkpoint was written.
        draws: samples drawn by then, over all processes.
        batch: of this run, over all processes.

    Returns:
        The plan; what it repeats of a batch is less than one.
    """
    iteration, repeated = divmod(draws, batch)
    return Plan(iteration, iteration * batch, repeated, old_iterations, old_iterations * batch == draws)


def run_record(cfg: CfgNode) -> dict[str, Any]:
    """Says what a checkpoint belongs to: entries of its file, beside model and trainer.

    Args:
        cfg: of the run, as it was given, not scaled to the number of processes.

    Returns:
        Plain values, which `torch.load(weights_only=True)` reads: "config", every key as YAML.
    """
    return {"config": cfg.dump()}


def require_same_run(checkpoint: Mapping[str, Any], record: Mapping[str, Any], path: str) -> None:
    """Checks that model and training data of a checkpoint are those of the run that goes on with it.

    Args:
        checkpoint: the content of its file; one of an earlier version has no "config" and is taken with a warning.
        record: of the run, see `run_record`.
        path: of the file, for messages.

    Raises:
        ValueError: keys differ; names all of them, with both values.
    """
    if "config" not in checkpoint:
        logger.warning("%s does not say of which config it is: whether it is this one was not checked", path)
        return
    old, new = (dict(_fixed_keys(yaml.safe_load(text["config"]))) for text in (checkpoint, record))
    if old["SEED"] < 0 or new["SEED"] < 0:  # without a seed, the drawn one is in the checkpoint
        old.pop("SEED")
    changed = [f"{key} was {old[key]!r}, now {new[key]!r}" for key in sorted(old.keys() & new.keys())
               if old[key] != new[key]]  # fmt: skip
    if changed:
        raise ValueError(
            f"--resume: {path} is of another model or other data: {'; '.join(changed)}; expected the same, or another "
            "OUTPUT_DIR"
        )


def after_interruption(output_dir: str, iterations: int, reason: str = "interrupted") -> str:
    """Says what of an interrupted training is left.

    Args:
        output_dir: of the training.
        iterations: that were done.
        reason: what the line begins with.

    Returns:
        One line.
    """
    start = f"{reason} after iteration {iterations}" if iterations else reason
    newest = newest_checkpoint(output_dir)
    if newest is None:
        return f"{start}; no checkpoint was written yet, there is nothing to resume"
    number = CHECKPOINT.fullmatch(newest.name)
    place = "" if number is None else " (the last)" if number[1] == "final" else f" (iteration {int(number[1]) + 1})"
    return f"{start}: --resume goes on with {newest.name}{place}"


def _fixed_keys(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in _leaves(config):
        if _is_below(key, FIXED) and not _is_below(key, FREE) and key != "DATASETS.FOLDERS":
            yield key, value
    datasets = config["DATASETS"]
    for folder in datasets.get("FOLDERS", []):
        if folder["NAME"] in datasets["TRAIN"]:
            yield from _leaves({"IGNORE_LABEL": 255} | folder, f"DATASETS.FOLDERS.{folder['NAME']}.")


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _is_below(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(section + ".") for section in sections)
