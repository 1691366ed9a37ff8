"""Label maps as Triton kernels: bilinear taps, sigmoid, blending and the running maximum are index arithmetic.

Blending and the best class are two kernels, not one: a pixel of the answer lies between four pixels of the blended map,
each of which costs up to 8 sigmoids and 32 reads, so one kernel would do that work four times for every pixel of the
answer (28 times over for a picture of 2000 x 1500 and S = 640). `label_map` instead blends some classes at a time into
a map that stays in the cache, and carries the best class along.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openvocab.windows import window_origins

CLASSES_PER_CHUNK = 16  # whose blended maps exist at a time; 26 MB at S = 640, which stay in the cache of a large GPU


@triton.jit
def taps(index, size, scale):
    """The two neighbours of a pixel in the smaller map, and the weight of the second (align_corners=False)."""
    source = tl.maximum((index.to(tl.float32) + 0.5) * scale - 0.5, 0.0)
    low = tl.minimum(source.to(tl.int32), size - 1)
    return low, tl.minimum(low + 1, size - 1), source - low.to(tl.float32)


@triton.jit
def mix(first, second, weight):
    """Linear interpolation, weighted as PyTorch does it."""
    return first * (1 - weight) + second * weight


@triton.jit
def read(x, y_low, y_high, y_weight, x_low, x_high, x_weight, width, inside):
    """Bilinear value of a map between four of its pixels, float32."""
    top = mix(
        tl.load(x + y_low * width + x_low, mask=inside, other=0.0).to(tl.float32),
        tl.load(x + y_low * width + x_high, mask=inside, other=0.0).to(tl.float32),
        x_weight,
    )
    bottom = mix(
        tl.load(x + y_high * width + x_low, mask=inside, other=0.0).to(tl.float32),
        tl.load(x + y_high * width + x_high, mask=inside, other=0.0).to(tl.float32),
        x_weight,
    )
    return mix(top, bottom, y_weight)


@triton.jit
def probability(logits, y, x, height, width, y_scale, x_scale, inside):
    """Sigmoid of the upsampled logits at pixel (y, x) of a view."""
    y_low, y_high, y_weight = taps(y, height, y_scale)
    x_low, x_high, x_weight = taps(x, width, x_scale)
    return tl.sigmoid(read(logits, y_low, y_high, y_weight, x_low, x_high, x_weight, width, inside))


@triton.jit
def blend_kernel(
    logits,
    out,
    view_stride,
    class_stride,
    height,
    width,
    y_scale,
    x_scale,
    kernel,
    size,
    stride,
    windows,
    size_scale,
    BLOCK: tl.constexpr,
):
    """Blends all views of one class. Grid (blocks of the S x S pixels, classes)."""
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = pixel < size * size
    y, x = pixel // size, pixel % size
    logits += tl.program_id(1).to(tl.int64) * class_stride
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    count = tl.zeros((BLOCK,), dtype=tl.float32)
    for number in range(0, windows * windows):
        window_y = y - tl.minimum(number // windows * stride, size - kernel)
        window_x = x - tl.minimum(number % windows * stride, size - kernel)
        inside = there & (window_y >= 0) & (window_y < kernel) & (window_x >= 0) & (window_x < kernel)
        value = probability(logits, window_y, window_x, height, width, y_scale, x_scale, inside)
        total += tl.where(inside, value, 0.0)
        count += inside.to(tl.float32)
        logits += view_stride
    # The global view is the last one; its K x K probabilities are upsampled to S x S.
    y_low, y_high, y_weight = taps(y, kernel, size_scale)
    x_low, x_high, x_weight = taps(x, kernel, size_scale)
    top = mix(
        probability(logits, y_low, x_low, height, width, y_scale, x_scale, there),
        probability(logits, y_low, x_high, height, width, y_scale, x_scale, there),
        x_weight,
    )
    bottom = mix(
        probability(logits, y_high, x_low, height, width, y_scale, x_scale, there),
        probability(logits, y_high, x_high, height, width, y_scale, x_scale, there),
        x_weight,
    )
    blended = (total / tl.maximum(count, 1.0) + mix(top, bottom, y_weight)) / 2
    tl.store(out + tl.program_id(1).to(tl.int64) * size * size + pixel, blended, mask=there)


@triton.jit
def argmax_kernel(
    maps,
    labels,
    scores,
    classes,
    first,
    class_stride,
    in_height,
    in_width,
    out_height,
    out_width,
    y_scale,
    x_scale,
    CONTINUE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Best class per pixel of the answer, with CONTINUE going on from `labels` and `scores`.

    Grid (blocks of the pixels,). A later class must be better, so of equal ones the first stays.
    """
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = pixel < out_height * out_width
    y_low, y_high, y_weight = taps(pixel // out_width, in_height, y_scale)
    x_low, x_high, x_weight = taps(pixel % out_width, in_width, x_scale)
    if CONTINUE:
        score = tl.load(scores + pixel, mask=there, other=0.0).to(tl.float32)
        label = tl.load(labels + pixel, mask=there, other=0).to(tl.int32)
    else:
        score = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
        label = tl.zeros((BLOCK,), dtype=tl.int32)
    for number in range(0, classes):
        value = read(maps, y_low, y_high, y_weight, x_low, x_high, x_weight, in_width, there)
        better = value > score
        score = tl.where(better, value, score)
        label = tl.where(better, first + number, label)
        maps += class_stride
    tl.store(scores + pixel, score.to(scores.dtype.element_ty), mask=there)
    tl.store(labels + pixel, label.to(labels.dtype.element_ty), mask=there)


def blend_views(logits: Tensor, kernel: int, size: int, stride: int) -> Tensor:
    """Launches `blend_kernel`; arguments as in `api.blend_views`, already checked."""
    if logits.stride()[-2:] != (logits.shape[-1], 1):
        logits = logits.contiguous()
    _, classes, height, width = logits.shape
    out = torch.empty(classes, size, size, dtype=torch.float32, device=logits.device)
    block = 256
    with torch.cuda.device_of(logits):
        blend_kernel[triton.cdiv(size * size, block), classes](
            logits,
            out,
            logits.stride(0),
            logits.stride(1),
            height,
            width,
            height / kernel,
            width / kernel,
            kernel,
            size,
            stride,
            len(window_origins(size, kernel, stride)),
            kernel / size,
            BLOCK=block,
        )
    return out


def update(maps: Tensor, labels: Tensor, scores: Tensor, first: int) -> None:
    """Launches `argmax_kernel`, which writes into `labels` and `scores`.

    Args:
        maps: (T, h', w').
        labels: (h, w) int64.
        scores: (h, w).
        first: number of the first class; 0 starts anew.
    """
    maps = maps.contiguous()
    (classes, *small), size, block = maps.shape, labels.shape, 256
    with torch.cuda.device_of(maps):
        argmax_kernel[(triton.cdiv(labels.numel(), block),)](
            maps,
            labels,
            scores,
            classes,
            first,
            maps.stride(0),
            *small,
            *size,
            small[0] / size[0],
            small[1] / size[1],
            CONTINUE=first > 0,
            BLOCK=block,
        )


def upsample_argmax(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Finds the best class; arguments as in `api.upsample_argmax`."""
    labels = torch.empty(height, width, dtype=torch.int64, device=maps.device)
    scores = torch.empty(height, width, dtype=maps.dtype, device=maps.device)
    update(maps, labels, scores, 0)
    return labels, scores


def label_map(logits: Tensor, kernel: int, size: int, stride: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Blends and finds the best class by chunks; arguments as in `api.label_map`."""
    labels = torch.empty(height, width, dtype=torch.int64, device=logits.device)
    scores = torch.empty(height, width, dtype=torch.float32, device=logits.device)
    for first in range(0, logits.shape[1], CLASSES_PER_CHUNK):
        chunk = logits[:, first : first + CLASSES_PER_CHUNK]
        update(blend_views(chunk, kernel, size, stride), labels, scores, first)
    return labels, scores
