"""GroupNorm + ReLU: checks, choice of the implementation, and the torch operators around the kernels."""

import torch
from torch import Tensor

from openvocab.kernels.dispatch import check_like, use_triton
from openvocab.kernels.group_norm_relu import reference


def group_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    shared: Tensor | None = None,
    epsilon: float = 1e-5,
    implementation: str = "auto",
) -> Tensor:
    """Computes `relu(group_norm(x + shared) * weight + bias)`, the step after a convolution of the decoder.

    The kernel computes in float32 and keeps for the backward pass its inputs and two float32 per slice and group.
    Autocast changes nothing: the answer has the dtype of x, where `F.group_norm` would turn to float32. It has no
    second derivative.

    Args:
        x: (n, C, h, w), floating point; the class slices of an image follow each other. Copied where not contiguous.
        weight: (C,), any floating dtype.
        bias: (C,), any floating dtype.
        groups: divides C.
        shared: (images, C, h, w), added to every slice of an image; images divide n.
        epsilon: added to the variance.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        (n, C, h, w), dtype of x.

    Raises:
        ValueError: shapes or devices that do not fit, or an implementation that cannot run.
    """
    if x.dim() != 4:
        raise ValueError(f"x: got shape {tuple(x.shape)}, expected (n, C, h, w)")
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"groups: got {groups}, expected a divisor of the {x.shape[1]} channels")
    check_like("weight", weight, x.shape[1:2], x)
    check_like("bias", bias, x.shape[1:2], x)
    if shared is not None:
        check_like("shared", shared, (shared.shape[0], *x.shape[1:]), x)
        if x.shape[0] % shared.shape[0]:
            raise ValueError(f"shared: got {shared.shape[0]} images, expected a divisor of the {x.shape[0]} slices")
    if use_triton(implementation, x):
        return group_norm_relu_op(x, weight, bias, groups, shared, epsilon)[0]
    return reference.group_norm_relu(x, weight, bias, groups, shared, epsilon)


@torch.library.custom_op("openvocab::group_norm_relu", mutates_args=())
def group_norm_relu_op(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, shared: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel as torch operator, arguments unchecked: the answer, and mean and reciprocal deviation per group."""
    from openvocab.kernels.group_norm_relu import triton as kernels

    return kernels.forward(x, weight, bias, groups, shared, epsilon)


@torch.library.custom_op("openvocab::group_norm_relu_backward", mutates_args=())
def group_norm_relu_backward_op(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, groups: int, shared: Tensor | None, mean: Tensor,
    deviation: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The kernel's backward pass: gradients of x, weight and bias."""
    from openvocab.kernels.group_norm_relu import triton as kernels

    return kernels.backward(grad, x, weight, bias, groups, shared, mean, deviation)


@group_norm_relu_op.register_fake
def _(x, weight, bias, groups, shared, epsilon):
    statistics = [x.new_empty((len(x), groups), dtype=torch.float32) for _ in range(2)]
    return x.new_empty(x.shape), *statistics


@group_norm_relu_backward_op.register_fake
def _(grad, x, weight, bias, groups, shared, mean, deviation):
    return tuple(y.new_empty(y.shape) for y in (x, weight, bias))


def _save(ctx, inputs, output):
    x, weight, bias, ctx.groups, shared, _ = inputs
    ctx.save_for_backward(x, weight, bias, shared, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx, grad, *_):
    x, weight, bias, shared, mean, deviation = ctx.saved_tensors
    grads = group_norm_relu_backward_op(grad, x, weight, bias, ctx.groups, shared, mean, deviation)
    # The summand is added to every slice of an image, so its gradient is the sum over them.
    shared_grad = None if shared is None else grads[0].unflatten(0, (len(shared), -1)).sum(dim=1).to(shared.dtype)
    return *grads, None, shared_grad, None


group_norm_relu_op.register_autograd(_backward, setup_context=_save)
