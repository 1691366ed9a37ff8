"""The folded and broadcast stages against the plain formulas, written out with concatenation and padding."""

import pytest
import torch
import torch.nn.functional as F

from catseg.class_aggregation import ClassAggregation
from catseg.cost_volume import CostEmbedding, compute_cost, keep_most_similar
from catseg.decoder import Decoder, UpBlock
from catseg.guided_linear import GuidedLinear
from catseg.spatial_aggregation import SpatialAggregation, SwinBlock
from openvocab.kernels.window_attention.reference import make_windows
from openvocab.testing import directional_derivative_error

DIM, GUIDANCE, HEADS = 16, 8, 4


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def plain_linear_attention(module, h, tg):
    """Linear attention over axis 1 with concatenated guidance: (B, T, H, W, D) and (B, T, G)."""
    joined = torch.cat([h, tg[:, :, None, None].expand(*h.shape[:-1], tg.shape[-1])], dim=-1)
    q, k = (F.elu(F.linear(joined, part.weight, part.bias)) + 1 for part in (module.q, module.k))
    v = module.v(h)
    out = torch.empty_like(v)
    for head in range(HEADS):
        part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
        qh, kh, vh = (x[..., part] for x in (q, k, v))
        weights = torch.einsum("bthwd,bshwd->btshw", qh, kh)
        out[..., part] = torch.einsum("btshw,bshwd->bthwd", weights, vh) / (weights.sum(2) + 1e-6)[..., None]
    return out


def plain_class_aggregation(module, x, tg, pooling):
    """The layer as the original runs it: padding classes appended, attended and dropped."""
    batch, classes, height, width, dim = x.shape
    tg = tg.expand(batch, -1, -1)
    xp = F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), pooling).permute(0, 2, 3, 1).unflatten(0, (batch, classes))
    if classes < module.pad_len:
        missing = module.pad_len - classes
        xp = torch.cat([xp, module.padding_tokens[0, 0].expand(batch, missing, *xp.shape[2:])], dim=1)
        tg = torch.cat([tg, module.padding_guidance[0, 0].expand(batch, missing, tg.shape[-1])], dim=1)
    xp = xp + plain_linear_attention(module.attention, module.norm1(xp), tg)
    xp = (xp + module.mlp(module.norm2(xp)))[:, :classes]
    maps = xp.flatten(0, 1).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=True)
    return x + maps.permute(0, 2, 3, 1).unflatten(0, (batch, classes))


@pytest.mark.parametrize("pad_len", [0, 5, 12])
@pytest.mark.parametrize("pooling", [(1, 1), (2, 2), (2, 1)])
@torch.no_grad()
def test_padding_folds_into_constants(pad_len, pooling):
    torch.manual_seed(0)
    module = ClassAggregation(DIM, GUIDANCE, HEADS, pad_len)
    module.padding_tokens.normal_()
    module.padding_guidance.normal_()
    x = torch.randn(2, 5, 4, 6, DIM)
    for tg in (torch.randn(1, 5, GUIDANCE), torch.randn(2, 5, GUIDANCE)):
        close(module(x, tg, pooling), plain_class_aggregation(module, x, tg, pooling))


@torch.no_grad()
def test_padding_matters():
    """Otherwise the test above would pass with the fold left out."""
    torch.manual_seed(0)
    module = ClassAggregation(DIM, GUIDANCE, HEADS, 12)
    x, tg = torch.randn(1, 5, 4, 4, DIM), torch.randn(1, 5, GUIDANCE)
    padded = module(x, tg, (1, 1))
    module.pad_len = 0
    assert (padded - module(x, tg, (1, 1))).abs().max() > 1e-2


def test_padding_is_trained_only_where_it_is_used():
    assert not ClassAggregation(DIM, GUIDANCE, HEADS, 0).padding_tokens.requires_grad
    assert ClassAggregation(DIM, GUIDANCE, HEADS, 9).padding_tokens.requires_grad


def plain_block(block, x, gn, height, width):
    """A Swin block by brute force: every token attends to those that share its shifted window and its strip."""
    batch, classes = x.shape[:2]
    window, shift = block.attn.window, block.attn.shift
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    padded = [side + (-side % window) for side in (height, width)]

    def place(index, size):  # position after the cyclic shift, and whether the token was carried around the edge
        moved = (index - shift) % size
        return moved // window, index < shift

    keys = torch.stack([*place(rows, padded[0]), *place(columns, padded[1])], dim=-1).flatten(0, 1)
    allowed = (keys[:, None] == keys[None, :]).all(-1)
    h = block.norm1(x).flatten(2, 3)
    joined = torch.cat([h, gn.flatten(2, 3).expand(batch, classes, -1, -1)], dim=-1)
    q, k = (F.linear(joined, part.weight, part.bias) for part in (block.attn.q, block.attn.k))
    q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(2, 3) for y in (q, k, block.attn.v(h)))
    scores = (q @ k.transpose(-1, -2) / (DIM / HEADS) ** 0.5).masked_fill(~allowed, float("-inf"))
    mixed = block.attn.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(-2))
    x = x + mixed.unflatten(2, (height, width))
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize(("grid", "window", "shift"), [
    ((8, 8), 4, 0), ((8, 8), 4, 2), ((8, 12), 4, 2), ((4, 4), 4, 2), ((3, 3), 4, 2),
    ((10, 10), 4, 0), ((10, 9), 4, 2),  # not a multiple of the window
])  # fmt: skip
@torch.no_grad()
def test_windows_by_brute_force(grid, window, shift):
    torch.manual_seed(0)
    block = SwinBlock(DIM, GUIDANCE, HEADS, grid, window, shift)
    x, gn = torch.randn(2, 3, *grid, DIM), torch.randn(2, *grid, GUIDANCE)
    close(block(x, gn), plain_block(block, x, gn[:, None], *grid))


def test_mask_of_the_released_model():
    """24 x 24 tokens, window 12, shift 6: strips of 12, 6 and 6; the first window is whole, the last in four pieces."""
    windows = make_windows(24, 24, 12, 6, torch.device("cpu"), torch.float32)
    assert windows.mask.shape == (4, 1, 144, 144)
    assert windows.mask[0].abs().sum() == 0
    assert [int((window == 0).sum()) for window in windows.mask] == [144**2, 2 * 72**2, 2 * 72**2, 4 * 36**2]
    assert set(windows.mask.unique().tolist()) == {-100.0, 0.0}
    assert make_windows(24, 24, 12, 0, torch.device("cpu"), torch.float32).mask is None


@torch.no_grad()
def test_guided_linear():
    layer = GuidedLinear(DIM, GUIDANCE, 5)
    x, g = torch.randn(2, 3, DIM), torch.randn(2, 1, GUIDANCE)
    close(layer(x, layer.project_guidance(g)), torch.nn.Linear.forward(layer, torch.cat([x, g.expand(2, 3, -1)], -1)))


@torch.no_grad()
def test_decoder_stage_equals_concatenation():
    torch.manual_seed(0)
    stage = UpBlock(32, 16, 8)
    x, g = torch.randn(2, 3, 32, 4, 5), torch.randn(2, 8, 8, 10)
    up = stage.up(x.flatten(0, 1))
    y = torch.cat([up, g[:, None].expand(-1, 3, -1, -1, -1).flatten(0, 1)], dim=1)
    y = F.relu(stage.norm1(stage.conv1(y)))
    y = F.relu(stage.norm2(stage.conv2(y)))
    close(stage(x, g), y.unflatten(0, (2, 3)))


def test_cost_is_cosine():
    dense = torch.randn(2, 6, 3, 4)
    text = F.normalize(torch.randn(5, 2, 6), dim=-1)
    cost = compute_cost(dense, text)
    assert cost.shape == (2, 5, 2, 3, 4)
    want = F.cosine_similarity(dense[1, :, 2, 3], text[4, 1], dim=0)
    close(cost[1, 4, 1, 2, 3], want)


def test_cut_keeps_the_most_similar_of_each_image():
    cost = torch.zeros(2, 4, 1, 2, 2)
    cost[0, 1, 0, 0, 1], cost[0, 3, 0, 1, 1] = 0.9, 0.5
    cost[1, 0, 0, 0, 0], cost[1, 2, 0, 1, 0] = 0.2, 0.7
    text = torch.randn(4, 1, 6)
    kept = keep_most_similar(cost, text, 2)
    assert kept.index.tolist() == [[1, 3], [0, 2]]
    assert torch.equal(kept.cost[1, 1], cost[1, 2])
    assert torch.equal(kept.text[0, 1], text[3])
    for limit in (0, 4, 9):
        everything = keep_most_similar(cost, text, limit)
        assert everything.index is None
        assert torch.equal(everything.text[0], text)


class OneArgument(torch.nn.Module):
    """Wraps a stage whose forward pass takes more than tensors."""

    def __init__(self, stage, call):
        super().__init__()
        self.stage, self.call = stage, call

    def forward(self, *inputs):
        return self.call(self.stage, *inputs)


@pytest.mark.parametrize("case", ["cost", "spatial", "class", "class_pooled", "decoder"])
def test_gradients_by_finite_differences(case):
    torch.manual_seed(0)
    x, g = torch.randn(1, 2, 4, 4, DIM), torch.randn(1, 4, 4, GUIDANCE)
    tg = torch.randn(1, 2, GUIDANCE)
    if case == "cost":
        module, inputs = CostEmbedding(2, 3), (torch.randn(1, 2, 2, 4, 4),)
    elif case == "spatial":
        module, inputs = SpatialAggregation(DIM, GUIDANCE, HEADS, (4, 4), 2), (x, g)
    elif case.startswith("class"):
        pooling = (2, 2) if case.endswith("pooled") else (1, 1)
        module = OneArgument(ClassAggregation(DIM, GUIDANCE, HEADS, 7), lambda m, x, tg: m(x, tg, pooling))
        inputs = (x, tg)
    else:
        decoder = Decoder(DIM, (16, 16), 6, (8, 8), (4, 4))
        module = OneArgument(decoder, lambda m, x, a, b: m(x, m.guidance((a, b))))
        inputs = (x, torch.randn(1, 6, 4, 4), torch.randn(1, 6, 4, 4))
    assert directional_derivative_error(module, inputs) < 1e-5
