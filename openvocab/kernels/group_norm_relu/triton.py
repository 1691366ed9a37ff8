"""GroupNorm + ReLU as Triton kernels: one program per slice and group, whose elements follow each other in memory.

A program reads its group twice, for the statistics and for the answer; the second time mostly from the cache. For the
backward pass mean and deviation of each group are kept; where the ReLU was open is computed again.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def load(x, shared, offsets, inside):
    """Elements of x as float32, plus the shared summand where there is one; 0 outside."""
    value = tl.load(x + offsets, mask=inside, other=0.0).to(tl.float32)
    if shared is not None:
        value += tl.load(shared + offsets, mask=inside, other=0.0).to(tl.float32)
    return value


@triton.jit
def statistics(x, shared, count, BLOCK: tl.constexpr):
    """Mean and variance of `count` elements: Welford's update in every lane, then all lanes joined.

    Sums of x and x^2 would lose the variance of a group whose mean is large.
    """
    seen = tl.zeros((BLOCK,), dtype=tl.float32)
    mean = tl.zeros((BLOCK,), dtype=tl.float32)
    squares = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, count, BLOCK):
        offsets = start + tl.arange(0, BLOCK)
        inside = offsets < count
        value = load(x, shared, offsets, inside)
        seen += inside.to(tl.float32)
        difference = tl.where(inside, value - mean, 0.0)
        mean += difference / tl.maximum(seen, 1.0)
        squares += difference * (value - mean)
    total = tl.sum(seen * mean, axis=0) / count
    between = tl.where(seen > 0, mean - total, 0.0)
    return total, tl.sum(squares + seen * between * between, axis=0) / count


@triton.jit
def forward_kernel(
    x,
    weight,
    bias,
    shared,
    out,
    means,
    deviations,
    slices_per_image,
    channels,
    groups,
    pixels,
    epsilon,
    BLOCK: tl.constexpr,
):
    """Normalises. Grid (slices * groups,); `deviations` are reciprocal standard deviations."""
    slice_, group = tl.program_id(0) // groups, tl.program_id(0) % groups
    width = channels // groups
    start_of_group = slice_.to(tl.int64) * channels * pixels + group * width * pixels
    x += start_of_group
    out += start_of_group
    if shared is not None:
        shared += (slice_ // slices_per_image).to(tl.int64) * channels * pixels + group * width * pixels
    mean, variance = statistics(x, shared, width * pixels, BLOCK)
    deviation = 1 / tl.sqrt(variance + epsilon)
    tl.store(means + tl.program_id(0), mean)
    tl.store(deviations + tl.program_id(0), deviation)
    for channel in range(0, width):
        scale = tl.load(weight + group * width + channel).to(tl.float32) * deviation
        offset = tl.load(bias + group * width + channel).to(tl.float32) - mean * scale
        for start in range(0, pixels, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            value = load(x, shared, channel * pixels + pixel, pixel < pixels) * scale + offset
            tl.store(
                out + channel * pixels + pixel, tl.maximum(value, 0.0).to(out.dtype.element_ty), mask=pixel < pixels
            )


@triton.jit
def open_gradient(grad, x, shared, offsets, inside, mean, deviation, scale, offset):
    """Normalised elements, and the gradient where the ReLU was open."""
    value = load(x, shared, offsets, inside)
    upstream = tl.load(grad + offsets, mask=inside, other=0.0).to(tl.float32)
    return (value - mean) * deviation, tl.where(value * scale + offset > 0, upstream, 0.0)


@triton.jit
def backward_kernel(
    grad,
    x,
    weight,
    bias,
    shared,
    means,
    deviations,
    x_grad,
    weight_grad,
    bias_grad,
    slices_per_image,
    channels,
    groups,
    pixels,
    BLOCK: tl.constexpr,
):
    """Gradients. Grid as `forward_kernel`; those of weight and bias are written per slice and summed afterwards."""
    slice_, group = tl.program_id(0) // groups, tl.program_id(0) % groups
    width = channels // groups
    start_of_group = slice_.to(tl.int64) * channels * pixels + group * width * pixels
    x += start_of_group
    grad += start_of_group
    if shared is not None:
        shared += (slice_ // slices_per_image).to(tl.int64) * channels * pixels + group * width * pixels
    mean, deviation = tl.load(means + tl.program_id(0)), tl.load(deviations + tl.program_id(0))
    # Means over the group of g and of g * normalised, where g is the gradient of the normalised elements.
    mean_grad, mean_product = 0.0, 0.0
    for channel in range(0, width):
        own_weight = tl.load(weight + group * width + channel).to(tl.float32)
        scale = own_weight * deviation
        offset = tl.load(bias + group * width + channel).to(tl.float32) - mean * scale
        total, product = tl.zeros((BLOCK,), dtype=tl.float32), tl.zeros((BLOCK,), dtype=tl.float32)
        for start in range(0, pixels, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            normalised, upstream = open_gradient(
                grad, x, shared, channel * pixels + pixel, pixel < pixels, mean, deviation, scale, offset
            )
            total += upstream
            product += upstream * normalised
        channel_total, channel_product = tl.sum(total, axis=0), tl.sum(product, axis=0)
        tl.store(bias_grad + slice_ * channels + group * width + channel, channel_total)
        tl.store(weight_grad + slice_ * channels + group * width + channel, channel_product)
        mean_grad += channel_total * own_weight / (width * pixels)
        mean_product += channel_product * own_weight / (width * pixels)
    for channel in range(0, width):
        own_weight = tl.load(weight + group * width + channel).to(tl.float32)
        scale = own_weight * deviation
        offset = tl.load(bias + group * width + channel).to(tl.float32) - mean * scale
        for start in range(0, pixels, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            normalised, upstream = open_gradient(
                grad, x, shared, channel * pixels + pixel, pixel < pixels, mean, deviation, scale, offset
            )
            gradient = deviation * (upstream * own_weight - mean_grad - normalised * mean_product)
            tl.store(
                x_grad + start_of_group + channel * pixels + pixel,
                gradient.to(x_grad.dtype.element_ty),
                mask=pixel < pixels,
            )


def block_size(pixels: int) -> int:
    """Chooses elements per step: a channel in one step where it is small, else 1024 (8 per thread of 4 warps)."""
    return min(1024, max(128, triton.next_power_of_2(pixels)))


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, shared: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Launches `forward_kernel`; arguments as in `api.group_norm_relu`, shapes already checked.

    Returns:
        (n, C, h, w), and mean and reciprocal standard deviation of each group, (n, groups) float32.
    """
    slices, channels, height, width = x.shape
    x = x.contiguous()
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    mean, deviation = (torch.empty(slices, groups, dtype=torch.float32, device=x.device) for _ in range(2))
    with torch.cuda.device_of(x):
        forward_kernel[(slices * groups,)](
            x,
            weight.contiguous(),
            bias.contiguous(),
            None if shared is None else shared.contiguous(),
            out,
            mean,
            deviation,
            slices if shared is None else slices // len(shared),
            channels,
            groups,
            height * width,
            epsilon,
            BLOCK=block_size(height * width),
        )
    return out, mean, deviation


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    shared: Tensor | None,
    mean: Tensor,
    deviation: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launches `backward_kernel`; `grad` is that of the answer, the others are arguments and answers of `forward`.

    Returns:
        Gradients of x (contiguous), weight and bias.
    """
    slices, channels, height, width = x.shape
    grad, x = grad.contiguous(), x.contiguous()
    x_grad = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    weight_grad, bias_grad = (torch.empty(slices, channels, dtype=torch.float32, device=x.device) for _ in range(2))
    with torch.cuda.device_of(x):
        backward_kernel[(slices * groups,)](
            grad,
            x,
            weight.contiguous(),
            bias.contiguous(),
            None if shared is None else shared.contiguous(),
            mean,
            deviation,
            x_grad,
            weight_grad,
            bias_grad,
            slices if shared is None else slices // len(shared),
            channels,
            groups,
            height * width,
            BLOCK=block_size(height * width),
        )
    return x_grad, weight_grad.sum(dim=0).to(weight.dtype), bias_grad.sum(dim=0).to(bias.dtype)
