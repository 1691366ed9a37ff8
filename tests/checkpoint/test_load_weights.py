"""Checkpoints are loaded whole or refused with one line."""

import itertools
import logging

import pytest
import torch
from torch import nn

from openvocab.checkpoint.complete import require_complete
from openvocab.checkpoint.load import Unfilled, load_weights
from openvocab.checkpoint.rename import rename_state
from openvocab.clip.weights import pack_token_table
from openvocab.engine.setup import build_cfg, build_model


class Model(nn.Module):
    """Something with a token table."""

    def __init__(self, width=3):
        super().__init__()
        self.token_embedding = nn.Embedding(8, width)
        self.head = nn.Linear(width, 2)
        require_complete(self)


@pytest.fixture
def save(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return write


def equal(model, state):
    return all(torch.equal(value, state[name].float()) for name, value in model.state_dict().items())


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {"model": state, "iteration": 7, "optimizer": {"state": {}}},
    lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    lambda state: {"model": {name: value.half() for name, value in state.items()}},
    lambda state: {"model": pack_token_table(state)},
])  # fmt: skip
def test_every_form(save, wrap):
    state = Model().state_dict()
    state = {name: value.half().float() for name, value in state.items()}
    state["token_embedding.weight"][2:5] = 0
    model = Model()
    load_weights(model, save(wrap(state)))
    assert equal(model, state)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    state = Model().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    model = Model()
    load_weights(model, tmp_path / "weights.safetensors")
    assert equal(model, state)
    data = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(data[:-5])
    with pytest.raises(ValueError, match="no complete weights file"):
        load_weights(model, tmp_path / "weights.safetensors")


def test_numpy_numbers_of_a_scheduler_are_no_danger(save):
    import numpy as np

    state = Model().state_dict()
    load_weights(Model(), save({"model": state, "scheduler": {"rate": np.float64(0.1)}}))


class Danger:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize(("content", "message"), [
    ({"model": {"head.weight": Danger()}}, "could run code"),
    ({"model": {}}, "holds no state dict"),
    ([1, 2], "holds no state dict"),
    ({"backbone.weight": torch.zeros(1)}, "belongs to another model: got keys such as .'backbone.weight'"),
    ({**Model().state_dict(), "head.scale": torch.ones(1)}, "1 not expected .'head.scale'"),
    ({"head.weight": torch.zeros(2, 3)}, "2 keys missing"),
    ({**Model().state_dict(), "head.bias": torch.tensor([0.0, float("nan")])}, "head.bias: got NaN or infinity"),
    ({"a": torch.zeros(1), "b": torch.zeros(1), "head.weight": torch.zeros(9)}, "another model: got keys such as .'a'"),
    (Model(5).state_dict(), r"token_embedding.weight: got shape \(8, 5\), expected \(8, 3\)"),
])  # fmt: skip
def test_refusals(save, content, message, capsys):
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = save(content)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(model, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert equal(model, before)
    assert "unpickled" not in capsys.readouterr().out


def test_missing_and_truncated_file(save, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.pth"):
        load_weights(Model(), tmp_path / "nothing.pth")
    path = save(Model().state_dict())
    for data in (path.read_bytes()[:-200], b"", b"text, not weights"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match="weights.pth"):
            load_weights(Model(), path)


def test_the_model_names_the_config_that_fits(save, monkeypatch):
    monkeypatch.setattr(Model, "guess_config", lambda self, state: "the_large_one", raising=False)
    with pytest.raises(ValueError, match="the checkpoint looks like the_large_one"):
        load_weights(Model(), save(Model(5).state_dict()))


def test_catseg_names_its_configs():
    from catseg.checkpoint import guess_config

    assert guess_config({"clip.visual.conv1.weight": torch.empty(1024, 3, 14, 14)}) == "catseg_l"
    other = {"clip.visual.conv1.weight": torch.empty(8, 3, 4, 4)}
    assert guess_config(other) == "a CLIP of width 8 with patches of 4 pixels"
    assert guess_config({}) is None


RULES = (("a.{*}", "x.{*}"), ("b.{*}", "x.{*}"))


def test_rename():
    got = rename_state({"a.one": 1, "b.two": 2, "mask": 3}, RULES, ("mask",), "it")
    assert got == {"x.one": 1, "x.two": 2}


@pytest.mark.parametrize(("state", "message"), [
    ({"c.one": 1}, "1 keys that it does not have, such as .'c.one'"),
    ({"a.one": 1, "b.one": 2}, "two keys stand for x.one"),
    ({"aa.one": 1}, "does not have"),
])  # fmt: skip
def test_rename_errors(state, message):
    with pytest.raises(ValueError, match=message):
        rename_state(state, RULES, (), "it")


def wrapped(prefix):
    return {f"{prefix}{name}": value for name, value in Model().state_dict().items()}


@pytest.mark.parametrize("prefix", [
    "".join(order) for count in (1, 2, 3)
    for order in itertools.permutations(("module.", "_orig_mod.", "model."), count)
] + ["ema.", "ema_model.module.", "module.module."])  # fmt: skip
def test_wrappers_in_any_order(save, prefix):
    state = Model().state_dict()
    model = Model()
    load_weights(model, save({"model": {prefix + name: value for name, value in state.items()}}))
    assert equal(model, state)


def test_wrappers_of_parts_and_of_averages(save):
    state, model = Model().state_dict(), Model()
    parts = {name.replace("head.", "head._orig_mod."): value for name, value in state.items()}
    load_weights(model, save(parts))
    assert equal(model, state)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    fresh = Model()
    load_weights(fresh, save({"model_ema": averaged.state_dict()}))
    assert equal(fresh, state)


def test_a_counter_without_weights_is_refused_and_no_endless_loop(save):
    with pytest.raises(ValueError, match="3 keys missing"):
        load_weights(Model(), save({"model": {"n_averaged": torch.tensor(1)}}))


def test_a_name_that_only_some_parameters_begin_with_is_no_wrapper(save):
    state = {("model." if name.startswith("head") else "") + name: x for name, x in Model().state_dict().items()}
    with pytest.raises(ValueError, match="got keys such as .'model.head.bias', 'model.head.weight'"):
        load_weights(Model(), save(state))


def test_wrapped_and_plain_names_side_by_side(save):
    with pytest.raises(ValueError, match="these names occur twice: .'head.bias'"):
        load_weights(Model(), save({**Model().state_dict(), **wrapped("_orig_mod.")}))


@pytest.mark.parametrize(
    "place",
    [("state_dict",), ("model_state_dict",), ("net",), ("model_ema",), ("ema", "state_dict"), ("model", "module")],
)
def test_places(save, place, caplog):
    state, model = Model().state_dict(), Model()
    content = state
    for key in reversed(place):
        content = {key: content, "epoch": 3}
    load_weights(model, save(content))
    assert equal(model, state)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_of_plain_and_averaged_weights_the_plain_ones_and_a_word(save, caplog):
    state, model = Model().state_dict(), Model()
    load_weights(model, save({"state_dict_ema": wrapped(""), "state_dict": state}))
    assert equal(model, state)
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "weights under 'state_dict', 'state_dict_ema': those under 'state_dict' are used" in line


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is truncated: it holds 0 blank bytes"), (b"\n \n", "is truncated: it holds 3 blank bytes"),
    (b"<!DOCTYPE html><html><head><title>Drive -\nQuota exceeded</title>", "is a web page .'Drive"),
    (b"\xef\xbb\xbf\n <HTML><body>404", "is a web page, not weights"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "is a git-lfs pointer.*git lfs pull"),
    (b'{"error": "Repository not found"}', "is a text that begins with '{\"error\""),
    (bytes(10_000), "truncated, cannot be read or is no weights file"),
])  # fmt: skip
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_lies_in_place_of_weights(tmp_path, content, message, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(Model(), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_no_state_dict_says_which_keys_there_are(save):
    with pytest.raises(ValueError, match=r"holds no state dict .got the keys .'epoch', 'optimizer'.., expected"):
        load_weights(Model(), save({"optimizer": {"lr": 1.0}, "epoch": 3}))


def test_the_content_decides_and_not_the_name(tmp_path, save):
    from safetensors.torch import save_file

    state = Model().state_dict()
    save_file(state, tmp_path / "in_fact_safetensors.pth")
    save(state).rename(tmp_path / "in_fact_torch.safetensors")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("in_fact_safetensors.pth", "in_fact_torch.safetensors", "old.pth"):
        model = Model()
        load_weights(model, tmp_path / name)
        assert equal(model, state)


def test_a_flipped_byte_is_seen(save):
    """Torch does not compare the checksums that it writes."""
    state = Model().state_dict()
    path = save(state)
    content = bytearray(path.read_bytes())
    content[content.index(state["head.weight"].numpy().tobytes())] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth is damaged: the checksum of .* is wrong"):
        load_weights(Model(), path)


def test_a_model_that_is_loaded_next_draws_no_random_numbers():
    cfg = build_cfg("emojiscapes/lseg", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "loaded next"])
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    with Unfilled():
        build_model(cfg)
    assert torch.rand(()) == expected
