"""Which values a config key can take; with others a job would end in a library's traceback, or do nothing at all."""

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

from fvcore.common.config import CfgNode


class Least(NamedTuple):
    """The least value of a number, or of all numbers of a list.

    Attributes:
        value: the bound.
        open: whether the bound itself is out.
    """

    value: float
    open: bool = False


POSITIVE, COUNT, NATURAL = Least(0, open=True), Least(1), Least(0)
RANGES: dict[str, Least | tuple[str, ...]] = {
    "SOLVER.MAX_ITER": COUNT, "SOLVER.IMS_PER_BATCH": COUNT, "SOLVER.ACCUMULATE": COUNT,
    "SOLVER.BASE_LR": POSITIVE, "SOLVER.WARMUP_ITERS": NATURAL,
    "SOLVER.CHECKPOINT_PERIOD": COUNT, "SOLVER.REFERENCE_WORLD_SIZE": NATURAL, "SOLVER.WEIGHT_DECAY": NATURAL,
    "SOLVER.PRETRAINED_MULTIPLIER": NATURAL, "TEST.EVAL_PERIOD": NATURAL, "DATALOADER.NUM_WORKERS": NATURAL,
    "INPUT.MIN_SIZE_TRAIN": COUNT, "INPUT.MAX_SIZE_TRAIN": COUNT, "INPUT.CROP.SIZE": POSITIVE,
    "INPUT.MIN_SIZE_TEST": NATURAL, "INPUT.MAX_SIZE_TEST": COUNT, "INPUT.SQUARE_SIZE": NATURAL,
    "INPUT.SIZE_DIVISIBILITY": NATURAL, "TEST.SLIDING_WINDOW.SIZE": COUNT, "TEST.SLIDING_WINDOW.KERNEL": COUNT,
    "TEST.SLIDING_WINDOW.STRIDE": COUNT, "TEST.ORACLE_GRID": NATURAL, "TEST.SHEET_IMAGES": NATURAL,
    "TEST.HEALTH_STEPS": NATURAL,
    "MODEL.CLIP.RANK": NATURAL, "SOLVER.KEEP.WEIGHT": NATURAL, "SOLVER.KEEP.SAMPLE": COUNT,
    "MODEL.VOCABULARY.TRAIN_SAMPLE": NATURAL,
    "SOLVER.LR_SCHEDULER_NAME": ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR",
                                 "WarmupPolynomialLR"),
    "SOLVER.OPTIMIZER": ("AdamW", "SGD"),
}  # fmt: skip


def refuse_values_out_of_range(cfg: CfgNode, where: str) -> None:
    """Checks values before anything long is started.

    Args:
        cfg: a composed config.
        where: its values come from, for the message.

    Raises:
        ValueError: names the first key, what it has and what it can have.
    """
    for key, allowed in RANGES.items():
        value: Any = operator.attrgetter(key)(cfg)
        if not isinstance(allowed, Least):
            if value not in allowed:
                raise ValueError(f"{key}: got {value!r}, expected one of {', '.join(allowed)} ({where})")
            continue
        numbers = value if isinstance(value, Iterable) else [value]
        if any(number < allowed.value or (allowed.open and number == allowed.value) for number in numbers):
            bound = f"above {allowed.value}" if allowed.open else f"at least {allowed.value}"
            raise ValueError(f"{key}: got {value!r}, expected {bound} ({where})")
