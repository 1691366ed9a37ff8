"""The operations put into the modules of CAT-Seg in place of what those compute: values and all gradients, float64."""

import torch
import torch.nn.functional as F

from catseg.class_aggregation import ClassAttention
from catseg.decoder import UpBlock
from catseg.spatial_aggregation import SwinBlock
from openvocab.kernels.class_attention import class_attention
from openvocab.kernels.group_norm_relu import group_norm_relu
from openvocab.kernels.window_attention import window_attention

DIM, GUIDANCE, HEADS = 16, 8, 4


def compare(module, function, *inputs):
    """Compares answers, and the gradients of inputs and parameters for a fixed upstream gradient."""
    module.double()
    inputs = [x.double().requires_grad_() for x in inputs]
    variables = [*inputs, *module.parameters()]
    want, got = module(*inputs), function(*inputs)
    upstream = torch.randn_like(want)
    # float64: 1e-16 per operation, sums of a few hundred terms of size 1.
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for own, other in zip(*(torch.autograd.grad(out, variables, upstream) for out in (got, want))):
        torch.testing.assert_close(own, other, rtol=1e-11, atol=1e-11)


def test_class_attention():
    torch.manual_seed(0)
    module = ClassAttention(DIM, GUIDANCE, HEADS)

    def attend(x, guidance, padding, padding_guidance):
        own, pad = [], []
        for part in (module.q, module.k):
            own.append(part(x, part.project_guidance(guidance)[:, :, None, None]).flatten(2, 3))
            pad.append(part(padding, part.project_guidance(padding_guidance)))
        mixed = class_attention(*own, module.v(x).flatten(2, 3), pad[1], module.v(padding), HEADS, 6)
        return mixed.unflatten(2, x.shape[2:4])

    class Padded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = module

        def forward(self, *inputs):
            return self.attention(*inputs, 6)

    compare(Padded(), attend, torch.randn(2, 5, 3, 4, DIM), torch.randn(1, 5, GUIDANCE), torch.randn(DIM),
            torch.randn(GUIDANCE))


def test_window_attention():
    torch.manual_seed(0)
    block = SwinBlock(DIM, GUIDANCE, HEADS, (7, 10), 4, 2)

    def attend(x, guidance):
        h = block.norm1(x).flatten(0, 1)
        q, k = (F.linear(h, part.weight[:, :DIM]) for part in (block.attn.q, block.attn.k))
        guided = [part.project_guidance(guidance[:, 0]) for part in (block.attn.q, block.attn.k)]
        mixed = window_attention(q, k, block.attn.v(h), HEADS, block.window, block.shift, *guided)
        x = x + block.attn.proj(mixed).unflatten(0, x.shape[:2])
        return x + block.mlp(block.norm2(x))

    compare(block, attend, torch.randn(2, 3, 7, 10, DIM), torch.randn(2, 1, 7, 10, GUIDANCE))


def test_group_norm_relu():
    torch.manual_seed(0)
    block = UpBlock(48, 32, 16)

    def decode(x, guidance):
        up = block.up(x.flatten(0, 1))
        own = F.conv2d(up, block.conv1.weight[:, :block.up_dim], padding=1)
        shared = F.conv2d(guidance, block.conv1.weight[:, block.up_dim:], padding=1)
        y = group_norm_relu(own, block.norm1.weight, block.norm1.bias, block.norm1.num_groups, shared)
        y = group_norm_relu(block.conv2(y), block.norm2.weight, block.norm2.bias, block.norm2.num_groups)
        return y.unflatten(0, x.shape[:2])

    compare(block, decode, torch.randn(2, 3, 48, 3, 4), torch.randn(2, 16, 6, 8))
