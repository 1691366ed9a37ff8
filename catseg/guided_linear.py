"""A linear layer over tokens and their guidance, split so that guidance is projected once and broadcast."""

import torch.nn.functional as F
from torch import Tensor, nn


class GuidedLinear(nn.Linear):
    """`W [x ; g] + b`, computed as `W_x x + (W_g g + b)`.

    The second term depends on the image only (spatial aggregation) or on the class only (class aggregation), so it is
    computed once and broadcast; the concatenation would repeat it over all classes or all locations.

    Args:
        dim: channels of x.
        guidance_dim: channels of g.
        out_dim: channels of the answer.
    """

    def __init__(self, dim: int, guidance_dim: int, out_dim: int):
        super().__init__(dim + guidance_dim, out_dim)
        self.dim = dim

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """Computes the second term: (..., guidance_dim) to (..., out_dim)."""
        return F.linear(guidance, self.weight[:, self.dim :], self.bias)

    def project_tokens(self, x: Tensor) -> Tensor:
        """Computes the first term: (..., dim) to (..., out_dim)."""
        return F.linear(x, self.weight[:, : self.dim])

    def forward(self, x: Tensor, projected: Tensor) -> Tensor:
        """Computes the sum.

        Args:
            x: (..., dim).
            projected: answer of `project_guidance`, broadcastable to (..., out_dim).

        Returns:
            (..., out_dim).
        """
        return self.project_tokens(x) + projected
