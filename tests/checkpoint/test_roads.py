"""Every road by which weights reach a model, with every kind of file: the right model, or an error; no halves."""

import copy
import json
from functools import cache

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultPredictor, DefaultTrainer

import openvocab.checkpoint
from openvocab.checkpoint.load import Unfilled, load_weights
from openvocab.clip.weights import pack_token_table
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_CATSEG, TINY_LSEG

SMALL_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 6, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}
"""Nobody asks these models for words, so a table of 49,408 tokens would only take time."""


@pytest.fixture(scope="module", autouse=True)
def small_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "tiny-vit.json"
    path.write_text(json.dumps(SMALL_CLIP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("openvocab.clip.spec.own_configs", lambda: {path.stem: path})
        yield


@pytest.fixture(scope="module")
def cfg(small_clip, tmp_path_factory):
    return config(tmp_path_factory.mktemp("config"), TINY_CATSEG)


def config(folder, text, *overrides):
    (folder / "tiny.yaml").write_text(text)
    return build_cfg(folder / "tiny.yaml", ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder / "output"), *overrides])


@pytest.fixture(scope="module")
def source(cfg):
    """The model whose weights are written, with values that half precision holds and a token table with zeros."""
    torch.manual_seed(1)
    model = build_model(cfg)
    for value in model.parameters():
        value.data = value.data.half().float()
    model.clip.text.token_embedding.weight.data[5:] = 0
    return model


@pytest.fixture(scope="module")
def fresh(cfg):
    torch.manual_seed(2)
    return build_model(cfg)


@pytest.fixture(scope="module")
def other(cfg):
    return build_model(cfg)


@pytest.fixture
def emptied(other):
    """A model of nothing but zeros, the same one every time."""
    for value in other.state_dict().values():
        value.zero_()
    return other


@pytest.fixture(scope="module")
def before(fresh):
    return {name: value.clone() for name, value in fresh.state_dict().items()}


def by_predictor(model, path, cfg):
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = str(path)
    cfg.DATASETS.TEST = ()
    with Unfilled():
        return DefaultPredictor(cfg).model


def by_trainer(model, path, cfg):
    """`resume_or_load` of the stock trainer, without the data and the optimizer that its constructor wants."""
    trainer = DefaultTrainer.__new__(DefaultTrainer)
    trainer._hooks, trainer.cfg = [], cfg.clone()
    trainer.cfg.MODEL.WEIGHTS = str(path)
    trainer.checkpointer = DetectionCheckpointer(model, save_dir="", trainer=torch.nn.Identity())
    trainer.resume_or_load(resume=False)
    return model


ROADS = {
    "load_state_dict": lambda model, path, cfg: model.load_state_dict(torch.load(path)),
    "load_state_dict, not strict": lambda model, path, cfg: model.load_state_dict(torch.load(path), strict=False),
    "DetectionCheckpointer": lambda model, path, cfg: DetectionCheckpointer(model).load(str(path)),
    "DefaultPredictor": by_predictor,
    "DefaultTrainer": by_trainer,
    "load_weights": lambda model, path, cfg: load_weights(model, path),
}
WHOLE = {
    "ours": lambda model: model.state_dict(),
    "training checkpoint": lambda model: {"model": model.state_dict(), "iteration": 3},
    "released": lambda model: {"model": model.released_state()},
    "compact": lambda model: {"notice": "made here", "model": pack_token_table(
        {name: value.half() for name, value in model.state_dict().items()})},
    "wrapped for distributed training": lambda model: {"model": prefixed(model, "module.")},
    "compiled": lambda model: {"model": prefixed(model, "_orig_mod.")},
    "of another program": lambda model: {"state_dict": prefixed(model, "model."), "epoch": 3},
}  # fmt: skip
REFUSED = {
    "a key is missing": lambda model: without(model.state_dict(), "clip.text.token_embedding.weight"),
    "a released key is missing": lambda model: without(model.released_state(), "upsample1.bias"),
    "a key too many": lambda model: model.state_dict() | {"clip.visual.prompt": torch.zeros(1)},
    "a released key too many": lambda model: model.released_state() | {
        "sem_seg_head.predictor.clip_model.prompt": torch.zeros(1)},
    "another shape": lambda model: model.state_dict() | {"sem_seg_head.decoder.head.bias": torch.zeros(2)},
    "another shape of a released key": lambda model: model.released_state() | {"upsample1.bias": torch.zeros(2)},
    "not finite": lambda model: model.state_dict() | {"clip.logit_scale": torch.tensor(float("nan"))},
    "another method": lambda model: {
        "backbone.vit.cls_token": torch.zeros(1), "text.ln_final.weight": torch.ones(1)},
    "another CLIP": lambda model: {name: torch.zeros([2 * side for side in value.shape]) if "clip." in name else value
                                   for name, value in model.state_dict().items()},
    "only CLIP": lambda model: {name: x for name, x in model.state_dict().items() if name.startswith("clip.")},
    "nothing": lambda model: {"model": {}},
    "rows without values": lambda model: without(pack_token_table(model.state_dict()),
                                                 "clip.text.token_embedding.values"),
}  # fmt: skip
MAY_REFUSE = {("DetectionCheckpointer", "of another program"), ("DefaultPredictor", "of another program"),
              ("DefaultTrainer", "of another program")}  # fmt: skip
"""Whole files that Detectron2's reader does not take: it looks for weights under "model" only, and says so."""


def prefixed(model, prefix):
    return {prefix + name: value for name, value in model.state_dict().items()}


def without(state, key):
    assert key in state
    return {name: value for name, value in state.items() if name != key}


def equal(state, other):
    return state.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in state.items())


@pytest.fixture(scope="module")
def write(source, tmp_path_factory):
    """Writes a kind of file, once."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def path_of(kind):
        path = folder / f"{kind}.pth"
        torch.save((WHOLE | REFUSED)[kind](source), path)
        return path

    return path_of


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("road", ROADS)
def test_whole_files_give_the_whole_model(source, emptied, cfg, write, road, kind):
    path, model = write(kind), emptied
    if (road, kind) in MAY_REFUSE:
        with pytest.raises(ValueError):
            ROADS[road](model, path, cfg)
        return
    answer = ROADS[road](model, path, cfg)
    loaded = answer if isinstance(answer, torch.nn.Module) else model
    assert equal(loaded.state_dict(), source.state_dict())


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("road", ROADS)
def test_other_files_are_refused(fresh, before, cfg, write, road, kind):
    with pytest.raises(ValueError, match="checkpoint: |no state dict"):
        ROADS[road](fresh, write(kind), cfg)
    assert equal(fresh.state_dict(), before)


@pytest.mark.parametrize("road", ROADS)
def test_a_file_that_was_cut_is_refused(fresh, before, write, cfg, tmp_path, road):
    path = tmp_path / "weights.pth"
    path.write_bytes(write("ours").read_bytes()[:-1000])
    with pytest.raises((ValueError, RuntimeError)):  # torch's own reader raises the latter
        ROADS[road](fresh, path, cfg)
    assert equal(fresh.state_dict(), before)


def test_partial_is_the_way_around_and_says_what_is_missing(source, emptied, caplog):
    model = emptied
    state = without(source.state_dict(), "clip.logit_scale") | {"more": torch.zeros(1)}
    with openvocab.checkpoint.partial():
        model.load_state_dict(state, strict=False)
    assert model.clip.logit_scale == 0
    assert torch.equal(model.clip.visual.proj, source.clip.visual.proj)
    assert "1 of the model's" in caplog.text and "['clip.logit_scale']; 1 of the file are not" in caplog.text
    with pytest.raises(ValueError, match="checkpoint: "):
        model.load_state_dict(state, strict=False)


def test_partial_keeps_released_names_and_strict(source, emptied):
    model = emptied
    state = without(source.released_state(), "upsample1.bias") | {"sem_seg_head.predictor.new": torch.zeros(1)}
    with openvocab.checkpoint.partial():
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict(state)
        model.load_state_dict(state, strict=False)
    assert torch.equal(model.clip.visual.proj, source.clip.visual.proj)


def test_a_model_inside_another_is_whole_too(source, emptied):
    outer = torch.nn.ModuleDict({"inner": emptied, "own": torch.nn.Linear(1, 1)})
    whole = torch.nn.ModuleDict({"inner": source, "own": torch.nn.Linear(1, 1)}).state_dict()
    outer.load_state_dict(whole)
    assert equal(outer["inner"].state_dict(), source.state_dict())
    with pytest.raises(ValueError, match="1 keys missing"):
        outer.load_state_dict(without(whole, "inner.clip.logit_scale"), strict=False)


def test_a_copy_checks_for_itself(source, fresh):
    twin = copy.deepcopy(fresh)
    twin.load_state_dict(source.released_state())
    assert equal(twin.state_dict(), source.state_dict())
    with pytest.raises(ValueError, match="keys missing"):
        twin.load_state_dict({"clip.logit_scale": torch.zeros(())}, strict=False)


def test_lseg_back_and_forth(tmp_path):
    torch.manual_seed(0)
    cfg = config(tmp_path, TINY_LSEG)
    model, other = build_model(cfg), build_model(cfg)
    other.load_state_dict({f"net.{name}": value for name, value in model.released_state().items()})
    assert equal(model.state_dict(), other.state_dict())
