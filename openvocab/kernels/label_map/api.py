"""Label maps: checks, choice of the implementation, and the torch operators around the kernels. No gradients.

Shape letters: V views (windows in row-major order, then the global view), T classes, g x g pixels of a view's logits,
K pixels of a window, S pixels of the square that the windows are cut from.
"""

import torch
from torch import Tensor

from openvocab.kernels.dispatch import check_like, use_triton
from openvocab.kernels.label_map import reference
from openvocab.windows import window_origins


def blend_views(logits: Tensor, kernel: int, size: int, stride: int, implementation: str = "auto") -> Tensor:
    """Turns the logits of all views into one map of probabilities per class (CAT-Seg's protocol).

    Logits are upsampled to K x K; the sigmoids of the windows are averaged where they overlap; the mean of that and of
    the sigmoid of the global view, upsampled to S x S, is the answer. All resizing is bilinear.

    Args:
        logits: (V, T, g, g), floating point.
        kernel: K.
        size: S.
        stride: pixels between windows.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        (T, S, S), float32, or float64 where the logits are.

    Raises:
        ValueError: sizes that do not fit each other, or an implementation that cannot run.
    """
    _check_views(logits, kernel, size, stride)
    function = blend_views_op if use_triton(implementation, logits) else reference.blend_views
    return function(logits, kernel, size, stride)


def upsample_argmax(maps: Tensor, size: tuple[int, int], implementation: str = "auto") -> tuple[Tensor, Tensor]:
    """Upsamples maps bilinearly and takes the best class per pixel, without holding the upsampled maps.

    Args:
        maps: (T, h', w'), floating point, without NaN.
        size: height and width of the answer in pixels.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        Class per pixel, (*size) int64 (of equal ones the first), and its value, (*size), dtype of `maps`.

    Raises:
        ValueError: no class, or an implementation that cannot run.
    """
    if maps.dim() != 3 or not len(maps):
        raise ValueError(f"maps: got shape {tuple(maps.shape)}, expected (T, h', w') with at least one class")
    function = upsample_argmax_op if use_triton(implementation, maps) else reference.upsample_argmax
    return function(maps, *size)


def label_map(
    logits: Tensor,
    kernel: int,
    size: int,
    stride: int,
    output_size: tuple[int, int],
    index: Tensor | None = None,
    classes: int = 0,
    implementation: str = "auto",
) -> tuple[Tensor, Tensor]:
    """`upsample_argmax(blend_views(...), output_size)`, for a few classes at a time: T x S x S floats never exist.

    Args:
        logits: (V, T, g, g), floating point, without NaN.
        kernel: K.
        size: S.
        stride: pixels between windows.
        output_size: height and width of the answer in pixels.
        index: (V, T) int64, the classes that the channels of each view stand for, each once in a view; a class that a
            view does not have is improbable there. None: the channels are the classes in all views.
        classes: how many there are in all, where `index` is given.
        implementation: "auto", "eager" or "triton"; see `openvocab.kernels.dispatch.use_triton`.

    Returns:
        Class per pixel, (*output_size) int64 (of equal ones the first; in the reference on a CPU only to rounding, as
        PyTorch's interpolation rounds a last chunk of few classes differently), and its probability, (*output_size)
        float32, or float64 where the logits are.

    Raises:
        ValueError: sizes that do not fit each other, no class, or an implementation that cannot run.
    """
    _check_views(logits, kernel, size, stride)
    if index is not None:
        check_like("index", index, logits.shape[:2], logits)
        if classes < index.shape[1]:
            raise ValueError(f"classes: got {classes}, expected at least the {index.shape[1]} channels of a view")
    if not use_triton(implementation, logits):
        return reference.label_map(logits, kernel, size, stride, *output_size, index, classes)
    if index is None:
        return label_map_op(logits, kernel, size, stride, *output_size)
    everything, numbers = reference.spread(logits, index, classes)
    labels, scores = label_map_op(everything, kernel, size, stride, *output_size)
    return numbers[labels], scores


def _check_views(logits: Tensor, kernel: int, size: int, stride: int) -> None:
    """Checks shapes and sizes."""
    views = len(window_origins(size, kernel, stride)) ** 2 + 1
    if logits.dim() != 4 or len(logits) != views or not logits.shape[1]:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, expected ({views}, T, g, g) with at least one class"
            f" for size {size}, kernel {kernel}, stride {stride}"
        )


@torch.library.custom_op("openvocab::blend_views", mutates_args=())
def blend_views_op(logits: Tensor, kernel: int, size: int, stride: int) -> Tensor:
    """The kernel as torch operator; arguments as `blend_views`, unchecked."""
    from openvocab.kernels.label_map import triton as kernels

    return kernels.blend_views(logits, kernel, size, stride)


@torch.library.custom_op("openvocab::upsample_argmax", mutates_args=())
def upsample_argmax_op(maps: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The kernel as torch operator; arguments as `upsample_argmax`, unchecked."""
    from openvocab.kernels.label_map import triton as kernels

    return kernels.upsample_argmax(maps, height, width)


@torch.library.custom_op("openvocab::label_map", mutates_args=())
def label_map_op(logits: Tensor, kernel: int, size: int, stride: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Both kernels by chunks as one torch operator; arguments as `label_map`, unchecked."""
    from openvocab.kernels.label_map import triton as kernels

    return kernels.label_map(logits, kernel, size, stride, height, width)


@blend_views_op.register_fake
def _(logits, kernel, size, stride):
    return logits.new_empty((logits.shape[1], size, size), dtype=torch.float32)


@upsample_argmax_op.register_fake
def _(maps, height, width):
    return maps.new_empty((height, width), dtype=torch.int64), maps.new_empty((height, width))


@label_map_op.register_fake
def _(logits, kernel, size, stride, height, width):
    return tuple(logits.new_empty((height, width), dtype=dtype) for dtype in (torch.int64, torch.float32))
