"""Class attention: the reference against the plain formula, the kernel against the reference."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from kernel_checks import DEVICES, DTYPES, check_compiled, check_kernel

from openvocab.kernels.class_attention import class_attention
from openvocab.kernels.class_attention.api import class_attention_op


def plain(q, k, v, key_padding, value_padding, heads, copies):
    """With the padding written out and every pair of classes on its own."""
    images, classes, places, dim = q.shape
    k = torch.cat([k, key_padding.expand(images, copies, places, dim)], dim=1)
    v = torch.cat([v, value_padding.expand(images, copies, places, dim)], dim=1)
    q, k = F.elu(q) + 1, F.elu(k) + 1
    out = []
    for part in torch.arange(dim).chunk(heads):
        weights = torch.einsum("btld,bsld->blts", q[..., part], k[..., part])
        out.append(torch.einsum("blts,bsld->btld", weights / (weights.sum(-1, keepdim=True) + 1e-6), v[..., part]))
    return torch.cat(out, dim=-1)


def draw(images, classes, places, dim, device="cpu", dtype=torch.float32):
    """A joint q, k, v product and both paddings, standard normal."""
    torch.manual_seed(0)
    joint = torch.randn(images, classes, places, 3 * dim, dtype=dtype)
    return [x.to(device) for x in (joint, *torch.randn(2, dim, dtype=dtype))]


def joint_attention(joint, key_padding, value_padding, heads, copies, implementation):
    """The way it is used: q, k and v are views of one product, not contiguous."""
    return class_attention(*joint.chunk(3, dim=-1), key_padding, value_padding, heads, copies, implementation)


def test_by_hand():
    """One channel, where phi(0) = 1, phi(1) = 2, phi(-log 2) = 1 / 2, and a padding of key phi = 1, value 9, twice."""
    k, v = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([3.0, 6.0]).view(1, 2, 1, 1)
    q = torch.tensor([0.0, -0.6931472]).view(1, 2, 1, 1)
    out = class_attention(q, k, v, torch.zeros(1), torch.tensor([9.0]), heads=1, copies=2)
    # (2 * 3 + 1 * 6 + 2 * 9) / (2 + 1 + 2) = 6 whatever q is, as there is one channel; 1e-6 of 5 or of 2.5 more.
    torch.testing.assert_close(out.flatten(), torch.tensor([6.0, 6.0]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("copies", [0, 5])
def test_reference_against_the_plain_formula(copies):
    joint, *padding = draw(2, 7, 3, 12, dtype=torch.float64)
    got = class_attention(*joint.chunk(3, dim=-1), *padding, 2, copies)
    # float64: 1e-16 per operation, sums of 12 terms.
    torch.testing.assert_close(got, plain(*joint.chunk(3, dim=-1), *padding, 2, copies), rtol=1e-13, atol=1e-13)


def test_gradients_of_the_reference():
    inputs = [x.requires_grad_() for x in draw(1, 3, 2, 4, dtype=torch.float64)]
    assert torch.autograd.gradcheck(partial(joint_attention, heads=2, copies=3, implementation="eager"), inputs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("classes", [1, 2, 255, 256, 257, 847])
def test_kernel(device, classes):
    sizes = (1, classes, 2, 12) if device == "cpu" else (2, classes, 576, 128)
    heads = 2 if device == "cpu" else 4
    check_kernel(
        partial(joint_attention, heads=heads, copies=max(0, 256 - classes)), draw(*sizes, device), torch.float32
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("copies", [0, 200])
def test_kernel_dtypes(device, dtype, copies):
    """More than one image, and a number of classes that fills no block."""
    sizes = (2, 40, 1, 10) if device == "cpu" else (4, 40, 576, 128)
    check_kernel(partial(joint_attention, heads=2, copies=copies), draw(*sizes, device), dtype)


@pytest.mark.parametrize("device", DEVICES)
def test_channels_that_are_not_neighbours(device):
    """Inputs with another order in memory, and an upstream gradient without memory of its own (that of a sum)."""
    q, k, v = torch.randn(3, 1, 6, 8, 5, device=device).transpose(-1, -2).requires_grad_()
    padding = torch.randn(2, 8, device=device)
    grads = []
    for implementation in ("triton", "eager"):
        out = class_attention(q, k, v, *padding, 2, 3, implementation)
        grads.append(torch.autograd.grad(out.sum(), (q, k, v)))
    for got, want in zip(*grads):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * float(want.abs().max() + 1))


@pytest.mark.parametrize("device", DEVICES)
def test_operator(device):
    joint, *padding = draw(1, 3, 1, 6, device)
    parts = [x.requires_grad_() for x in (*joint.chunk(3, dim=-1), *padding)]
    torch.library.opcheck(class_attention_op, (*parts, 2, 5))
    check_compiled(partial(joint_attention, heads=2, copies=5, implementation="triton"), [joint, *padding])


def test_autocast_changes_nothing():
    joint, *padding = draw(1, 3, 1, 6)
    with torch.autocast("cpu", torch.bfloat16):
        got = joint_attention(joint, *padding, heads=2, copies=5, implementation="triton")
    assert torch.equal(got, joint_attention(joint, *padding, heads=2, copies=5, implementation="triton"))


def test_errors_name_the_argument():
    joint, *padding = draw(1, 3, 1, 6)
    q, k, v = joint.chunk(3, dim=-1)
    for arguments, word in [
        ((q[0], k, v, *padding, 2, 0), "q"), ((q, k[:, :2], v, *padding, 2, 0), "k"),
        ((q, k, v.double(), *padding, 2, 0), "v"), ((q, k, v, padding[0][:2], padding[1], 2, 0), "key_padding"),
        ((q, k, v, *padding, 4, 0), "heads"), ((q, k, v, *padding, 2, -1), "copies"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^{word}: got"):
            class_attention(*arguments)
