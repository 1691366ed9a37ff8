"""Low-rank matrices beside frozen weights (LoRA, arXiv 2106.09685), added up wherever anybody reads the weights.

Shape letters: r rank, d_out x d_in weight.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

ATTENTION = ("q_proj_weight", "v_proj_weight")
"""Weights of `SplitAttention` that MODEL.CLIP.FINETUNE "attention" trains, or matrices beside them."""


class LowRank(nn.Module):
    """Adds a product of two small matrices, zero at first, to a weight (d_out, d_in).

    Args:
        weight: (d_out, d_in), which is frozen.
        rank: r, at most the smaller side.

    Attributes:
        down: (r, d_in), random.
        up: (d_out, r), zero.

    Raises:
        ValueError: a rank that is no less than the weight's.
    """

    def __init__(self, weight: Tensor, rank: int):
        super().__init__()
        if not 0 < rank < min(weight.shape):
            raise ValueError(
                f"MODEL.CLIP.RANK: got {rank}, expected 1..{min(weight.shape) - 1} for weights of shape "
                f"{tuple(weight.shape)}"
            )
        # No function of torch.nn.init: a model that is loaded next is built without those, and 0 times NaN is NaN.
        self.down = nn.Parameter(torch.randn(rank, weight.shape[1], device=weight.device) * weight.shape[1] ** -0.5)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """Adds the product: (d_out, d_in)."""
        return weight + (self.up @ self.down).to(weight.dtype)


def add_low_rank(clip: nn.Module, rank: int) -> None:
    """Freezes the query and value weights that are trained, and trains low-rank matrices beside them, in place.

    A state dict of the module holds the sums under the plain names, as if there were no such matrices; loading one
    starts them from zero. `LowRankState` is what a training that goes on needs besides.

    Args:
        clip: on which `openvocab.clip.finetune.set_trainable` has set what is trained.
        rank: r.

    Raises:
        ValueError: see `LowRank`.
    """
    for module in list(clip.modules()):
        for name in ATTENTION:
            weight = getattr(module, name, None)
            if isinstance(weight, nn.Parameter) and weight.requires_grad:
                weight.requires_grad_(False)
                parametrize.register_parametrization(module, name, LowRank(weight, rank))
        if parametrize.is_parametrized(module):
            module.register_state_dict_post_hook(_merge)
            module.register_load_state_dict_pre_hook(_start_from_zero)


class LowRankState:
    """The matrices of a model and what they are added to, for a checkpoint: the sum alone would not tell them apart.

    Args:
        model: that `add_low_rank` has changed, or a part of which it has; not wrapped for distributed training, whose
            names another number of processes would not find.
    """

    def __init__(self, model: nn.Module):
        self._model = model

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns {name of a weight: {"original", "down", "up"}}."""
        return {
            name: {"original": original, "down": added.down.detach(), "up": added.up.detach()}
            for name, original, added in _low_rank(self._model)
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores them.

        Args:
            state: from `state_dict` of the same model.
        """
        with torch.no_grad():
            for name, original, added in _low_rank(self._model):
                original.copy_(state[name]["original"])
                added.down.copy_(state[name]["down"])
                added.up.copy_(state[name]["up"])

    def __bool__(self) -> bool:
        """Whether there are any."""
        return any(True for _ in _low_rank(self._model))


def _low_rank(model: nn.Module) -> Iterator[tuple[str, Tensor, LowRank]]:
    for path, module in model.named_modules():
        for name in ATTENTION if parametrize.is_parametrized(module) else ():
            if parametrize.is_parametrized(module, name):
                found = module.parametrizations[name]
                yield f"{path}.{name}", found.original.detach(), found[0]


def _merge(module: nn.Module, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    for name in module.parametrizations:
        for key in ("original", "0.down", "0.up"):
            del state[f"{prefix}parametrizations.{name}.{key}"]
        state[prefix + name] = getattr(module, name).detach()


def _start_from_zero(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for name, found in module.parametrizations.items():
        if prefix + name in state:
            inner = f"{prefix}parametrizations.{name}."
            state[inner + "original"] = state.pop(prefix + name)
            state[inner + "0.down"] = found[0].down.detach()
            state[inner + "0.up"] = torch.zeros_like(found[0].up)
