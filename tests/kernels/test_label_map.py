"""Label maps: the kernels against the functions of the sliding window, which are the reference."""

import pytest
import torch
from kernel_checks import DEVICES, DTYPES

from openvocab.kernels.dispatch import interpreted
from openvocab.kernels.label_map import blend_views, label_map, upsample_argmax
from openvocab.kernels.label_map.api import blend_views_op, label_map_op, upsample_argmax_op
from openvocab.testing import KERNEL_BUDGET

# Logits, window, square, stride: an odd resize; windows of which the last is moved back; logits that are not resized.
LAYOUTS = [(5, 12, 19, 8), (4, 10, 13, 2), (8, 8, 12, 4)]
REAL = (96, 384, 640, 256)  # CAT-Seg


def draw(classes, layout, device, dtype=torch.float32):
    """Logits of all views, up to about 12."""
    grid, kernel, size, stride = layout
    views = len(range(0, size - kernel + stride, stride)) ** 2 + 1
    torch.manual_seed(0)
    return (4 * torch.randn(views, classes, grid, grid)).to(device, dtype)


def check_labels(got, maps, size):
    """Labels may differ from the best of the exact maps only where two classes are that close."""
    exact = torch.nn.functional.interpolate(maps[None].double(), size=size, mode="bilinear")[0]
    budget = KERNEL_BUDGET * float(exact.abs().max())
    labels, scores = got
    assert float((scores.double() - exact.max(dim=0).values).abs().max()) <= budget
    assert float((exact.gather(0, labels[None])[0] - scores.double()).abs().max()) <= budget


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blend_views(device, dtype, layout):
    layout = layout if device == "cpu" else REAL
    logits = draw(2, layout, device, dtype)
    got = blend_views(logits, *layout[1:], implementation="triton")
    assert got.dtype == torch.float32
    exact = blend_views(logits.double(), *layout[1:], implementation="eager")
    # Interpolated logits of 12 carry 12 * 6e-8 * 2, of which a sigmoid keeps a quarter: within the budget. Where the
    # factor is no power of two, a source coordinate of up to 96 carries 96 * 6e-8, which the difference of neighbours
    # multiplies; the reference in float32 has that error as well, so it counts twice, as in every kernel's rule.
    plain = blend_views(logits.float(), *layout[1:], implementation="eager")
    error, plain_error = (float((maps.double() - exact).abs().max()) for maps in (got, plain))
    assert error <= max(KERNEL_BUDGET, 2 * plain_error)


@pytest.mark.parametrize("device", DEVICES)
def test_a_constant_stays_constant(device):
    got = blend_views(torch.full((5, 1, 4, 4), -2.0, device=device), 8, 12, 4, implementation="triton")
    torch.testing.assert_close(got, torch.full_like(got, 0.11920292), rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [1, 2, 255, 256, 257, 847])
def test_upsample_argmax(device, classes):
    torch.manual_seed(0)
    side, size = (5, (7, 11)) if device == "cpu" else (640, (1500, 2000))
    maps = torch.rand(classes, side, side, device=device)
    if device == "cpu":
        check_labels(upsample_argmax(maps, size, "triton"), maps, size)
        return
    labels, scores = upsample_argmax(maps, size, "triton")  # all upsampled maps do not fit: the eager running maximum
    want, best = upsample_argmax(maps, size, "eager")
    assert float((scores - best).abs().max()) <= KERNEL_BUDGET
    assert float((labels != want).float().mean()) <= 1e-4  # where two classes are equal to rounding


@pytest.mark.parametrize("device", DEVICES)
def test_of_equal_classes_the_first(device):
    maps = torch.zeros(5, 4, 4, device=device)
    maps[2:] = 1
    labels, scores = upsample_argmax(maps, (6, 9), "triton")
    assert torch.equal(labels, torch.full_like(labels, 2)) and torch.equal(scores, torch.ones_like(scores))


@pytest.mark.parametrize("device", DEVICES)
def test_dtype_of_the_scores(device):
    """Half precision is compared in float32 and rounded at the end; the interpreter cuts bfloat16 instead."""
    maps = torch.rand(9, 5, 5, device=device).to(torch.bfloat16)
    labels, scores = upsample_argmax(maps, (7, 8), "triton")
    want, best = upsample_argmax(maps.float(), (7, 8), "triton")
    assert scores.dtype == torch.bfloat16 and torch.equal(labels, want)
    error = float(((scores.float() - best) / best).abs().max())
    assert error <= torch.finfo(torch.bfloat16).eps / (1 if interpreted() else 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("implementation", ["eager", "triton"])
@pytest.mark.parametrize("classes", [1, 17, *(pytest.param(n, marks=pytest.mark.slow) for n in (255, 256, 257, 847))])
def test_label_map(device, implementation, classes):
    """More classes than one chunk: the running maximum goes on."""
    layout, size = ((4, 8, 12, 4), (9, 14)) if device == "cpu" else (REAL, (480, 640))
    logits = draw(classes, layout, device)
    maps = blend_views(logits, *layout[1:], implementation="eager")
    got = label_map(logits, *layout[1:], size, implementation=implementation)
    assert got[0].dtype == torch.int64 and got[1].dtype == torch.float32
    if device == "cpu":
        check_labels(got, maps, size)
    else:
        assert float((got[0] != upsample_argmax(maps, size, "eager")[0]).float().mean()) <= 1e-4


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("implementation", ["eager", "triton"])
def test_label_map_of_views_with_classes_of_their_own(device, implementation):
    """A class that a view does not have counts as improbable there, also where no window or not the global view has
    it."""
    layout, size = (4, 8, 12, 4), (9, 14)
    logits = draw(3, layout, device)
    index = torch.tensor([[0, 2, 4], [4, 6, 0], [7, 0, 2], [0, 4, 2], [2, 4, 9]], device=device)
    everything = torch.full((5, 10, 4, 4), -100.0, device=device)
    everything.index_put_((torch.arange(5, device=device)[:, None], index), logits)
    got = label_map(logits, *layout[1:], size, index, 10, implementation)
    check_labels(got, blend_views(everything, *layout[1:], implementation="eager"), size)
    assert got[0].unique().numel() > 3


@pytest.mark.parametrize("device", DEVICES)
def test_label_map_of_equal_classes(device):
    """The first of equal classes also wins against those of later chunks."""
    labels, _ = label_map(torch.zeros(5, 17, 2, 2, device=device), 4, 6, 2, (5, 7), implementation="triton")
    assert torch.equal(labels, torch.zeros_like(labels))


@pytest.mark.parametrize("device", DEVICES)
def test_operators(device):
    logits = draw(3, (2, 4, 6, 2), device)
    maps = torch.rand(3, 4, 4, device=device)
    torch.library.opcheck(blend_views_op, (logits, 4, 6, 2))
    torch.library.opcheck(upsample_argmax_op, (maps, 5, 6))
    torch.library.opcheck(label_map_op, (logits, 4, 6, 2, 5, 6))
    torch._dynamo.reset()

    def labelled(x):
        return label_map(x, 4, 6, 2, (5, 6), implementation="triton")

    compiled = torch.compile(labelled, fullgraph=True, backend="aot_eager")
    for got, want in zip(compiled(logits), labelled(logits)):
        assert torch.equal(got, want)


def test_errors_name_the_argument():
    logits = torch.zeros(5, 2, 4, 4)
    for call, word in [
        (lambda: label_map(logits, 8, 12, 4, (9, 14), torch.zeros(5, 9)), "index"),
        (lambda: label_map(logits, 8, 12, 4, (9, 14), torch.zeros(5, 2), 1), "classes"),
        (lambda: blend_views(logits[:4], 8, 12, 4), "logits"), (lambda: blend_views(logits[:, :0], 8, 12, 4), "logits"),
        (lambda: label_map(logits, 13, 12, 4, (5, 6)), "kernel"),
        (lambda: label_map(logits, 8, 12, 9, (5, 6)), "stride"),
        (lambda: upsample_argmax(logits[0, :0], (5, 6)), "maps"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word}: got"):
            call()
