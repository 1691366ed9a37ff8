"""Cost volume between dense image features and text embeddings (arXiv 2303.11797, section 3.2).

Shape letters: B images, T classes, K <= T kept classes, P templates, C joint width, D hidden width, H x W grid.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvocab.tracing import computed


class KeptClasses(NamedTuple):
    """A cost volume cut to the most similar classes of each image.

    Attributes:
        cost: (B, K, P, H, W).
        text: (B, K, P, C) embeddings of the kept classes, or (1, T, P, C) where all are kept.
        index: (B, K) indices into T in ascending order, or None where all are kept.
    """

    cost: Tensor
    text: Tensor
    index: Tensor | None


def compute_cost(dense: Tensor, text: Tensor) -> Tensor:
    """Computes cosine similarities.

    Args:
        dense: (B, C, H, W) image features, not normalised.
        text: (T, P, C), L2-normalised.

    Returns:
        (B, T, P, H, W) in -1..1.
    """
    return torch.einsum("bchw,tpc->btphw", F.normalize(dense, dim=1), text)


def keep_most_similar(cost: Tensor, text: Tensor, limit: int) -> KeptClasses:
    """Cuts a large vocabulary, per image, to the classes with the largest similarity anywhere in the image.

    Args:
        cost: (B, T, P, H, W).
        text: (T, P, C).
        limit: classes to keep (MAX_CLASSES); 0 keeps all.

    Returns:
        What is kept.
    """
    # A graph that is exported is for any number of words; where it keeps all, it sorts what is sorted already.
    if limit == 0 or not torch.compiler.is_exporting() and cost.shape[1] <= limit:
        return KeptClasses(cost, text[None], None)
    kept = _smaller(limit, cost.shape[1]) if torch.compiler.is_exporting() else limit
    index = cost.flatten(2).amax(dim=2).topk(kept, dim=1).indices.sort(dim=1).values
    batch = torch.arange(len(cost), device=cost.device)[:, None]
    return KeptClasses(cost[batch, index], text[index], index)


def _smaller(limit: int, classes: int) -> int:
    """Gives the smaller number as one that the graph computes."""
    kept = computed(torch.scalar_tensor(classes, dtype=torch.int64).clamp(max=limit), 1, limit)
    torch._check(kept <= classes)
    return kept


class CostEmbedding(nn.Conv2d):
    """Lifts the cost of each class to a feature map: a 7 x 7 convolution over templates.

    Args:
        prompts: P.
        hidden_dim: D.
    """

    def __init__(self, prompts: int, hidden_dim: int):
        super().__init__(prompts, hidden_dim, kernel_size=7, padding=3)

    def forward(self, cost: Tensor) -> Tensor:
        """Embeds each class on its own: (B, T, P, H, W) to (B, T, H, W, D)."""
        embedded = super().forward(cost.flatten(0, 1))
        return embedded.permute(0, 2, 3, 1).unflatten(0, cost.shape[:2])
