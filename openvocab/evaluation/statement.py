"""What a result says of how it was measured: model, weights, sizes, and where the line between seen and unseen runs."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from openvocab.evaluation.words import SEEN_RULE


def describe_model(cfg: CfgNode) -> dict[str, Any]:
    """States model, weights and image sizes.

    Args:
        cfg: of the evaluation.

    Returns:
        Plain values.
    """
    square, window, short = cfg.INPUT.SQUARE_SIZE, cfg.TEST.SLIDING_WINDOW, cfg.INPUT.MIN_SIZE_TEST
    as_given = f"short side {short}, long side at most {cfg.INPUT.MAX_SIZE_TEST}" if short else "its own size"
    model = {
        "meta_architecture": cfg.MODEL.META_ARCHITECTURE,
        "clip": cfg.MODEL.CLIP.NAME,
        "weights": cfg.MODEL.WEIGHTS,
    }
    statement = {
        "model": model,
        "image": f"{square} x {square}" if square else as_given,
        "counted_at": f"{square} x {square}" if square else "each image's own size",
        "sliding_window": f"{window.KERNEL} of {window.SIZE}, stride {window.STRIDE}" if window.ENABLED else "off",
    }
    if "CATSEG" in cfg.MODEL:
        statement["words_kept_per_view"] = cfg.MODEL.CATSEG.MAX_CLASSES or "all"
        pruning = cfg.MODEL.CATSEG.PRUNING
        if pruning.PER_TOKEN or pruning.PER_PIXEL:
            statement["approximation"] = f"pruning per token {pruning.PER_TOKEN}, per pixel {pruning.PER_PIXEL}"
    if cfg.TEST.AUG.ENABLED:
        own = cfg.TEST.AUG
        statement["image"] = statement["image"] if square else "its own size"
        statement["test_time_augmentation"] = {
            "short_sides": list(own.MIN_SIZES),
            "long_side": own.MAX_SIZE,
            "mirrored": own.FLIP,
            "mean_of": "probabilities",
        }
        if window.ENABLED:
            statement["sliding_window"] = f"{window.KERNEL} of each short side, stride {window.STRIDE}"
    if "MULTI_SCALE" in cfg.TEST and cfg.TEST.MULTI_SCALE.ENABLED:  # a key of LSeg
        statement["multi_scale"] = dict(cfg.TEST.MULTI_SCALE)
    return statement


def describe_precision(model: nn.Module) -> str:
    """Names what a model computes in here and now: the precision of autocast where it is on, else that of its weights.

    Args:
        model: with parameters.
    """
    weight = next(model.parameters())
    device = weight.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    return str(dtype).removeprefix("torch.")


def describe_seen(training: str, seen: Sequence[bool]) -> dict[str, Any]:
    """States how classes were split into seen and unseen ones.

    Args:
        training: where the training words come from.
        seen: for each class.

    Returns:
        Plain values.
    """
    return {"training_words": training, "rule": SEEN_RULE, "seen": sum(seen), "unseen": len(seen) - sum(seen)}
