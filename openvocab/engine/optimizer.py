"""Optimizer and schedule of the recipes: four parameter groups, clipping of the full gradient, cosine to zero."""

import logging
from collections.abc import Iterable

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn

logger = logging.getLogger(__name__)

PRETRAINED_PREFIXES = ("clip.", "backbone.")
"""Names of what comes pretrained start with one of these: CLIP's towers, LSeg's image encoder."""

NORM_TYPES = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)

__all__ = ["build_optimizer", "build_lr_scheduler", "parameter_groups"]


def parameter_groups(model: nn.Module, cfg: CfgNode) -> list[dict]:
    """Sorts the trainable parameters by learning rate and weight decay (CAT-Seg's recipe).

    CLIP (or another backbone) learns at BASE_LR * PRETRAINED_MULTIPLIER, all else at BASE_LR. Only the parameters of
    normalisation layers go without weight decay (WEIGHT_DECAY_NORM): biases and padding tokens decay.

    Args:
        model: not wrapped for distributed training; frozen parameters are left out.
        cfg: reads SOLVER.BASE_LR, PRETRAINED_MULTIPLIER, WEIGHT_DECAY and WEIGHT_DECAY_NORM.

    Returns:
        Non-empty groups for a torch optimizer: "name", "params", "lr", "weight_decay".

    Raises:
        ValueError: the model has no trainable parameter.
    """
    solver = cfg.SOLVER
    groups = {
        "model": (solver.BASE_LR, solver.WEIGHT_DECAY),
        "model, normalisation": (solver.BASE_LR, solver.WEIGHT_DECAY_NORM),
        "pretrained": (solver.BASE_LR * solver.PRETRAINED_MULTIPLIER, solver.WEIGHT_DECAY),
        "pretrained, normalisation": (solver.BASE_LR * solver.PRETRAINED_MULTIPLIER, solver.WEIGHT_DECAY_NORM),
    }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in groups}
    seen: set[int] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))  # a shared parameter belongs to the first module that names it
            full_name = f"{module_name}.{name}" if module_name else name
            kind = "pretrained" if full_name.startswith(PRETRAINED_PREFIXES) else "model"
            members[f"{kind}, normalisation" if isinstance(module, NORM_TYPES) else kind].append(parameter)
    if not seen:
        raise ValueError(f"model: got {type(model).__name__} without trainable parameters, expected at least one")
    return [
        {"name": name, "params": members[name], "lr": lr, "weight_decay": decay}
        for name, (lr, decay) in groups.items()
        if members[name]
    ]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Builds the optimizer and logs its groups as one table.

    Args:
        cfg: SOLVER.OPTIMIZER is "AdamW" or "SGD"; SOLVER.CLIP_GRADIENTS.CLIP_TYPE "full_model" clips the norm of all
            gradients together to CLIP_VALUE, "norm" and "value" are Detectron2's per-parameter clipping.
        model: not wrapped for distributed training.

    Returns:
        The optimizer; its `step` clips first.

    Raises:
        ValueError: unknown SOLVER.OPTIMIZER or CLIP_TYPE, or no trainable parameter.
    """
    groups = parameter_groups(model, cfg)
    optimizers = {
        "AdamW": (torch.optim.AdamW, {}),
        "SGD": (torch.optim.SGD, {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}),
    }
    if cfg.SOLVER.OPTIMIZER not in optimizers:
        raise ValueError(f"SOLVER.OPTIMIZER: got {cfg.SOLVER.OPTIMIZER!r}, expected one of {sorted(optimizers)}")
    optimizer_class, arguments = optimizers[cfg.SOLVER.OPTIMIZER]
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    logger.info("optimizer %s\n%s", cfg.SOLVER.OPTIMIZER, group_table(groups, frozen))
    return _add_clipping(cfg, optimizer_class)(groups, lr=cfg.SOLVER.BASE_LR, **arguments)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Builds the schedule: Detectron2's, or "WarmupPolynomialLR", (1 - t) ** SOLVER.POLYNOMIAL_POWER.

    Args:
        cfg: SOLVER.LR_SCHEDULER_NAME, MAX_ITER, WARMUP_*.
        optimizer: whose rates are scheduled.

    Returns:
        The scheduler, stepped once per iteration.

    Raises:
        ValueError: an unknown name.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupPolynomialLR":
        return build_detectron2_scheduler(cfg, optimizer)
    schedule = WarmupParamScheduler(
        PolynomialDecayParamScheduler(1.0, solver.POLYNOMIAL_POWER),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier=schedule, max_iter=solver.MAX_ITER)


def group_table(groups: Iterable[dict], frozen: int) -> str:
    """Formats parameter groups as a table of fixed width.

    Args:
        groups: as `parameter_groups` returns them.
        frozen: number of scalars that do not train, for the last line.

    Returns:
        Lines of group, tensors, parameters, learning rate, weight decay.
    """
    lines = [f"{'group':<28}{'tensors':>8}{'parameters':>14}{'lr':>12}{'weight decay':>14}"]
    for group in groups:
        count = sum(p.numel() for p in group["params"])
        lines.append(
            f"{group['name']:<28}{len(group['params']):>8}{count:>14,}{group['lr']:>12.3g}{group['weight_decay']:>14.3g}"
        )
    lines.append(f"{'frozen':<28}{'':>8}{frozen:>14,}")
    return "\n".join(lines)


def _add_clipping(cfg: CfgNode, optimizer_class: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if not clipping.ENABLED:
        return optimizer_class
    if clipping.CLIP_TYPE in ("value", "norm"):
        return maybe_add_gradient_clipping(cfg, optimizer_class)
    if clipping.CLIP_TYPE != "full_model":
        raise ValueError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE: got {clipping.CLIP_TYPE!r}, expected 'full_model', 'norm' or 'value'"
        )
    max_norm, norm_type = clipping.CLIP_VALUE, clipping.NORM_TYPE

    class FullModelClipping(optimizer_class):
        """Clips the norm over all parameters before each step; a gradient scaler has unscaled them by then."""

        def step(self, closure=None):
            parameters = [p for group in self.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
            return super().step(closure)

    return FullModelClipping
