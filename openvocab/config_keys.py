"""Config keys that are wrong in silence: of another program, misspelt, or read by nothing."""

import fnmatch
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.config import CfgNode

from openvocab.console import did_you_mean

logger = logging.getLogger(__name__)

READ_STOCK_KEYS = (
    "VERSION", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK",
    "MODEL.DEVICE", "MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS", "MODEL.SEM_SEG_HEAD.NAME",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
    "INPUT.FORMAT", "INPUT.M*_SIZE_*", "INPUT.RANDOM_FLIP", "INPUT.CROP.*",
    "DATASETS.TRAIN", "DATASETS.TEST", "DATALOADER.NUM_WORKERS",
    "SOLVER.LR_SCHEDULER_NAME", "SOLVER.MAX_ITER", "SOLVER.BASE_LR", "SOLVER.BASE_LR_END", "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV", "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM", "SOLVER.GAMMA", "SOLVER.STEPS",
    "SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL", "SOLVER.WARMUP_*", "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.IMS_PER_BATCH", "SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.CLIP_GRADIENTS.*", "SOLVER.AMP.ENABLED",
    "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS", "TEST.AUG.*",
)  # fmt: skip
"""Patterns of Detectron2's own keys that models, training and evaluation of this project read."""


@dataclass(frozen=True)
class Successor:
    """What to write here for a key of another program.

    Attributes:
        key: of ours; "" where there is nothing to write.
        values: what their values are called here; others stay as they are.
        note: why there is nothing to write, or what else there is to know.
        shared: the name means something else here, which is an error only beside other keys of that program.
    """

    key: str = ""
    values: Mapping[Any, Any] = field(default_factory=dict)
    note: str = ""
    shared: bool = False

    def advice(self, key: str, value: Any) -> str:
        """Says in a few words what to do with a key.

        Args:
            key: theirs.
            value: of it.
        """
        note = f" ({self.note})" if self.note else ""
        if not self.key:
            return f"{key} {value!r}: leave it out{note}"
        return f"{key} {value!r}: here {self.key} {self.values.get(str(value), value)!r}{note}"


def dotted_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Goes through a config.

    Args:
        node: of any depth.
        prefix: of all names.

    Yields:
        Dotted names and values; of a section first its own name, then what is in it.
    """
    for key, value in node.items():
        yield prefix + key, value
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def refuse_foreign_keys(
    values: Mapping[str, Any], known: Mapping[str, Any], successors: Mapping[str, Successor], where: str
) -> None:
    """Refuses the keys of another program, all at once, with what to write here.

    Args:
        values: dotted keys that a file or command line sets.
        known: dotted keys of the config, with their defaults.
        successors: patterns of the other program's keys.
        where: the values stand, for the message.

    Raises:
        ValueError: lists the keys.
    """
    lines, shared = [], []
    for key, value in values.items():
        found = next((own for pattern, own in successors.items() if fnmatch.fnmatchcase(key, pattern)), None)
        if found is None or (isinstance(value, Mapping) and key not in successors):
            continue
        if found.shared:
            shared.append(found.advice(key, value))
        elif (
            key not in known
            or str(value) in found.values
            or (isinstance(known[key], Mapping) and not isinstance(value, Mapping))
        ):
            lines.append(found.advice(key, value))
    if lines:
        lines += shared
        raise ValueError(
            f"{where}: {len(lines)} keys of the original, which are written otherwise here; the files in "
            "configs/ hold the released recipes:\n  " + ";\n  ".join(lines)
        )


def refuse_unknown_keys(keys: Collection[str], known: Collection[str], where: str) -> None:
    """Refuses what is no key, with the nearest one.

    Args:
        keys: dotted names that a file or command line sets.
        known: dotted names of the config.
        where: they stand, for the message.

    Raises:
        ValueError: names the first one.
    """
    for key in keys:
        if key not in known:
            raise ValueError(f"{where}: unknown config key {key}{did_you_mean(key, known)}")


def unread_keys(cfg: CfgNode, stock: CfgNode) -> dict[str, Any]:
    """Finds Detectron2's own keys that were set although nothing of this project reads them.

    Args:
        cfg: any config.
        stock: Detectron2's defaults.

    Returns:
        Dotted names, with the default of each.
    """
    ours = dict(dotted_keys(cfg))
    return {
        key: value
        for key, value in dotted_keys(stock)
        if not isinstance(value, Mapping)
        and ours.get(key, value) != value
        and not any(fnmatch.fnmatchcase(key, pattern) for pattern in READ_STOCK_KEYS)
    }


def check_model_keys(cfg: CfgNode, stock: CfgNode) -> None:
    """Checks what a model cannot take from a config that Detectron2 has merged; a warning names keys without effect.

    Args:
        cfg: any config.
        stock: Detectron2's defaults.

    Raises:
        ValueError: INPUT.FORMAT is not "RGB": Detectron2's predictor would hand over other colours.
    """
    if cfg.INPUT.FORMAT != "RGB":
        raise ValueError(f"INPUT.FORMAT: got {cfg.INPUT.FORMAT!r}, expected 'RGB', which every model here takes")
    unread = [key for key in unread_keys(cfg, stock) if key.startswith("MODEL.")]
    if unread:
        logger.warning("config: no model here reads %s", ", ".join(unread))
