"""Class attention as Triton kernels: one program per image, location and head.

A program keeps its d x d sum over the classes in registers, so nothing of size locations x d x d is ever written. The
backward pass sums again instead of reading stored sums, which would be as large as the keys of d classes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openvocab.kernels.class_attention.reference import EPSILON
from openvocab.kernels.triton import dot, dot_precision, rows_of


@triton.jit
def feature_map(x):
    """elu(x) + 1; -inf, which stands for "not there", becomes 0."""
    return tl.where(x > 0, x + 1, tl.exp(tl.minimum(x, 0.0)))


@triton.jit
def slope(phi):
    """Derivative of the feature map, from its value."""
    return tl.minimum(phi, 1.0)


@triton.jit
def load(x, rows, columns, stride, count, d, other):
    """Rows (classes) of one head as float32; outside of `count` x `d` the value `other`."""
    inside = (rows[:, None] < count) & (columns[None, :] < d)
    return tl.load(x + rows[:, None].to(tl.int64) * stride + columns[None, :], mask=inside, other=other).to(tl.float32)


@triton.jit
def store(x, value, rows, columns, stride, count, d):
    """Reverses `load`."""
    inside = (rows[:, None] < count) & (columns[None, :] < d)
    tl.store(x + rows[:, None].to(tl.int64) * stride + columns[None, :], value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def load_padding(key_padding, value_padding, columns, d):
    """The padding's phi(key) and value, (BLOCK_D,) float32."""
    key = tl.load(key_padding + columns, mask=columns < d, other=float("-inf")).to(tl.float32)
    return feature_map(key), tl.load(value_padding + columns, mask=columns < d, other=0.0).to(tl.float32)


@triton.jit
def sum_over_classes(
    k,
    v,
    key_padding,
    value_padding,
    k_stride,
    v_stride,
    classes,
    copies,
    d,
    columns,
    BLOCK_T: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Sum of phi(k) v^T and of phi(k) over the classes and the copies of the padding."""
    k_pad, v_pad = load_padding(key_padding, value_padding, columns, d)
    keys_values = copies * (k_pad[:, None] * v_pad[None, :])
    keys = copies * k_pad
    for start in range(0, classes, BLOCK_T):
        rows = start + tl.arange(0, BLOCK_T)
        phi = feature_map(load(k, rows, columns, k_stride, classes, d, float("-inf")))
        value = load(v, rows, columns, v_stride, classes, d, 0.0)
        keys_values = dot(tl.trans(phi), value, keys_values, PRECISION)
        keys += tl.sum(phi, axis=0)
    return keys_values, keys


@triton.jit
def forward_kernel(
    q, k, v, key_padding, value_padding, out, q_image, q_class, q_place, k_image, k_class, k_place, v_image, v_class,
    v_place, classes, places, heads, d, copies, EPS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Attends. Grid (places * heads, images): the heads of a place, whose rows are neighbours, run side by side."""
    place, head, image = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1).to(tl.int64)
    columns = tl.arange(0, BLOCK_D)
    q += image * q_image + place * q_place + head * d
    k += image * k_image + place * k_place + head * d
    v += image * v_image + place * v_place + head * d
    out += (image * classes * places + place) * heads * d + head * d
    keys_values, keys = sum_over_classes(
        k,
        v,
        key_padding + head * d,
        value_padding + head * d,
        k_class,
        v_class,
        classes,
        copies,
        d,
        columns,
        BLOCK_T,
        PRECISION,
    )
    for start in range(0, classes, BLOCK_T):
        rows = start + tl.arange(0, BLOCK_T)
        phi = feature_map(load(q, rows, columns, q_class, classes, d, float("-inf")))
        mixed = dot(phi, keys_values, None, PRECISION)
        normaliser = tl.sum(phi * keys[None, :], axis=1) + EPS
        store(out, mixed / normaliser[:, None], rows, columns, places * heads * d, classes, d)


@triton.jit
def backward_kernel(
    grad, q, k, v, key_padding, value_padding, q_grad, k_grad, v_grad, key_padding_grad, value_padding_grad,
    g_image, g_class, g_place, q_image, q_class, q_place, k_image, k_class, k_place, v_image, v_class, v_place,
    classes, places, heads, d, copies, EPS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients. Grid as `forward_kernel`; the padding's gradients are written per place and summed afterwards."""
    place, head, image = tl.program_id(0) // heads, tl.program_id(0) % heads, tl.program_id(1).to(tl.int64)
    columns = tl.arange(0, BLOCK_D)
    grad += image * g_image + place * g_place + head * d
    q += image * q_image + place * q_place + head * d
    k += image * k_image + place * k_place + head * d
    v += image * v_image + place * v_place + head * d
    key_padding += head * d
    value_padding += head * d
    row = places * heads * d
    offset = (image * classes * places + place) * heads * d + head * d
    keys_values, keys = sum_over_classes(
        k, v, key_padding, value_padding, k_class, v_class, classes, copies, d, columns, BLOCK_T, PRECISION
    )
    # With out = mixed / n: the gradient of mixed is grad / n, that of n is -(grad . out) / n.
    keys_values_grad = tl.zeros((BLOCK_D, BLOCK_D), dtype=tl.float32)
    keys_grad = tl.zeros((BLOCK_D,), dtype=tl.float32)
    for start in range(0, classes, BLOCK_T):
        rows = start + tl.arange(0, BLOCK_T)
        phi = feature_map(load(q, rows, columns, q_class, classes, d, float("-inf")))
        upstream = load(grad, rows, columns, g_class, classes, d, 0.0)
        normaliser = tl.sum(phi * keys[None, :], axis=1) + EPS
        mixed = dot(phi, keys_values, None, PRECISION)
        mixed_grad = upstream / normaliser[:, None]
        normaliser_grad = -tl.sum(mixed_grad * mixed, axis=1) / normaliser
        phi_grad = dot(mixed_grad, tl.trans(keys_values), None, PRECISION)
        phi_grad += normaliser_grad[:, None] * keys[None, :]
        store(q_grad + offset, phi_grad * slope(phi), rows, columns, row, classes, d)
        keys_values_grad = dot(tl.trans(phi), mixed_grad, keys_values_grad, PRECISION)
        keys_grad += tl.sum(normaliser_grad[:, None] * phi, axis=0)
    for start in range(0, classes, BLOCK_T):
        rows = start + tl.arange(0, BLOCK_T)
        phi = feature_map(load(k, rows, columns, k_class, classes, d, float("-inf")))
        value = load(v, rows, columns, v_class, classes, d, 0.0)
        phi_grad = dot(value, tl.trans(keys_values_grad), None, PRECISION) + keys_grad[None, :]
        store(k_grad + offset, phi_grad * slope(phi), rows, columns, row, classes, d)
        store(v_grad + offset, dot(phi, keys_values_grad, None, PRECISION), rows, columns, row, classes, d)
    k_pad, v_pad = load_padding(key_padding, value_padding, columns, d)
    k_pad_grad = copies * (tl.sum(keys_values_grad * v_pad[None, :], axis=1) + keys_grad) * slope(k_pad)
    v_pad_grad = copies * tl.sum(keys_values_grad * k_pad[:, None], axis=0)
    partial = (image * places + place) * heads * d + head * d
    tl.store(key_padding_grad + partial + columns, k_pad_grad, mask=columns < d)
    tl.store(value_padding_grad + partial + columns, v_pad_grad, mask=columns < d)


def constants(d: int, dtype: torch.dtype) -> dict[str, int | float | str]:
    """Chooses the constants of a launch.

    32 classes per step and one stage instead of Triton's three: no spills, and twice as many warps fit in the forward
    pass to hide the latency of the loads (`benchmarks/kernel_resources.py`).
    """
    return {
        "BLOCK_T": 32,
        "BLOCK_D": max(16, triton.next_power_of_2(d)),  # `tl.dot` asks for powers of two from 16
        "PRECISION": dot_precision(dtype),
        "EPS": EPSILON,
        "num_stages": 1,
    }


def forward(
    q: Tensor, k: Tensor, v: Tensor, key_padding: Tensor, value_padding: Tensor, heads: int, copies: int
) -> Tensor:
    """Launches `forward_kernel`; arguments as in `api.class_attention`, shapes already checked."""
    images, classes, places, dim = q.shape
    q, k, v = map(rows_of, (q, k, v))
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    strides = [x.stride(axis) for x in (q, k, v) for axis in (0, 1, 2)]
    with torch.cuda.device_of(q):
        forward_kernel[places * heads, images](
            q,
            k,
            v,
            key_padding.contiguous(),
            value_padding.contiguous(),
            out,
            *strides,
            classes,
            places,
            heads,
            dim // heads,
            copies,
            **constants(dim // heads, q.dtype),
        )
    return out


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, key_padding: Tensor, value_padding: Tensor, heads: int, copies: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Launches `backward_kernel`; `grad` is that of the answer, the other arguments are those of `forward`.

    Returns:
        Gradients of q, k, v (contiguous), key_padding and value_padding.
    """
    images, classes, places, dim = q.shape
    grad, q, k, v = map(rows_of, (grad, q, k, v))
    q_grad, k_grad, v_grad = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    partial = torch.empty(2, images * places, dim, dtype=torch.float32, device=q.device)
    strides = [x.stride(axis) for x in (grad, q, k, v) for axis in (0, 1, 2)]
    with torch.cuda.device_of(q):
        backward_kernel[places * heads, images](
            grad,
            q,
            k,
            v,
            key_padding.contiguous(),
            value_padding.contiguous(),
            q_grad,
            k_grad,
            v_grad,
            partial[0],
            partial[1],
            *strides,
            classes,
            places,
            heads,
            dim // heads,
            copies,
            **constants(dim // heads, q.dtype),
        )
    key_padding_grad = partial[0].sum(dim=0).to(key_padding.dtype)
    return q_grad, k_grad, v_grad, key_padding_grad, partial[1].sum(dim=0).to(value_padding.dtype)
