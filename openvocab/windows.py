"""Sliding-window evaluation as pure functions (CAT-Seg's protocol: overlapping windows and one global view).

Shape letters: T classes, V views (windows in row-major order, then the global view), h x w image pixels,
S pixels of the square that the windows are cut from, K pixels of a window.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from openvocab.tracing import surely_equal

PIXELS_PER_CHUNK = 2**21  # of class maps that are upsampled at a time: 8 MB in float32


def window_origins(size: int, kernel: int, stride: int) -> list[int]:
    """Places windows along one axis.

    Args:
        size: pixels of the axis.
        kernel: pixels of a window.
        stride: pixels between windows; the last one is moved back where it would reach over the edge.

    Returns:
        First pixel of each window; together the windows cover the axis.

    Raises:
        ValueError: the window is longer than the axis, or the stride leaves gaps or is not positive.
    """
    if not 0 < kernel <= size:
        raise ValueError(f"kernel: got {kernel}, expected 1..{size} (TEST.SLIDING_WINDOW.KERNEL at most SIZE)")
    if not 0 < stride <= kernel:
        raise ValueError(f"stride: got {stride}, expected 1..{kernel} (TEST.SLIDING_WINDOW.STRIDE at most KERNEL)")
    return [min(start, size - kernel) for start in range(0, size - kernel + stride, stride)]


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes maps bilinearly without antialias.

    Args:
        maps: (n, c, h, w), floating point.
        size: height and width in pixels.

    Returns:
        (n, c, *size).
    """
    if surely_equal(maps.shape[-2:], size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def make_views(image: Tensor, size: int, kernel: int, stride: int) -> Tensor:
    """Cuts an image into windows and adds the global view.

    Args:
        image: (3, h, w), floating point.
        size: S; the image is resized to S x S before it is cut, its aspect ratio is not kept.
        kernel: K.
        stride: pixels between windows.

    Returns:
        (V, 3, K, K): the windows, then the image itself (not its S x S version) resized to K x K.

    Raises:
        ValueError: as `window_origins`.
    """
    origins = window_origins(size, kernel, stride)
    square = resize(image[None], (size, size))[0]
    windows = [square[:, y : y + kernel, x : x + kernel] for y in origins for x in origins]
    return torch.stack([*windows, resize(image[None], (kernel, kernel))[0]])


def merge_windows(windows: Sequence[Tensor | None], like: Tensor, size: int, stride: int) -> Tensor:
    """Puts windows back in place and averages them where they overlap.

    Args:
        windows: V - 1 of (T, K, K) in row-major order; None stands for zeros.
        like: (T, K, K), for shape and dtype.
        size: S.
        stride: pixels between windows.

    Returns:
        (T, S, S).

    Raises:
        ValueError: the number of windows does not fit `size` and `stride`.
    """
    kernel = like.shape[-1]
    origins = window_origins(size, kernel, stride)
    if len(windows) != len(origins) ** 2:
        raise ValueError(
            f"windows: got {len(windows)}, expected {len(origins) ** 2} for size {size}, kernel {kernel}, "
            f"stride {stride}"
        )
    total = like.new_zeros(like.shape[0], size, size)
    for window, (y, x) in zip(windows, ((y, x) for y in origins for x in origins)):
        if window is not None:
            total[:, y : y + kernel, x : x + kernel] += window
    along = like.new_zeros(size)  # how many windows cover a pixel is a product of both axes
    for start in origins:
        along[start : start + kernel] += 1
    return total.div_(along[:, None] * along)


def merge_views(views: Sequence[Tensor | None], size: int, stride: int) -> Tensor:
    """Merges the maps of all views: mean of the merged windows and the upsampled global view.

    Args:
        views: V of (T, K, K), probabilities; None stands for zeros, not for all of them.
        size: S.
        stride: pixels between windows.

    Returns:
        (T, S, S).

    Raises:
        ValueError: as `merge_windows`.
    """
    *windows, whole = views
    total = merge_windows(windows, next(view for view in views if view is not None), size, stride)
    return (total if whole is None else total.add_(resize(whole[None], (size, size))[0])).div_(2)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pads an image with zeros at the bottom and the right.

    Args:
        image: (3, h, w).
        multiple: pixels; 0 or 1 pads nothing.

    Returns:
        (3, h', w') with both sides multiples of `multiple`.
    """
    if multiple <= 1:
        return image
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple))


def resized_parts(maps: Tensor, size: tuple[int, int], pixels: int | None = None) -> Iterator[tuple[int, Tensor]]:
    """Resizes maps a few at a time, so that all resized ones never exist at once.

    Args:
        maps: (T, h', w'), floating point.
        size: height and width in pixels.
        pixels: of a part at most, one map at least; default: `PIXELS_PER_CHUNK`.

    Yields:
        The number of the first map of a part, and the part, (n, *size).
    """
    step = max(1, (pixels or PIXELS_PER_CHUNK) // (size[0] * size[1]))
    for start in range(0, len(maps), step):
        yield start, resize(maps[None, start : start + step], size)[0]


def best_per_class(maps: Tensor, classes: tuple[int, ...] | None, count: int) -> Tensor:
    """Gives each class the largest value of its channels.

    Args:
        maps: (T, h, w).
        classes: class of each channel, or None where channel i is class i.
        count: number of classes.

    Returns:
        (count, h, w); a class without a channel is 0.
    """
    if classes is None:
        return maps
    best = maps.new_zeros(count, *maps.shape[1:])
    for channel, index in zip(maps, classes, strict=True):
        torch.maximum(best[index], channel, out=best[index])
    return best


def best_channel(maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upsamples maps and takes the best channel per pixel, without holding all upsampled maps at once.

    Args:
        maps: (T, h', w'), floating point.
        size: height and width of the answer in pixels.

    Returns:
        Channel per pixel, (*size) int64 (of equal ones the first, on a CPU), and its value, (*size), dtype of `maps`.
    """
    channel = maps.new_zeros(tuple(size), dtype=torch.int64)
    best = maps.new_full(tuple(size), float("-inf"))
    for start, part in resized_parts(maps, size):
        keep_best(part, start, channel, best)
    return channel, best


def keep_best(maps: Tensor, first: int, channel: Tensor, best: Tensor) -> None:
    """Goes on with a search for the best channel, in place.

    On a CPU channel by channel, which is several times faster there than `max` over the first dimension; elsewhere all
    at once, as every launch costs more than the arithmetic. A NaN stays.

    Args:
        maps: (n, h, w), the next channels.
        first: number of the first one.
        channel: (h, w) int64, so far.
        best: (h, w), its value.
    """
    if maps.device.type != "cpu":
        keep_best_at_once(maps, first, channel, best)
        return
    for number, values in enumerate(maps, start=first):
        channel.masked_fill_(values > best, number)
        torch.maximum(best, values, out=best)


def keep_best_at_once(maps: Tensor, first: int, channel: Tensor, best: Tensor) -> None:
    """Does what `keep_best` does in four launches for any number of channels; arguments as there."""
    values, number = maps.max(dim=0)
    torch.where(values > best, number.add_(first), channel, out=channel)
    torch.maximum(best, values, out=best)


def best_by_softmax(chunks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Takes the best channel per pixel and its softmax over all channels, from logits that come a few at a time.

    Args:
        chunks: (n, h, w) each, floating point; together T channels, at least one.

    Returns:
        Channel per pixel, (h, w) int64 (of equal ones the first), and its probability, (h, w).
    """
    best = channel = total = None
    start = 0
    for logits in chunks:
        if best is None:
            best = torch.full_like(logits[0], float("-inf"))
            channel, total = torch.zeros_like(best, dtype=torch.int64), torch.zeros_like(best)
        before = best.clone()
        keep_best(logits, start, channel, best)
        total.mul_(before.sub_(best).exp_()).add_((logits - best).exp_().sum(dim=0))
        start += len(logits)
    return channel, total.reciprocal_()
