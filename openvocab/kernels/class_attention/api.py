"""Class attention: checks, choice of the implementation, and the torch operators around the kernel."""

import torch
from torch import Tensor

from openvocab.kernels.class_attention import reference
from openvocab.kernels.dispatch import check_heads, check_like, use_triton


def class_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_padding: Tensor,
    value_padding: Tensor,
    heads: int,
    copies: int,
    implementation: str = "auto",
) -> Tensor:
    """Linear attention over the classes of each location (arXiv 2303.11797, section 3.3).

    With phi = elu + 1, per image, location and head: `out_t = (phi(q_t) . S) / (phi(q_t) . z + 1e-6)`, where S is the
    sum of phi(k_s) v_s^T and z that of phi(k_s) over the classes s and over `copies` padding classes, which are alike.

    The kernel accumulates in float32 and keeps for the backward pass its inputs only, no sum. Autocast changes nothing:
    the answer has the dtype of q, as the linear layers before have left it. It has no second derivative.

    Args:
        q: (B, T, L, D) before the feature map, L locations; floating point. Any strides; nothing is copied while the
            channels are next to each other, so views of one (B, T, L, 3D) product are fine.
        k: likewise, same dtype.
        v: likewise, same dtype.
        key_padding: (D,) key of a padding class before the feature map.
        value_padding: (D,) its value.
        heads: divides D.
        copies: number of padding classes, 0 or more.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        (B, T, L, D), dtype of q.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an implementation that cannot run.
    """
    if q.dim() != 4:
        raise ValueError(f"q: got shape {tuple(q.shape)}, expected (B, T, L, D)")
    check_heads(heads, q.shape[-1])
    for name, x in (("k", k), ("v", v)):
        check_like(name, x, q.shape, q)
        if x.dtype != q.dtype:
            raise ValueError(f"{name}: got {x.dtype}, expected {q.dtype}")
    check_like("key_padding", key_padding, q.shape[-1:], q)
    check_like("value_padding", value_padding, q.shape[-1:], q)
    if copies < 0:
        raise ValueError(f"copies: got {copies}, expected 0 or more")
    function = class_attention_op if use_triton(implementation, q) else reference.class_attention
    return function(q, k, v, key_padding, value_padding, heads, copies)


@torch.library.custom_op("openvocab::class_attention", mutates_args=())
def class_attention_op(
    q: Tensor, k: Tensor, v: Tensor, key_padding: Tensor, value_padding: Tensor, heads: int, copies: int
) -> Tensor:
    """The kernel as torch operator; arguments as `class_attention`, unchecked."""
    from openvocab.kernels.class_attention import triton as kernels

    return kernels.forward(q, k, v, key_padding, value_padding, heads, copies)


@torch.library.custom_op("openvocab::class_attention_backward", mutates_args=())
def class_attention_backward_op(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, key_padding: Tensor, value_padding: Tensor, heads: int, copies: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernel's backward pass: gradients of the five tensors."""
    from openvocab.kernels.class_attention import triton as kernels

    return kernels.backward(grad, q, k, v, key_padding, value_padding, heads, copies)


@class_attention_op.register_fake
def _(q, k, v, key_padding, value_padding, heads, copies):
    return q.new_empty(q.shape)


@class_attention_backward_op.register_fake
def _(grad, q, k, v, key_padding, value_padding, heads, copies):
    return tuple(x.new_empty(x.shape) for x in (q, k, v, key_padding, value_padding))


def _save(ctx, inputs, output):
    *tensors, ctx.heads, ctx.copies = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    return *class_attention_backward_op(grad, *ctx.saved_tensors, ctx.heads, ctx.copies), None, None


class_attention_op.register_autograd(_backward, setup_context=_save)
