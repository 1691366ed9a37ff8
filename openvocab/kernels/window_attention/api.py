"""Window attention: checks, choice of the implementation, and the torch operators around the kernels."""

import torch
from torch import Tensor

from openvocab.kernels.dispatch import check_heads, check_like, use_triton
from openvocab.kernels.window_attention import reference


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    window: int,
    shift: int,
    q_guidance: Tensor | None = None,
    k_guidance: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Shifted-window attention on whole maps (Swin), with guidance (arXiv 2303.11797, section 3.3).

    Maps are shifted by `shift` against the windows and wrap around; tokens that only the wrapping brought into one
    window see each other with -100 on their logit. A map that is no multiple of the window is continued by tokens that
    nobody sees. The scale is 1 / sqrt(D / heads).

    The kernel accumulates in float32 and keeps for the backward pass its inputs, its answer and one float32 per token
    and head. Autocast changes nothing: the answer has the dtype of q, as the linear layers before have left it. It has
    no second derivative.

    Args:
        q: (B, H, W, D), B maps: the class slices of an image follow each other; floating point. Any strides; nothing is
            copied while the channels are next to each other, so views of one (B, H, W, 3D) product are fine.
        k: likewise, same dtype.
        v: likewise, same dtype.
        heads: divides D.
        window: side of a window in tokens.
        shift: in tokens, 0..window - 1.
        q_guidance: (images, H, W, D), added to q of every slice of an image; images divide B.
        k_guidance: likewise, added to k; both or neither.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        (B, H, W, D), dtype of q.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an implementation that cannot run.
    """
    if q.dim() != 4:
        raise ValueError(f"q: got shape {tuple(q.shape)}, expected (B, H, W, D)")
    check_heads(heads, q.shape[-1])
    for name, x in (("k", k), ("v", v)):
        check_like(name, x, q.shape, q)
        if x.dtype != q.dtype:
            raise ValueError(f"{name}: got {x.dtype}, expected {q.dtype}")
    if not 0 <= shift < window:
        raise ValueError(f"shift: got {shift}, expected 0..{window - 1} (window {window})")
    if (q_guidance is None) != (k_guidance is None):
        raise ValueError("k_guidance: got one of q_guidance and k_guidance, expected both or neither")
    if q_guidance is not None:
        check_like("q_guidance", q_guidance, (q_guidance.shape[0], *q.shape[1:]), q)
        check_like("k_guidance", k_guidance, q_guidance.shape, q)
        if q.shape[0] % q_guidance.shape[0]:
            raise ValueError(
                f"q_guidance: got {q_guidance.shape[0]} images, expected a divisor of the {q.shape[0]} maps"
            )
    if use_triton(implementation, q):
        return window_attention_op(q, k, v, q_guidance, k_guidance, heads, window, shift)[0]
    return reference.window_attention(q, k, v, q_guidance, k_guidance, heads, window, shift)


@torch.library.custom_op("openvocab::window_attention", mutates_args=())
def window_attention_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_guidance: Tensor | None,
    k_guidance: Tensor | None,
    heads: int,
    window: int,
    shift: int,
) -> tuple[Tensor, Tensor]:
    """The kernel as torch operator, arguments unchecked: the answer and the logarithmic sums for the backward pass."""
    from openvocab.kernels.window_attention import triton as kernels

    return kernels.forward(q, k, v, q_guidance, k_guidance, heads, window, shift)


@torch.library.custom_op("openvocab::window_attention_backward", mutates_args=())
def window_attention_backward_op(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, q_guidance: Tensor | None, k_guidance: Tensor | None, out: Tensor,
    log_sums: Tensor, heads: int, window: int, shift: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernels of the backward pass: gradients of q, k and v."""
    from openvocab.kernels.window_attention import triton as kernels

    return kernels.backward(grad, q, k, v, q_guidance, k_guidance, out, log_sums, heads, window, shift)


@window_attention_op.register_fake
def _(q, k, v, q_guidance, k_guidance, heads, window, shift):
    return q.new_empty(q.shape), q.new_empty((*q.shape[:-1], heads), dtype=torch.float32)


@window_attention_backward_op.register_fake
def _(grad, q, k, v, q_guidance, k_guidance, out, log_sums, heads, window, shift):
    return tuple(q.new_empty(q.shape) for _ in range(3))


def _save(ctx, inputs, output):
    *tensors, ctx.heads, ctx.window, ctx.shift = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad, _):
    tensors = ctx.saved_tensors
    grads = window_attention_backward_op(grad, *tensors, ctx.heads, ctx.window, ctx.shift)
    # Guidance is added to every slice of an image, so its gradient is the sum over them.
    shared = [
        None if guidance is None else own.unflatten(0, (len(guidance), -1)).sum(dim=1).to(guidance.dtype)
        for own, guidance in zip(grads, tensors[3:5])
    ]
    return *grads, *shared, None, None, None


window_attention_op.register_autograd(_backward, setup_context=_save)
