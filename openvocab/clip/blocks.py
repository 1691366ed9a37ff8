"""The transformer block of CLIP, with the query, key and value weights kept apart so that each can be tuned alone."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuickGELU(nn.Module):
    """The activation of OpenAI's CLIP weights: x sigmoid(1.702 x)."""

    def forward(self, x: Tensor) -> Tensor:
        """Applies the activation; any shape."""
        return x * torch.sigmoid(1.702 * x)


class SplitAttention(nn.Module):
    """Multi-head self-attention with separate projection weights.

    Args:
        width: channels.
        heads: attention heads; must divide `width`.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: got {heads}, expected a divisor of width {width}")
        self.heads = heads
        self.q_proj_weight = nn.Parameter(torch.empty(width, width))
        self.k_proj_weight = nn.Parameter(torch.empty(width, width))
        self.v_proj_weight = nn.Parameter(torch.empty(width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Attends.

        Args:
            x: (n, N, width) tokens.
            causal: whether a token sees only itself and earlier ones.

        Returns:
            (n, N, width).
        """
        q_bias, k_bias, v_bias = self.in_proj_bias.chunk(3)
        projections = ((self.q_proj_weight, q_bias), (self.k_proj_weight, k_bias), (self.v_proj_weight, v_bias))
        q, k, v = (
            F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2) for weight, bias in projections
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def values(self, x: Tensor) -> Tensor:
        """Projects each token to its own value, without mixing tokens: (n, N, width) to (n, N, width)."""
        return self.out_proj(F.linear(x, self.v_proj_weight, self.in_proj_bias.chunk(3)[2]))


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        width: channels.
        heads: attention heads.
        mlp_width: hidden channels of the MLP.
        quick_gelu: QuickGELU instead of the exact GELU.
    """

    def __init__(self, width: int, heads: int, mlp_width: int, quick_gelu: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SplitAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, mlp_width))
        self.mlp.add_module("gelu", QuickGELU() if quick_gelu else nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(mlp_width, width))

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Applies the block: (n, N, width) to (n, N, width)."""
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))

    def forward_dense(self, x: Tensor) -> Tensor:
        """Applies the block as CAT-Seg's dense last block: values without mixing.

        The residual that is added to every token is the class token's input, not the token's own; so it is in the
        released model, and its weights expect it.

        Args:
            x: (n, N, width) tokens, class token first.

        Returns:
            (n, N, width).
        """
        x = self.attn.values(self.ln_1(x)) + x[:, :1]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of blocks, initialised like open_clip's.

    Args:
        width: channels.
        layers: number of blocks.
        heads: attention heads.
        mlp_width: hidden channels of the MLPs.
        quick_gelu: QuickGELU instead of the exact GELU.
    """

    def __init__(self, width: int, layers: int, heads: int, mlp_width: int, quick_gelu: bool):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, mlp_width, quick_gelu) for _ in range(layers))
        attention_std, output_std = width**-0.5, (2 * width * layers) ** -0.5
        for block in self.resblocks:
            for weight in (block.attn.q_proj_weight, block.attn.k_proj_weight, block.attn.v_proj_weight):
                nn.init.normal_(weight, std=attention_std)
            nn.init.normal_(block.attn.out_proj.weight, std=output_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=output_std)
