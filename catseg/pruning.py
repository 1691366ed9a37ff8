"""Approximations of the evaluation: classes that hardly win anywhere are left out. Off unless asked for.

Not the function of the paper: class aggregation sees fewer classes. docs/PERFORMANCE.md and `benchmarks/agreement.py`
give what it costs in accuracy.
"""

from dataclasses import dataclass

from fvcore.common.config import CfgNode
from torch import Tensor


@dataclass(frozen=True)
class Pruning:
    """Which classes an image keeps; 0 keeps all.

    Attributes:
        per_token: those among this many most similar ones at a token of any view, by the cost volume.
        per_pixel: in the windows, those among this many most probable ones at a pixel of the global view, which goes
            first. The other ones cannot win: in the global view, a kept one is better everywhere.

    Raises:
        ValueError: a negative number.
    """

    per_token: int
    per_pixel: int

    def __post_init__(self):
        for name, value in (("PER_TOKEN", self.per_token), ("PER_PIXEL", self.per_pixel)):
            if value < 0:
                raise ValueError(f"{name}: got {value}, expected 0 (off) or a number of classes (MODEL.CATSEG.PRUNING)")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Pruning":
        """Reads MODEL.CATSEG.PRUNING."""
        return cls(cfg.MODEL.CATSEG.PRUNING.PER_TOKEN, cfg.MODEL.CATSEG.PRUNING.PER_PIXEL)

    def __bool__(self) -> bool:
        return bool(self.per_token or self.per_pixel)


def competitive_classes(maps: Tensor, count: int) -> Tensor:
    """Finds the classes that are among the best somewhere.

    Args:
        maps: (V, T, H, W), larger is better.
        count: classes per place, at least 1.

    Returns:
        (U,) int64, ascending indices into T, at least `count` or all.
    """
    return maps.topk(min(count, maps.shape[1]), dim=1).indices.unique()
