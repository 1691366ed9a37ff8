"""GroupNorm + ReLU: the reference by hand, the kernel against the reference."""

from functools import partial

import pytest
import torch
from kernel_checks import DEVICES, DTYPES, check_compiled, check_kernel

from openvocab.kernels.group_norm_relu import group_norm_relu
from openvocab.kernels.group_norm_relu.api import group_norm_relu_op


def draw(images, classes, channels, height, width, device="cpu", dtype=torch.float32):
    """Maps, weight and bias, and the summand; means far from 0, so that a one-pass variance would suffer."""
    torch.manual_seed(0)
    x = torch.randn(images * classes, channels, height, width, dtype=dtype) + 3
    shared = torch.randn(images, channels, height, width, dtype=dtype)
    return [y.to(device) for y in (x, *torch.randn(2, channels, dtype=dtype), shared)]


def with_shared(x, weight, bias, shared, groups, implementation):
    return group_norm_relu(x, weight, bias, groups, shared, implementation=implementation)


def before_relu(x, weight, bias, shared=None, groups=1):
    """The ReLU's arguments, as a share of the largest summand that they come from: x or shared over the deviation."""
    added = x if shared is None else (x.unflatten(0, (len(shared), -1)) + shared[:, None]).flatten(0, 1)
    largest = max(float(y.abs().max()) for y in (x, shared) if y is not None)
    spread = added.unflatten(1, (groups, -1)).flatten(2).std(dim=-1).amin()
    scale = weight.abs()[:, None, None] * largest / spread + bias.abs()[:, None, None]
    return torch.nn.functional.group_norm(added, groups, weight, bias) / scale


@pytest.mark.parametrize("implementation", ["eager", "triton"])
def test_by_hand(implementation):
    """Two groups of one channel: 1 and 3 become -1 and 1, then weight 2 and bias 1; 5 and 5 have no variance."""
    x = torch.tensor([[[[1.0, 2.0]], [[4.0, 4.0]]]])
    shared = torch.tensor([[[[0.0, 1.0]], [[1.0, 1.0]]]])
    got = group_norm_relu(x, torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.5]), 2, shared, 0.0625, implementation)
    value = 1 + 2 / 1.0625**0.5  # variance 1, epsilon 1 / 16
    torch.testing.assert_close(got.flatten(), torch.tensor([0.0, value, 0.5, 0.5]), rtol=1e-6, atol=0)


def test_gradients_of_the_reference():
    inputs = [x.requires_grad_() for x in draw(1, 2, 2, 1, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(partial(with_shared, groups=1, implementation="eager"), inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_kernel(device, dtype):
    """Two images with two slices each, pixels that fill no block, channels that share a group."""
    sizes, groups = ((2, 2, 6, 13, 11), 2) if device == "cpu" else ((2, 150, 64, 48, 48), 4)
    check_kernel(partial(with_shared, groups=groups), draw(*sizes, device), dtype, partial(before_relu, groups=groups))


@pytest.mark.parametrize("device", DEVICES)
def test_several_steps_per_channel(device):
    """The decoder's second stage has 96 x 96 = 9 x 1024 pixels, so the interpreter sees more than one step as well."""
    x, weight, bias, _ = draw(1, 1, 2, 30, 41, device)

    def without_shared(x, weight, bias, implementation):
        return group_norm_relu(x, weight, bias, 1, implementation=implementation)

    check_kernel(without_shared, [x, weight, bias], torch.float32, before_relu)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "classes", [1, 2, *(pytest.param(classes, marks=pytest.mark.slow) for classes in (255, 256, 257, 847))]
)
def test_kernel_classes(device, classes):
    """Slices are places of the grid only; many of them are slow in the interpreter.

    Groups of 32 elements: among many groups of three, some have hardly any variance, and gradients full of rounding.
    """
    sizes, groups = ((1, classes, 1, 4, 8), 1) if device == "cpu" else ((1, classes, 32, 96, 96), 2)
    check_kernel(
        partial(with_shared, groups=groups), draw(*sizes, device), torch.float32, partial(before_relu, groups=groups)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_large_mean(device):
    """Sums of x and x^2 in float32 would leave nothing of a variance of 1 beside a mean of 1e4."""
    x, weight, bias, _ = draw(1, 1, 2, 8, 16, device)
    got, want = (
        group_norm_relu(y + 1e4, weight.to(y), bias.to(y), 1, implementation=implementation)
        for y, implementation in ((x, "triton"), (x.double(), "eager"))
    )
    # The input itself carries 1e4 * 6e-8 = 6e-4 per element, against deviations of 1.
    torch.testing.assert_close(got.double(), want, rtol=0, atol=3e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_memory_in_another_order(device):
    x, weight, bias, shared = draw(1, 2, 4, 3, 5, device)
    got, want = (
        with_shared(y, weight, bias, shared, 2, "triton") for y in (x.to(memory_format=torch.channels_last), x)
    )
    assert torch.equal(got, want)


@pytest.mark.parametrize("device", DEVICES)
def test_operator(device):
    x, weight, bias, shared = [y.requires_grad_() for y in draw(1, 2, 2, 2, 3, device)]
    torch.library.opcheck(group_norm_relu_op, (x, weight, bias, 1, shared, 1e-5))
    check_compiled(partial(with_shared, groups=1, implementation="triton"), [x, weight, bias, shared])


def test_errors_name_the_argument():
    x, weight, bias, shared = draw(2, 2, 4, 3, 5)
    for arguments, word in [
        ((x[0], weight, bias, 2), "x"), ((x, weight, bias, 3), "groups"), ((x, weight[:2], bias, 2), "weight"),
        ((x, weight, bias[:2], 2), "bias"), ((x, weight, bias, 2, shared[:, :2]), "shared"),
        ((x[:3], weight, bias, 2, shared), "shared"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word}: got"):
            group_norm_relu(*arguments)
