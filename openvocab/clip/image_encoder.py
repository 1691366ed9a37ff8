"""CLIP's image tower as a dense feature extractor (CAT-Seg, arXiv 2303.11797, section 3.1; MaskCLIP's last block).

Shape letters: B images, C joint width, H x W token grid, N = H * W tokens (N + 1 with the class token).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openvocab.clip.blocks import Transformer
from openvocab.clip.spec import ClipSpec
from openvocab.devices import to_device
from openvocab.interfaces import ClipFeatures
from openvocab.recompute import run_block


class ImageEncoder(nn.Module):
    """Vision transformer whose last block keeps every token's own value.

    Args:
        spec: sizes.

    Attributes:
        recompute: whether the blocks are computed again in the backward pass, see `openvocab.recompute`.
    """

    def __init__(self, spec: ClipSpec):
        super().__init__()
        self.spec = spec
        self.recompute = False
        side = spec.image_size // spec.patch_size
        scale = spec.width**-0.5
        self.conv1 = nn.Conv2d(3, spec.width, spec.patch_size, spec.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(spec.width))
        self.positional_embedding = nn.Parameter(torch.empty(side * side + 1, spec.width))
        self.ln_pre = nn.LayerNorm(spec.width)
        self.transformer = Transformer(spec.width, spec.layers, spec.heads, spec.mlp_width, spec.quick_gelu)
        self.ln_post = nn.LayerNorm(spec.width)
        self.proj = nn.Parameter(torch.empty(spec.width, spec.embed_dim))
        for parameter in (self.class_embedding, self.positional_embedding, self.proj):
            nn.init.normal_(parameter, std=scale)

    def forward(self, images: Tensor, taps: Sequence[int] = ()) -> ClipFeatures:
        """Encodes images densely.

        Args:
            images: (B, 3, h, w) normalised RGB; h and w multiples of the patch size.
            taps: 0-based blocks whose outputs are wanted as well.

        Returns:
            Dense features (B, C, H, W) and one (B, width, H, W) map per tap.

        Raises:
            ValueError: h or w is no multiple of the patch size, or a tap does not exist.
        """
        grid = (images.shape[-2] // self.spec.patch_size, images.shape[-1] // self.spec.patch_size)
        tokens, tapped = self.dense_tokens(images, taps)
        dense, *maps = (x[:, 1:].transpose(1, 2).unflatten(2, grid) for x in (tokens, *tapped))
        return ClipFeatures(dense, tuple(maps))

    def dense_tokens(self, images: Tensor, taps: Sequence[int] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encodes images to token sequences, class token first.

        Args:
            images: (B, 3, h, w) normalised RGB; h and w multiples of the patch size.
            taps: 0-based blocks whose outputs are wanted as well.

        Returns:
            Tokens (B, N + 1, C) in the joint space, and one (B, N + 1, width) sequence per tap, in the order of `taps`.

        Raises:
            ValueError: h or w is no multiple of the patch size, or a tap does not exist.
        """
        check_taps(taps, self.spec)
        x = self.embed_patches(images)
        outputs = {}
        *blocks, last = self.transformer.resblocks
        for index, block in enumerate(blocks):
            x = run_block(block, x, recompute=self.recompute)
            if index in taps:
                outputs[index] = x
        x = run_block(last.forward_dense, x, recompute=self.recompute)
        tokens = self.ln_post(x) @ self.proj
        return tokens, tuple(outputs[index] for index in taps)

    def embed_patches(self, images: Tensor) -> Tensor:
        """Cuts images into patch tokens with positions: (B, 3, h, w) to (B, N + 1, width), class token first."""
        patch = self.spec.patch_size
        if images.shape[-2] % patch or images.shape[-1] % patch:
            raise ValueError(f"images: got {tuple(images.shape[-2:])} pixels, expected multiples of {patch}")
        x = self.conv1(images)
        positions = resize_positions(self.positional_embedding, x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        return self.ln_pre(torch.cat([cls, x], dim=1) + positions.to(x.dtype))

    def normalize(self, image: Tensor) -> Tensor:
        """Normalises pixels as CLIP expects them.

        Args:
            image: (..., 3, h, w) RGB in 0..255, uint8 or floating point.

        Returns:
            The same shape, float32 (float64 stays float64).
        """
        # The constants are made here and not kept as buffers: a buffer would be rounded by `model.to(torch.bfloat16)`.
        dtype = image.dtype if image.dtype == torch.float64 else torch.float32
        mean, std = (
            to_device(values, image.device, dtype)[:, None, None] for values in (self.spec.mean, self.spec.std)
        )
        return (image.to(dtype) - mean) / std


def check_taps(taps: Sequence[int], spec: ClipSpec) -> None:
    """Refuses taps that do not exist.

    Args:
        taps: 0-based block indices.
        spec: sizes of the image tower.

    Raises:
        ValueError: a tap is outside 0..layers - 2; the last block has no ordinary output, see `Block.forward_dense`.
    """
    wrong = [tap for tap in taps if not 0 <= tap < spec.layers - 1]
    if wrong:
        raise ValueError(f"taps: got {wrong}, expected block indices in 0..{spec.layers - 2} for {spec.name}")


def resize_positions(table: Tensor, height: int, width: int) -> Tensor:
    """Resizes a position table to another token grid.

    Args:
        table: (1 + side * side, channels), class token first.
        height: tokens.
        width: tokens.

    Returns:
        (1 + height * width, channels): the class entry unchanged, the grid by bicubic interpolation without antialias.
    """
    side = round((len(table) - 1) ** 0.5)
    if (side, side) == (height, width):
        return table
    # Bicubic interpolation in half precision is missing on some devices and inaccurate on the others.
    dtype = torch.promote_types(table.dtype, torch.float32)
    grid = table[1:].to(dtype).unflatten(0, (side, side)).permute(2, 0, 1)[None]
    grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([table[:1], grid[0].flatten(1).T.to(table.dtype)])
