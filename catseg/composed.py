"""Weights of CAT-Seg's head, composed once for evaluation: layers with nothing in between become one.

A class takes the stage with the weights of the model as well as its copy of `openvocab.clip.fast_layers`, in the
precision that is computed in.

Shape letters: D hidden width, G guidance width, H x W grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catseg.class_aggregation import ClassAggregation, ClassAttention
from catseg.decoder import UpBlock
from catseg.spatial_aggregation import SwinBlock, WindowAttention
from openvocab.clip.fast_layers import FastLinear
from openvocab.devices import to_device
from openvocab.kernels.window_attention.reference import Geometry, window_geometry


class ComposedSwinBlock:
    """A Swin block with one product for query, key and value.

    Attributes:
        block: the copy.
        qkv: (..., D) to (..., 3D), the tokens' share; only the values have a bias, those of query and key are in the
            guidance's share.
        regions: tokens that see each other, (n, L) indices into the flattened grid for each length L.
        order: (H * W), for each token of the grid its place in all regions, one after the other.
    """

    def __init__(self, block: SwinBlock, fast: SwinBlock, grid: tuple[int, int]):
        attn = block.attn
        self.block = fast
        self.qkv = join_qkv(attn, fast.norm1.weight.dtype)
        own, device = regions(window_geometry(*grid, attn.window, attn.shift)), attn.v.weight.device
        self.regions = [to_device(index, device) for index in own]
        self.order = torch.cat([index.flatten() for index in self.regions]).argsort()

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """Gives the guidance's share of query and key: (..., G) to (..., 2D)."""
        attn = self.block.attn
        return torch.cat([attn.q.project_guidance(guidance), attn.k.project_guidance(guidance)], dim=-1)


def join_qkv(attention: WindowAttention | ClassAttention, dtype: torch.dtype) -> FastLinear:
    """Joins the tokens' share of query, key and value: (..., D) to (..., 3D), with the values' bias alone."""
    dim = attention.q.dim
    weight = torch.cat([attention.q.weight[:, :dim], attention.k.weight[:, :dim], attention.v.weight])
    return FastLinear(weight.to(dtype), F.pad(attention.v.bias, (2 * dim, 0)).to(dtype))


def regions(geometry: Geometry) -> list[list[list[int]]]:
    """Splits windows into the regions whose tokens see each other, so that nothing is computed to be masked.

    A mask of -100, the reference's, lets a weight of e^-100 through. That is below the rounding of float32 as long as
    the logits of a window differ by less than 80.

    Args:
        geometry: of the windows.

    Returns:
        For each size L' of regions n' of them, L' indices each; together every token once.
    """
    by_length = {}
    for tokens, numbers in zip(geometry.index, geometry.region):
        for own in sorted(set(numbers)):
            members = [token for token, number in zip(tokens, numbers) if number == own and token >= 0]
            if members:
                by_length.setdefault(len(members), []).append(members)
    return list(by_length.values())


class ComposedClassAggregation:
    """Class aggregation with its padding class projected and one product for query, key and value.

    Attributes:
        layer: the copy.
        source: the model's own, whose `pad_len` counts: no weight, so a change of it does not lead to a new copy.
        qkv: (..., D) to (..., 3D), the tokens' share; only the values have a bias.
        key_padding: (D,) of a padding class.
        value_padding: (D,).
    """

    def __init__(self, layer: ClassAggregation, fast: ClassAggregation):
        dtype = fast.norm1.weight.dtype
        self.layer, self.source = fast, layer
        self.qkv = join_qkv(layer.attention, dtype)
        self.key_padding, self.value_padding = (part.to(dtype) for part in layer.padding())


class ComposedUpBlock:
    """An upsampling stage whose transposed convolution and first convolution are one.

    A transposed convolution with kernel and stride 2 followed by a 3x3 convolution is a transposed convolution with
    kernel 4, stride 2 and padding 1: half the multiplications, and the wide map between the two never exists.

    Attributes:
        stage: the copy.
        weight: (in_dim, out_dim, 4, 4).
        bias_map: (1, out_dim, 2H, 2W), what the bias of the first layer becomes; it differs at the border.
        guidance: (out_dim, guidance_dim, 3, 3) weight of the guidance's share.
    """

    def __init__(self, stage: UpBlock, fast: UpBlock, grid: tuple[int, int]):
        own, guidance = stage.conv1.weight.tensor_split([stage.up_dim], dim=1)
        composed = (compose_up(stage.up.weight, own), up_bias(stage.up, own, grid), guidance)
        self.stage = fast
        self.weight, self.bias_map, self.guidance = (
            part.to(fast.up.weight.dtype, memory_format=torch.channels_last) for part in composed
        )

    def project_guidance(self, guidance: Tensor) -> Tensor:
        """Gives what is added to every class: (B, guidance_dim, 2H, 2W) to (B, out_dim, 2H, 2W)."""
        return (F.conv2d(guidance, self.guidance, padding=1) + self.bias_map).contiguous(
            memory_format=torch.channels_last
        )


class ComposedGuidance:
    """What prepares a tapped CLIP block for a decoder stage: a transposed convolution and a 3x3 one, as one.

    Args:
        up: kernel and stride f.
        project: kernel 3, padding 1.
        grid: of the tap, H and W.
        dtype: that is computed in.
    """

    def __init__(self, up: nn.ConvTranspose2d, project: nn.Conv2d, grid: tuple[int, int], dtype: torch.dtype):
        self.factor = up.stride[0]
        self.weight = compose_up(up.weight, project.weight).to(dtype, memory_format=torch.channels_last)
        bias_map = up_bias(up, project.weight, grid) + project.bias[:, None, None]
        self.bias_map = bias_map.to(dtype, memory_format=torch.channels_last)

    def __call__(self, tap: Tensor) -> Tensor:
        """Maps (B, tap_dim, H, W) to (B, guidance_proj_dim, fH, fW)."""
        tap = tap.contiguous(memory_format=torch.channels_last)
        return F.relu(F.conv_transpose2d(tap, self.weight, stride=self.factor, padding=1) + self.bias_map)


class ComposedOutput:
    """The last convolution, from many channels to one: a product with its nine taps, and a sum of nine shifted maps.

    Args:
        conv: kernel 3, padding 1, one output channel.
        dtype: that the product is computed in; the sum is float32 at least.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        self.taps = FastLinear(conv.weight[0].flatten(1).T.to(dtype), None)
        self.bias = conv.bias.detach().to(torch.promote_types(dtype, torch.float32))

    def __call__(self, x: Tensor) -> Tensor:
        """Convolves (m, C, H, W), channels last in memory, to (m, H, W)."""
        height, width = x.shape[-2:]
        maps = self.taps(x.permute(0, 2, 3, 1)).permute(3, 0, 1, 2).to(self.bias.dtype)
        out = maps.new_zeros(len(x), height + 2, width + 2)  # pixel p meets tap a at p - a + 1
        for tap, part in enumerate(maps):
            row, column = 2 - tap // 3, 2 - tap % 3
            out[:, row : row + height, column : column + width] += part
        return out[:, 1:-1, 1:-1] + self.bias


def up_bias(up: nn.ConvTranspose2d, conv: Tensor, grid: tuple[int, int]) -> Tensor:
    """Gives what the bias of a transposed convolution becomes after a 3x3 convolution, which pads with zeros.

    Args:
        up: kernel and stride f.
        conv: (out, middle, 3, 3).
        grid: H and W before.

    Returns:
        (1, out, fH, fW); it differs at the border.
    """
    factor = up.stride[0]
    return F.conv2d(up.bias[None, :, None, None].expand(-1, -1, factor * grid[0], factor * grid[1]), conv, padding=1)


def compose_up(up: Tensor, conv: Tensor) -> Tensor:
    """Composes ConvTranspose2d(kernel f, stride f) with a 3x3 convolution of padding 1.

    Pixel i of the input reaches pixel f i + a after the first layer (a < f), and f i + a - d + 1 after the second
    (d = 0..2): tap a - d + 2 of a transposed convolution with kernel f + 2, stride f and padding 1.

    Args:
        up: (in, middle, f, f).
        conv: (out, middle, 3, 3).

    Returns:
        (in, out, f + 2, f + 2).
    """
    factor = up.shape[-1]
    composed = up.new_zeros(up.shape[0], conv.shape[0], factor + 2, factor + 2)
    for a in range(factor):
        for b in range(factor):
            composed[:, :, a : a + 3, b : b + 3] += torch.einsum("im,omde->iode", up[:, :, a, b], conv.flip(2, 3))
    return composed
