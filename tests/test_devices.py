"""What a device computes natively, and what becomes of a precision that it can only emulate."""

import logging
from types import SimpleNamespace

import pytest
import torch

from openvocab import devices
from openvocab.devices import check_precision, exact_float32, native, to_device, usable_precision


@pytest.fixture
def cpu(monkeypatch):
    """A processor with the given capabilities, and nothing in the environment."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)

    def has(*names):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True), raising=False)

    return has


@pytest.fixture
def card(monkeypatch):
    """A GPU of the given compute capability."""

    def of(major, minor):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (major, minor))

    return of


@pytest.mark.parametrize(("capabilities", "expected"), [
    (("avx2",), False), (("avx2", "avx512_f"), False), (("avx512_f", "avx512_bf16"), True), (("amx_bf16",), True),
    (("neon", "bf16"), True), (("neon",), False), ((), False),
])  # fmt: skip
def test_bfloat16_on_a_cpu(cpu, capabilities, expected):
    cpu(*capabilities)
    assert native(torch.bfloat16, "cpu") is expected
    assert not native(torch.float16, "cpu")
    assert native(torch.float32, "cpu") and native(torch.float64, "cpu")


@pytest.mark.parametrize(("variable", "value", "expected"), [
    ("ONEDNN_MAX_CPU_ISA", "AVX2", False), ("ONEDNN_MAX_CPU_ISA", "avx512_core", False),
    ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", True), ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX", True),
    ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16", True), ("ONEDNN_MAX_CPU_ISA", "ALL", True),
    ("ONEDNN_MAX_CPU_ISA", "DEFAULT", True), ("ATEN_CPU_CAPABILITY", "avx2", False),
    ("ATEN_CPU_CAPABILITY", "default", False), ("ATEN_CPU_CAPABILITY", "avx512", True),
])  # fmt: skip
def test_the_environment_may_switch_instructions_off(cpu, monkeypatch, variable, value, expected):
    cpu("avx512_f", "avx512_bf16", "amx_bf16")
    monkeypatch.setenv(variable, value)
    assert native(torch.bfloat16, "cpu") is expected


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_an_older_torch(monkeypatch, cpu, avx512, amx, expected):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert native(torch.bfloat16, "cpu") is expected


@pytest.mark.parametrize(
    ("capability", "bfloat16", "float16"),
    [((6, 1), False, False), ((7, 0), False, True), ((7, 5), False, True), ((8, 0), True, True), ((9, 0), True, True)],
)
def test_cuda(card, capability, bfloat16, float16):
    card(*capability)
    assert native(torch.bfloat16, "cuda:0") is bfloat16
    assert native(torch.float16, torch.device("cuda")) is float16
    assert native(torch.float32, "cuda")


def test_what_is_emulated_is_replaced_and_said_once(cpu, caplog):
    cpu("avx2")
    with caplog.at_level(logging.WARNING):
        assert usable_precision("bfloat16", "cpu") == torch.float32
    (line,) = caplog.messages
    assert line == (
        "dtype: this cpu can only emulate bfloat16, slower than float32, which is used instead; bfloat16! forces it"
    )


@pytest.mark.parametrize(("wanted", "expected"), [
    ("float32", torch.float32), ("bfloat16!", torch.bfloat16), ("float16!", torch.float16),
    ("float32!", torch.float32)])  # fmt: skip
def test_what_is_forced_or_native_is_taken_silently(cpu, caplog, wanted, expected):
    cpu("avx2")
    assert usable_precision(wanted, "cpu") == expected
    cpu("avx512_bf16")
    assert usable_precision("bfloat16", "cpu") == torch.bfloat16
    assert not caplog.messages


@pytest.mark.parametrize("wanted", ["int8", "", "!", "bfloat16!!", "double"])
def test_other_names(wanted):
    with pytest.raises(ValueError, match="dtype: expected one of float32, bfloat16, float16, got"):
        check_precision(wanted)


@pytest.mark.parametrize(("device", "capability", "capabilities", "force", "expected", "said"), [
    ("cpu", None, ("avx2",), False, torch.float32, "SOLVER.AMP: this cpu can only emulate bfloat16"),
    ("cpu", None, ("avx2",), True, torch.bfloat16, ""),
    ("cpu", None, ("avx512_bf16",), False, torch.bfloat16, ""),
    ("cuda", (9, 0), (), False, torch.bfloat16, ""),
    ("cuda", (7, 5), (), False, torch.float16, ""),
    ("cuda", (6, 1), (), False, torch.float32, "SOLVER.AMP: this cuda can only emulate float16"),
    ("cuda", (6, 1), (), True, torch.float16, ""),
])  # fmt: skip
def test_precision_of_a_training(cpu, card, caplog, device, capability, capabilities, force, expected, said):
    from openvocab.engine.step import training_precision

    cpu(*capabilities)
    if capability:
        card(*capability)
    amp = SimpleNamespace(ENABLED=True, FORCE=force)
    cfg = SimpleNamespace(MODEL=SimpleNamespace(DEVICE=device), SOLVER=SimpleNamespace(AMP=amp))
    assert training_precision(cfg) == expected
    assert [message[: len(said)] for message in caplog.messages] == ([said] if said else [])
    amp.ENABLED = False
    assert training_precision(cfg) == torch.float32


def test_float32_stays_float32_on_cuda(monkeypatch):
    """CuDNN rounds the inputs of float32 convolutions to TF32 unless it is told not to."""
    flags = SimpleNamespace(allow_tf32=True)
    monkeypatch.setattr(torch.backends, "cudnn", flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    exact_float32()
    assert flags.allow_tf32  # nobody's business without a GPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    exact_float32()
    assert not flags.allow_tf32


def test_every_model_makes_float32_exact(monkeypatch):
    from openvocab import model
    from openvocab.engine.setup import build_cfg, build_model

    calls = []
    monkeypatch.setattr(model, "exact_float32", lambda: calls.append(1))
    build_model(build_cfg("emojiscapes/lseg", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read"]))
    assert calls == [1]


def test_values_reach_a_device():
    assert torch.equal(to_device([[1, 2], [3, 4]], "cpu"), torch.tensor([[1, 2], [3, 4]]))
    assert to_device((0.5,), "cpu", torch.float64).dtype == torch.float64
    assert to_device([1], torch.device("meta")).device.type == "meta"
    assert devices.PRECISIONS[0] == "float32"
