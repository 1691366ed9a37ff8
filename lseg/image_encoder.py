"""LSeg's image encoders: four feature maps from a vision transformer or a ResNet (arXiv 2201.03546, section 3.1).

Shape letters: B images, N tokens, D transformer width, H x W token grid, h x w image pixels.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from openvocab.clip.build import pretrained_state
from openvocab.clip.spec import clip_spec, own_configs
from openvocab.recompute import run_block
from openvocab.tracing import surely_equal

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
MAPS = 4
FINEST = 4  # the first map has 1/4 of the image's resolution, each further one half of the one before
STRIDE = 32  # pixels; of the coarsest map, so images have to be multiples of it
RESNET_DIMS = (256, 512, 1024, 2048)


class Readout(nn.Module):
    """Folds the class token into every other one: [token ; class token], linear, GELU.

    Args:
        width: D.
    """

    def __init__(self, width: int):
        super().__init__()
        self.project = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (B, 1 + N, D), class token first, to (B, N, D)."""
        # The linear layer on a concatenation is the sum of two; the class token's half is computed once per image.
        own, shared = self.project.weight.chunk(2, dim=1)
        common = F.linear(tokens[:, :1], shared, self.project.bias)
        return F.gelu(F.linear(tokens[:, 1:], own) + common)


class Reassemble(nn.Module):
    """Turns the tokens of one block into a feature map (DPT, arXiv 2103.13413, section 3.1).

    Args:
        width: D.
        channels: of the map.
        scale: side of the map in token grids; a power of two.
    """

    def __init__(self, width: int, channels: int, scale: float):
        super().__init__()
        self.readout = Readout(width)
        self.reduce = nn.Conv2d(width, channels, 1)
        if scale > 1:
            self.resample = nn.ConvTranspose2d(channels, channels, int(scale), int(scale))
        elif scale < 1:
            self.resample = nn.Conv2d(channels, channels, 3, round(1 / scale), padding=1)
        else:
            self.resample = nn.Identity()

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Maps (B, 1 + H * W, D) on a grid H, W to (B, channels, scale * H, scale * W)."""
        maps = self.readout(tokens).transpose(1, 2).unflatten(2, grid)
        return self.resample(self.reduce(maps))


class ViTEncoder(nn.Module):
    """A vision transformer of timm with four tapped blocks.

    Args:
        vit: without final norm and head, which LSeg does not use.
        taps: four 0-based blocks.
        dims: channels of the four maps.
        mean: per channel, RGB on a scale of 0..1.
        std: per channel, RGB on a scale of 0..1.

    Raises:
        ValueError: not four taps, or blocks that the transformer does not have.
    """

    def __init__(
        self,
        vit: VisionTransformer,
        taps: Sequence[int],
        dims: Sequence[int],
        mean: Sequence[float],
        std: Sequence[float],
    ):
        super().__init__()
        if len(taps) != MAPS or len(dims) != MAPS or not all(0 <= tap < len(vit.blocks) for tap in taps):
            raise ValueError(
                f"taps, dims: got {list(taps)} and {list(dims)}, expected four of each, taps in "
                f"0..{len(vit.blocks) - 1} (MODEL.LSEG.TAPS, TAP_DIMS)"
            )
        vit.norm, vit.fc_norm, vit.head_drop, vit.head = (nn.Identity() for _ in range(4))
        self.vit = vit
        self.taps = tuple(taps)
        self.patch_size = vit.patch_embed.patch_size[0]
        self.reassemble = nn.ModuleList(
            Reassemble(vit.embed_dim, channels, self.patch_size / (FINEST * 2**level))
            for level, channels in enumerate(dims)
        )
        _register_normalization(self, mean, std)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encodes images.

        Args:
            images: (B, 3, h, w), RGB in 0..255; both sides multiples of 32.

        Returns:
            Four maps at 1/4, 1/8, 1/16 and 1/32 of the resolution.
        """
        pixels = ((images - self.mean) / self.std).to(self.vit.pos_embed.dtype)
        patches = self.vit.patch_embed.proj(pixels)
        grid = (patches.shape[-2], patches.shape[-1])
        x = patches.flatten(2).transpose(1, 2)
        x = torch.cat([self.vit.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = self.vit.norm_pre(x + self.position_table(grid))
        tapped = {}
        for index, block in enumerate(self.vit.blocks[: max(self.taps) + 1]):
            x = run_block(block, x, recompute=self.vit.grad_checkpointing)
            if index in self.taps:
                tapped[index] = x
        return tuple(reassemble(tapped[tap], grid) for tap, reassemble in zip(self.taps, self.reassemble))

    def position_table(self, grid: tuple[int, int]) -> Tensor:
        """Resizes the position table bilinearly to a token grid: (1, 1 + H * W, D), class token unchanged."""
        table = self.vit.pos_embed
        side = math.isqrt(table.shape[1] - 1)
        if surely_equal(grid, (side, side)):
            return table
        cells = table[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        cells = F.interpolate(cells, grid, mode="bilinear", align_corners=False)
        return torch.cat([table[:, :1], cells.flatten(2).transpose(1, 2)], dim=1)


class ResNetEncoder(nn.Module):
    """The four stages of a torchvision ResNet-101.

    Args:
        pretrained: whether torchvision fetches its ImageNet weights.
    """

    def __init__(self, pretrained: bool):
        super().__init__()
        net = torchvision.models.resnet101(
            weights=torchvision.models.ResNet101_Weights.IMAGENET1K_V1 if pretrained else None
        )
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        _register_normalization(self, IMAGENET_MEAN, IMAGENET_STD)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Encodes images; see `ViTEncoder.forward`."""
        x = self.stem(((images - self.mean) / self.std).to(self.stem[0].weight.dtype))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def build_image_encoder(name: str, pretrained: str, taps: Sequence[int], dims: Sequence[int]) -> nn.Module:
    """Builds an image encoder.

    Args:
        name: a vision transformer of timm, "resnet101", or one of `openvocab/clip/configs`.
        pretrained: "" for random weights; "imagenet" lets timm or torchvision fetch theirs; a file of a CLIP.
        taps: four 0-based blocks of a transformer.
        dims: channels of the four maps; a ResNet's are fixed.

    Returns:
        A `ViTEncoder` or `ResNetEncoder`, on the current default device.

    Raises:
        ValueError: an unknown name, weights that are missing or do not fit it, or taps or dims that do not fit.
    """
    if pretrained not in ("", "imagenet") and name not in own_configs():
        raise ValueError(
            f"pretrained: got {pretrained!r} for {name}, expected '' or 'imagenet' (MODEL.LSEG.BACKBONE_PRETRAINED)"
        )
    if name == "resnet101":
        if tuple(dims) != RESNET_DIMS:
            raise ValueError(f"dims: got {list(dims)}, expected {list(RESNET_DIMS)} for {name} (MODEL.LSEG.TAP_DIMS)")
        return ResNetEncoder(pretrained == "imagenet")
    if name in own_configs():
        return _clip_encoder(name, pretrained, taps, dims)
    if name not in timm.list_models(module="vision_transformer"):
        raise ValueError(
            f"backbone: got {name!r}, expected a vision transformer of timm, 'resnet101' or one of "
            f"{sorted(own_configs())} (MODEL.LSEG.BACKBONE)"
        )
    return ViTEncoder(timm.create_model(name, pretrained=pretrained == "imagenet"), taps, dims, HALF, HALF)


def _clip_encoder(name: str, pretrained: str, taps: Sequence[int], dims: Sequence[int]) -> ViTEncoder:
    if pretrained == "imagenet":
        raise ValueError(
            f"pretrained: got {pretrained!r} for {name}, expected '' or a file (MODEL.LSEG.BACKBONE_PRETRAINED)"
        )
    spec = clip_spec(name)
    vit = VisionTransformer(
        img_size=spec.image_size,
        patch_size=spec.patch_size,
        embed_dim=spec.width,
        depth=spec.layers,
        num_heads=spec.heads,
        mlp_ratio=spec.mlp_width / spec.width,
        pre_norm=True,
        num_classes=0,
    )
    encoder = ViTEncoder(vit, taps, dims, [m / 255 for m in spec.mean], [s / 255 for s in spec.std])
    if pretrained:
        state = checkpoint_filter_fn(_fused(pretrained_state(name, pretrained, spec.text.vocab_size)), vit)
        wanted = vit.state_dict()
        unused = {key for key in state if key.startswith(("norm.", "head."))}
        if state.keys() - unused != wanted.keys():
            raise ValueError(
                f"pretrained: {Path(pretrained)} does not fit {name}: "
                f"{sorted(wanted.keys() ^ (state.keys() - unused))[:4]}"
            )
        vit.load_state_dict({key: value for key, value in state.items() if key not in unused})
    return encoder


def _fused(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Joins the query, key and value weights that `openvocab.clip` keeps apart, as timm's converter expects them."""
    fused = {key: value for key, value in state.items() if not key.endswith(("k_proj_weight", "v_proj_weight"))}
    for key in [key for key in fused if key.endswith("q_proj_weight")]:
        stem = key.removesuffix("q_proj_weight")
        fused.pop(key)
        fused[stem + "in_proj_weight"] = torch.cat([state[f"{stem}{letter}_proj_weight"] for letter in "qkv"])
    return fused


def _register_normalization(module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
    for name, values in (("mean", mean), ("std", std)):
        module.register_buffer(name, 255 * torch.tensor(values)[:, None, None], persistent=False)
