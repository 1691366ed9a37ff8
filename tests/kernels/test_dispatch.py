"""Which implementation runs, and that asking for one by name never falls back."""

import pytest
import torch

from openvocab.kernels import dispatch


def test_auto_is_eager_on_a_cpu(monkeypatch):
    for value in ("0", "1"):  # the interpreter is for tests, nobody wants it by default
        monkeypatch.setenv("TRITON_INTERPRET", value)
        assert not dispatch.use_triton("auto", torch.zeros(1))
        assert not dispatch.use_triton("eager", torch.zeros(1))


def test_triton_by_name(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.use_triton("triton", torch.zeros(1))
    with pytest.raises(ValueError, match="implementation: got 'triton' with torch.float64"):
        dispatch.use_triton("triton", torch.zeros(1, dtype=torch.float64))
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(ValueError, match="implementation: got 'triton' on device cpu, expected CUDA"):
        dispatch.use_triton("triton", torch.zeros(1))
    monkeypatch.setattr(dispatch, "TRITON_INSTALLED", False)
    with pytest.raises(ValueError, match="triton is not installed"):
        dispatch.use_triton("triton", torch.zeros(1))


class OnCuda:
    """Looks like a tensor on a GPU to the choice."""

    is_cuda = True

    def __init__(self, dtype):
        self.dtype = dtype


def test_auto_on_cuda(monkeypatch):
    assert dispatch.use_triton("auto", OnCuda(torch.bfloat16))
    assert not dispatch.use_triton("auto", OnCuda(torch.float64))
    monkeypatch.setattr(dispatch, "TRITON_INSTALLED", False)
    assert not dispatch.use_triton("auto", OnCuda(torch.bfloat16))


def test_unknown_implementation():
    with pytest.raises(ValueError, match="implementation: got 'cuda', expected one of"):
        dispatch.use_triton("cuda", torch.zeros(1))


@pytest.mark.skipif(not dispatch.TRITON_INSTALLED, reason="needs triton")
def test_the_interpreter_is_quick(quick_interpreter):
    assert quick_interpreter, "Triton has renamed the functions that tests/interpreter.py replaces"


def test_another_device():
    with pytest.raises(ValueError, match="k: got device meta, expected cpu"):
        dispatch.check_like("k", torch.zeros(1, device="meta"), (1,), torch.zeros(1))
