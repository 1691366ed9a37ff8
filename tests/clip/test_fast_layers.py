"""Fast layers against the plain ones; float64 takes the path of devices without packed products."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openvocab.clip.blocks import QuickGELU, SplitAttention, Transformer
from openvocab.clip.fast_layers import FastLinear, FastValues, attend, fast_copy, packs

ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}  # of max |value|, over a few layers


@pytest.fixture(autouse=True)
def inference():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def close(got, want):
    assert got.shape == want.shape
    assert float((got.double() - want.double()).abs().max() / want.double().abs().max()) < ROUNDING[got.dtype]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("activation", [None, nn.GELU(), nn.ReLU(), nn.SiLU()], ids=str)
@pytest.mark.parametrize("shape", [(1, 40), (3, 7, 40), (577, 40)])
def test_linear(dtype, activation, shape):
    x, weight, bias = torch.randn(shape).to(dtype), torch.randn(24, 40).to(dtype), torch.randn(24).to(dtype)
    for own in (bias, None):
        want = F.linear(x.double(), weight.double(), None if own is None else own.double())
        close(FastLinear(weight, own, activation)(x), want if activation is None else activation(want))


def test_strided_inputs():
    x, weight = torch.randn(4, 50, 80)[:, 3:30, ::2], torch.randn(24, 40)
    close(FastLinear(weight, None)(x), F.linear(x, weight))
    close(FastLinear(weight.T.contiguous().T, None)(x), F.linear(x, weight))


def test_what_is_packed():
    assert not packs(torch.zeros(2, 2, dtype=torch.float64)) and not packs(torch.zeros(2, 2, dtype=torch.float16))
    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert packs(torch.zeros(2, 2)), "PyTorch has renamed the operators that packs() looks for"


@pytest.mark.parametrize("activation", [nn.GELU(approximate="tanh"), nn.Tanh(), QuickGELU()], ids=str)
def test_other_activations_are_refused(activation):
    with pytest.raises(ValueError, match="^activation: got"):
        FastLinear(torch.zeros(2, 2), None, activation)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("quick_gelu", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_transformer(dtype, quick_gelu, causal):
    plain = Transformer(32, 2, 4, 64, quick_gelu)
    for parameter in plain.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(2, 9, 32)
    fast = fast_copy(plain, dtype, {part: FastValues(part, dtype) for part in plain.modules()
                                    if isinstance(part, SplitAttention)})  # fmt: skip
    plain.double()
    got, want = x.to(dtype), x.double()
    for ours, block in zip(fast.resblocks, plain.resblocks):
        got, want = ours(got, causal), block(want, causal)
    close(got, want)
    close(fast.resblocks[0].forward_dense(x.to(dtype)), plain.resblocks[0].forward_dense(x.double()))


@pytest.mark.parametrize("dtype", ROUNDING)
def test_attention(dtype):
    q, k, v = (torch.randn(6, 10, 3, 8).to(dtype).transpose(1, 2) for _ in range(3))
    close(attend(q, k, v), (q.double() @ k.double().transpose(-1, -2) / 8**0.5).softmax(-1) @ v.double())


def test_a_copy_leaves_its_source_alone():
    plain = nn.Sequential(nn.Linear(8, 16), QuickGELU(), nn.Linear(16, 8))
    before = copy.deepcopy(plain.state_dict())
    fast = fast_copy(plain, torch.bfloat16)
    assert not list(fast.parameters()) and not fast.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    x = torch.randn(5, 8)
    close(fast(x.bfloat16()), plain(x))


def test_parts_are_replaced_as_asked():
    plain = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    other = nn.Identity()
    fast = fast_copy(plain, torch.float32, {plain["a"]: other})
    assert fast["a"] is other and isinstance(fast["b"], FastLinear)
