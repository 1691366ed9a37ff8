"""Window attention as Triton kernels: one program per map, window, head and block of tokens.

Cyclic shift, windows, Swin's regions and the padding to whole windows are index arithmetic (`locate`); neither rolled
nor partitioned maps nor masks are written. The softmax runs over blocks of keys with a running maximum, as in
FlashAttention; the backward pass reads its logarithmic sums.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openvocab.kernels.triton import dot, dot_precision, rows_of
from openvocab.kernels.window_attention.reference import SEPARATED

ABSENT = tl.constexpr(-1e30)  # logit of a token that is not there; finite, so that no difference of two is NaN


@triton.jit
def locate(program, maps_per_image, height, width, window, shift, heads, blocks):
    """What a program works on: block, head, window, map, image. Blocks of a window run side by side and share it."""
    block, rest = program % blocks, program // blocks
    head, rest = rest % heads, rest // heads
    windows = tl.cdiv(height, window) * tl.cdiv(width, window)
    number, slice_ = rest % windows, (rest // windows).to(tl.int64)
    return block, head, number, slice_, slice_ // maps_per_image


@triton.jit
def place(index, number, height, width, window, shift):
    """Token `index` of window `number`: row and column on the map, its region of the window, whether it is there."""
    columns = tl.cdiv(width, window)
    padded_height, padded_width = tl.cdiv(height, window) * window, columns * window
    shifted_y = number // columns * window + index // window
    shifted_x = number % columns * window + index % window
    y, x = (shifted_y + shift) % padded_height, (shifted_x + shift) % padded_width
    region = 2 * (shifted_y >= padded_height - shift).to(tl.int32) + (shifted_x >= padded_width - shift).to(tl.int32)
    return y, x, region, (index < window * window) & (y < height) & (x < width)


@triton.jit
def load(x, guidance, y, column, there, channels, y_stride, x_stride, width, dim, d):
    """Tokens of one head as float32, plus their guidance where there is one; 0 where there is no token."""
    inside = there[:, None] & (channels[None, :] < d)
    value = tl.load(x + (y * y_stride + column * x_stride)[:, None] + channels[None, :], mask=inside, other=0.0)
    value = value.to(tl.float32)
    if guidance is not None:
        offsets = ((y * width + column) * dim)[:, None] + channels[None, :]
        value += tl.load(guidance + offsets, mask=inside, other=0.0).to(tl.float32)
    return value


@triton.jit
def attention_logits(q, k, q_region, k_region, k_there, scale, SEPARATED: tl.constexpr, PRECISION: tl.constexpr):
    """Scaled products of queries and keys with the mask between regions, float32."""
    logits = dot(q, tl.trans(k), None, PRECISION) * scale
    logits += tl.where(q_region[:, None] == k_region[None, :], 0.0, SEPARATED)
    return tl.where(k_there[None, :], logits, ABSENT)


@triton.jit
def forward_kernel(
    q, k, v, q_guidance, k_guidance, out, log_sums, q_map, q_y, q_x, k_map, k_y, k_x, v_map, v_y, v_x, maps_per_image,
    height, width, window, shift, heads, d, scale, blocks, SEPARATED: tl.constexpr, BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Attends. Grid (maps * windows * heads * blocks,); a program answers for one block of queries."""
    block, head, number, slice_, image = locate(
        tl.program_id(0), maps_per_image, height, width, window, shift, heads, blocks
    )
    channels, dim = tl.arange(0, BLOCK_D), heads * d
    q += slice_ * q_map + head * d
    k += slice_ * k_map + head * d
    v += slice_ * v_map + head * d
    if q_guidance is not None:
        q_guidance += image * height * width * dim + head * d
        k_guidance += image * height * width * dim + head * d
    y, x, q_region, q_there = place(block * BLOCK_L + tl.arange(0, BLOCK_L), number, height, width, window, shift)
    query = load(q, q_guidance, y, x, q_there, channels, q_y, q_x, width, dim, d)
    maximum = tl.full((BLOCK_L,), ABSENT, dtype=tl.float32)
    total = tl.zeros((BLOCK_L,), dtype=tl.float32)
    mixed = tl.zeros((BLOCK_L, BLOCK_D), dtype=tl.float32)
    for start in range(0, blocks * BLOCK_L, BLOCK_L):
        k_y_at, k_x_at, k_region, k_there = place(start + tl.arange(0, BLOCK_L), number, height, width, window, shift)
        key = load(k, k_guidance, k_y_at, k_x_at, k_there, channels, k_y, k_x, width, dim, d)
        value = load(v, None, k_y_at, k_x_at, k_there, channels, v_y, v_x, width, dim, d)
        logits = attention_logits(query, key, q_region, k_region, k_there, scale, SEPARATED, PRECISION)
        # A block without any token gives weights of 1 here, which the next maximum scales to 0: a token sees itself.
        higher = tl.maximum(maximum, tl.max(logits, axis=1))
        weights = tl.exp(logits - higher[:, None])
        shrink = tl.exp(maximum - higher)
        total = total * shrink + tl.sum(weights, axis=1)
        mixed = dot(weights, value, mixed * shrink[:, None], PRECISION)
        maximum = higher
    token = (slice_ * height + y) * width + x
    inside = q_there[:, None] & (channels[None, :] < d)
    mixed = (mixed / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + token[:, None] * dim + head * d + channels[None, :], mixed, mask=inside)
    tl.store(log_sums + token * heads + head, maximum + tl.log(total), mask=q_there)


@triton.jit
def query_backward_kernel(
    grad, q, k, v, q_guidance, k_guidance, out, log_sums, q_grad, shares, q_map, q_y, q_x, k_map, k_y, k_x, v_map, v_y,
    v_x, maps_per_image, height, width, window, shift, heads, d, scale, blocks, SEPARATED: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of q for one block of queries; also writes grad . out of each query, which the keys need next."""
    block, head, number, slice_, image = locate(
        tl.program_id(0), maps_per_image, height, width, window, shift, heads, blocks
    )
    channels, dim = tl.arange(0, BLOCK_D), heads * d
    q += slice_ * q_map + head * d
    k += slice_ * k_map + head * d
    v += slice_ * v_map + head * d
    if q_guidance is not None:
        q_guidance += image * height * width * dim + head * d
        k_guidance += image * height * width * dim + head * d
    dense = slice_ * height * width * dim + head * d
    y, x, q_region, q_there = place(block * BLOCK_L + tl.arange(0, BLOCK_L), number, height, width, window, shift)
    query = load(q, q_guidance, y, x, q_there, channels, q_y, q_x, width, dim, d)
    upstream = load(grad + dense, None, y, x, q_there, channels, width * dim, dim, width, dim, d)
    answer = load(out + dense, None, y, x, q_there, channels, width * dim, dim, width, dim, d)
    token = (slice_ * height + y) * width + x
    share = tl.sum(upstream * answer, axis=1)
    tl.store(shares + token * heads + head, share, mask=q_there)
    log_sum = tl.load(log_sums + token * heads + head, mask=q_there, other=float("inf"))
    gradient = tl.zeros((BLOCK_L, BLOCK_D), dtype=tl.float32)
    for start in range(0, blocks * BLOCK_L, BLOCK_L):
        k_y_at, k_x_at, k_region, k_there = place(start + tl.arange(0, BLOCK_L), number, height, width, window, shift)
        key = load(k, k_guidance, k_y_at, k_x_at, k_there, channels, k_y, k_x, width, dim, d)
        value = load(v, None, k_y_at, k_x_at, k_there, channels, v_y, v_x, width, dim, d)
        logits = attention_logits(query, key, q_region, k_region, k_there, scale, SEPARATED, PRECISION)
        weights = tl.exp(logits - log_sum[:, None])
        weights_grad = dot(upstream, tl.trans(value), None, PRECISION)
        logits_grad = weights * (weights_grad - share[:, None]) * scale
        gradient = dot(logits_grad, key, gradient, PRECISION)
    inside = q_there[:, None] & (channels[None, :] < d)
    tl.store(
        q_grad + token[:, None] * dim + head * d + channels[None, :], gradient.to(q_grad.dtype.element_ty), mask=inside
    )


@triton.jit
def key_backward_kernel(
    grad, q, k, v, q_guidance, k_guidance, log_sums, shares, k_grad, v_grad, q_map, q_y, q_x, k_map, k_y, k_x, v_map,
    v_y, v_x, maps_per_image, height, width, window, shift, heads, d, scale, blocks, SEPARATED: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of k and v for one block of keys."""
    block, head, number, slice_, image = locate(
        tl.program_id(0), maps_per_image, height, width, window, shift, heads, blocks
    )
    channels, dim = tl.arange(0, BLOCK_D), heads * d
    q += slice_ * q_map + head * d
    k += slice_ * k_map + head * d
    v += slice_ * v_map + head * d
    if q_guidance is not None:
        q_guidance += image * height * width * dim + head * d
        k_guidance += image * height * width * dim + head * d
    dense = slice_ * height * width * dim + head * d
    y, x, k_region, k_there = place(block * BLOCK_L + tl.arange(0, BLOCK_L), number, height, width, window, shift)
    key = load(k, k_guidance, y, x, k_there, channels, k_y, k_x, width, dim, d)
    value = load(v, None, y, x, k_there, channels, v_y, v_x, width, dim, d)
    key_gradient = tl.zeros((BLOCK_L, BLOCK_D), dtype=tl.float32)
    value_gradient = tl.zeros((BLOCK_L, BLOCK_D), dtype=tl.float32)
    for start in range(0, blocks * BLOCK_L, BLOCK_L):
        q_y_at, q_x_at, q_region, q_there = place(start + tl.arange(0, BLOCK_L), number, height, width, window, shift)
        query = load(q, q_guidance, q_y_at, q_x_at, q_there, channels, q_y, q_x, width, dim, d)
        upstream = load(grad + dense, None, q_y_at, q_x_at, q_there, channels, width * dim, dim, width, dim, d)
        row = ((slice_ * height + q_y_at) * width + q_x_at) * heads + head
        log_sum = tl.load(log_sums + row, mask=q_there, other=float("inf"))  # weights of an absent query become 0
        share = tl.load(shares + row, mask=q_there, other=0.0)
        logits = attention_logits(query, key, q_region, k_region, k_there, scale, SEPARATED, PRECISION)
        weights = tl.exp(logits - log_sum[:, None])
        value_gradient = dot(tl.trans(weights), upstream, value_gradient, PRECISION)
        weights_grad = dot(upstream, tl.trans(value), None, PRECISION)
        logits_grad = weights * (weights_grad - share[:, None]) * scale
        key_gradient = dot(tl.trans(logits_grad), query, key_gradient, PRECISION)
    offsets = (((slice_ * height + y) * width + x) * dim + head * d)[:, None] + channels[None, :]
    inside = k_there[:, None] & (channels[None, :] < d)
    tl.store(k_grad + offsets, key_gradient.to(k_grad.dtype.element_ty), mask=inside)
    tl.store(v_grad + offsets, value_gradient.to(v_grad.dtype.element_ty), mask=inside)


class Launch:
    """Sizes and constants that the three kernels of one call share.

    Blocks of 32 tokens waste a tenth of a window of 144; blocks of 64 waste a quarter and spill in float32. One stage
    instead of Triton's three halves the registers in float32, so twice as many warps hide the latency of the loads
    (`benchmarks/kernel_resources.py`).
    """

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, images: int, heads: int, window: int, shift: int):
        maps, height, width, dim = q.shape
        block = 32 if window * window > 16 else 16  # `tl.dot` asks for 16
        blocks = -(-window * window // block)
        self.grid = (maps * -(-height // window) * -(-width // window) * heads * blocks,)
        d = dim // heads
        self.sizes = [
            *(x.stride(axis) for x in (q, k, v) for axis in (0, 1, 2)),
            maps // images,
            height,
            width,
            window,
            shift,
            heads,
            d,
            d**-0.5,
            blocks,
        ]
        self.constants = {
            "SEPARATED": SEPARATED,
            "BLOCK_L": block,
            "BLOCK_D": max(16, triton.next_power_of_2(d)),
            "PRECISION": dot_precision(q.dtype),
            "num_stages": 1,
        }


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_guidance: Tensor | None,
    k_guidance: Tensor | None,
    heads: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]:
    """Launches `forward_kernel`; arguments as in `api.window_attention`, shapes already checked.

    Returns:
        (B, H, W, D) and the logarithmic sum of each query's weights, (B, H, W, heads) float32.
    """
    q, k, v = map(rows_of, (q, k, v))
    guidance = [None if x is None else x.contiguous() for x in (q_guidance, k_guidance)]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    log_sums = torch.empty(*q.shape[:-1], heads, dtype=torch.float32, device=q.device)
    launch = Launch(q, k, v, len(q) if q_guidance is None else len(q_guidance), heads, window, shift)
    with torch.cuda.device_of(q):
        forward_kernel[launch.grid](q, k, v, *guidance, out, log_sums, *launch.sizes, **launch.constants)
    return out, log_sums


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_guidance: Tensor | None,
    k_guidance: Tensor | None,
    out: Tensor,
    log_sums: Tensor,
    heads: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Launches both backward kernels; `grad` is that of the answer, the others are arguments and answers of `forward`.

    Returns:
        Gradients of q, k and v (contiguous).
    """
    q, k, v = map(rows_of, (q, k, v))
    grad, out = grad.contiguous(), out.contiguous()
    guidance = [None if x is None else x.contiguous() for x in (q_guidance, k_guidance)]
    q_grad, k_grad, v_grad = (torch.empty(q.shape, dtype=q.dtype, device=q.device) for _ in range(3))
    shares = torch.empty_like(log_sums)
    launch = Launch(q, k, v, len(q) if q_guidance is None else len(q_guidance), heads, window, shift)
    with torch.cuda.device_of(q):
        query_backward_kernel[launch.grid](
            grad, q, k, v, *guidance, out, log_sums, q_grad, shares, *launch.sizes, **launch.constants
        )
        key_backward_kernel[launch.grid](
            grad, q, k, v, *guidance, log_sums, shares, k_grad, v_grad, *launch.sizes, **launch.constants
        )
    return q_grad, k_grad, v_grad
