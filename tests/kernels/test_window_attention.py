"""Window attention: the reference against brute force, the kernel against the reference."""

from functools import partial

import pytest
import torch
from kernel_checks import DEVICES, DTYPES, check_compiled, check_kernel

from openvocab.kernels.window_attention import window_attention
from openvocab.kernels.window_attention.api import window_attention_op

# Height, width, window, shift: with and without shift, no multiple of the window, a map smaller than the window.
LAYOUTS = [(4, 6, 2, 1), (5, 7, 3, 1), (5, 4, 3, 0), (3, 2, 4, 2)]


def brute_force(q, k, v, q_guidance, k_guidance, heads, window, shift):
    """Every token attends to those in its window that the shift has not carried around another edge than itself."""
    maps, height, width, dim = q.shape
    classes = maps // len(q_guidance)
    q = q + q_guidance.repeat_interleave(classes, dim=0)
    k = k + k_guidance.repeat_interleave(classes, dim=0)
    tokens = [(y, x) for y in range(height) for x in range(width)]

    def neighbourhood(y, x):
        padded = [side + -side % window for side in (height, width)]
        moved = [(place - shift) % side for place, side in zip((y, x), padded)]
        return [place // window for place in moved], y < shift, x < shift

    allowed = torch.tensor([[neighbourhood(*a) == neighbourhood(*b) for b in tokens] for a in tokens])
    q, k, v = (x.flatten(1, 2).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    logits = (q @ k.transpose(-1, -2) / (dim / heads) ** 0.5).masked_fill(~allowed, float("-inf"))
    return (logits.softmax(-1) @ v).transpose(1, 2).flatten(-2).unflatten(1, (height, width))


def draw(images, classes, height, width, dim, device="cpu", dtype=torch.float32):
    """A joint q, k, v product and both guidances, standard normal."""
    torch.manual_seed(0)
    joint = torch.randn(images * classes, height, width, 3 * dim, dtype=dtype)
    return [x.to(device) for x in (joint, *torch.randn(2, images, height, width, dim, dtype=dtype))]


def guided(joint, q_guidance, k_guidance, heads, window, shift, implementation):
    """The way it is used: q, k and v are views of one product, not contiguous."""
    return window_attention(*joint.chunk(3, dim=-1), heads, window, shift, q_guidance, k_guidance, implementation)


def plain(joint, heads, window, shift, implementation):
    """Without guidance."""
    return window_attention(*joint.chunk(3, dim=-1), heads, window, shift, implementation=implementation)


@pytest.mark.parametrize(("height", "width", "window", "shift"), [*LAYOUTS, (8, 8, 4, 2), (7, 10, 4, 3)])
def test_reference_by_brute_force(height, width, window, shift):
    joint, *guidance = draw(2, 3, height, width, 8, dtype=torch.float64)
    got = window_attention(*joint.chunk(3, dim=-1), 2, window, shift, *guidance)
    want = brute_force(*joint.chunk(3, dim=-1), *guidance, 2, window, shift)
    # float64: 1e-16 per operation; the mask of -100 lets e^-100 through.
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)


def test_gradients_of_the_reference():
    inputs = [x.requires_grad_() for x in draw(1, 2, 2, 3, 2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(partial(guided, heads=2, window=2, shift=1, implementation="eager"), inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("height", "width", "window", "shift"), LAYOUTS)
def test_kernel(device, height, width, window, shift):
    joint, *guidance = draw(2, 1, height, width, 6 if device == "cpu" else 128, device)
    check_kernel(partial(guided, heads=1, window=window, shift=shift), [joint, *guidance], torch.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel_dtypes(device, dtype):
    """Two slices per image and two blocks per window; on a GPU the sizes of CAT-Seg."""
    sizes, layout = (
        ((1, 2, 6, 5, 12), {"heads": 2, "window": 6, "shift": 3})
        if device == "cpu"
        else ((2, 150, 24, 24, 128), {"heads": 4, "window": 12, "shift": 6})
    )
    check_kernel(partial(guided, **layout), draw(*sizes, device), dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "classes", [1, 2, *(pytest.param(classes, marks=pytest.mark.slow) for classes in (255, 256, 257, 847))]
)
def test_kernel_classes(device, classes):
    """Slices are places of the grid only; many of them are slow in the interpreter."""
    sizes, window = ((1, classes, 2, 2, 3), 2) if device == "cpu" else ((1, classes, 24, 24, 128), 12)
    joint = draw(*sizes, device)[0]
    check_kernel(partial(plain, heads=1, window=window, shift=window // 2), [joint], torch.float32)


@pytest.mark.parametrize("device", DEVICES)
def test_large_logits(device):
    """A softmax without the running maximum overflows; the mask of -100 is felt where logits differ by more."""
    joint = draw(1, 1, 4, 2, 4, device)[0] * 20
    got, want = (
        plain(x, 1, 2, 1, implementation) for x, implementation in ((joint, "triton"), (joint.double(), "eager"))
    )
    # Logits of up to 2000 carry 2000 * 6e-8 = 1.2e-4 each, and so do the logarithms of weights.
    torch.testing.assert_close(got.double(), want, rtol=0, atol=2.4e-4 * float(joint.abs().max()))


@pytest.mark.parametrize("device", DEVICES)
def test_operator(device):
    joint, *guidance = draw(1, 2, 2, 2, 6, device)
    parts = [x.requires_grad_() for x in (*joint.chunk(3, dim=-1), *guidance)]
    torch.library.opcheck(window_attention_op, (*parts, 1, 2, 1))
    check_compiled(partial(guided, heads=1, window=2, shift=1, implementation="triton"), [joint, *guidance])


def test_errors_name_the_argument():
    joint, *guidance = draw(2, 2, 4, 4, 6)
    q, k, v = joint.chunk(3, dim=-1)
    for arguments, word in [
        ((q[0], k, v, 2, 2, 1), "q"), ((q, k[:2], v, 2, 2, 1), "k"), ((q, k, v.double(), 2, 2, 1), "v"),
        ((q, k, v, 4, 2, 1), "heads"), ((q, k, v, 2, 2, 2), "shift"), ((q, k, v, 2, 2, 1, guidance[0]), "k_guidance"),
        ((q, k, v, 2, 2, 1, guidance[0], guidance[1][:1]), "k_guidance"),
        ((q[:3], k[:3], v[:3], 2, 2, 1, *guidance), "q_guidance"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word}: got"):
            window_attention(*arguments)
