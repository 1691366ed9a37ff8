"""The tools replace only what they wrote themselves, and each knows its own."""

import os

import numpy as np
import pytest
import torch

from openvocab.clip.weights import read_state
from openvocab.engine.setup import build_cfg, build_model
from openvocab.inference import marks
from openvocab.inference.inputs import find_inputs
from openvocab.testing import TINY_CATSEG, TINY_LSEG


@pytest.fixture
def tool(script):
    return lambda name: script(f"tools/{name}.py")


@pytest.fixture
def draw_scenes(tool, monkeypatch):
    module = tool("draw_scenes")
    monkeypatch.setattr(module, "draw", lambda world, args, seed: np.full((4, 4, 3), seed, np.uint8))
    return module


def test_scenes_are_drawn_twice_and_are_pictures(draw_scenes, tmp_path, capsys):
    for _ in range(2):
        assert draw_scenes.main(["--seed", "7", "--count", "2", "--output", str(tmp_path / "new" / "scenes")]) == 0
    paths = [tmp_path / "new" / "scenes" / f"scene_{seed}.png" for seed in (7, 8)]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in paths] * 2
    assert find_inputs([paths[0].parent]).pictures == paths and len(os.listdir(paths[0].parent)) == 2


def test_a_picture_in_the_way_of_a_scene(draw_scenes, tmp_path, capsys):
    (tmp_path / "scene_8.png").write_text("mine")
    assert draw_scenes.main(["--seed", "7", "--count", "2", "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: output: ") and "scene_8.png" in line
    assert os.listdir(tmp_path) == ["scene_8.png"], "the first scene is not drawn either"


def test_weights_replace_weights_and_nothing_else(tool, tmp_path, capsys):
    export = tool("export_weights")
    source, target = tmp_path / "model_final.pth", tmp_path / "small" / "small.pth"
    # More names than the head of a file holds: the mark has to be in front of them.
    torch.save({"model": {f"layer.{i}.weight": torch.ones(2) for i in range(2000)}, "iteration": 3}, source)
    for _ in range(2):
        assert export.main([str(source), str(target)]) == 0
    assert marks.kind_of(target) == marks.WEIGHTS and read_state(target)["layer.3.weight"].dtype == torch.float16
    assert capsys.readouterr().out.startswith(f"{target}: ")
    before = source.read_bytes()
    assert export.main([str(target), str(source)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "model_final.pth" in line and source.read_bytes() == before


@pytest.mark.parametrize("arguments", [("absent.pth", "out.pth"), ("model.pth", "model.pth/sub/out.pth")])
def test_what_cannot_be_read_or_written_is_one_line(tool, tmp_path, capsys, arguments):
    torch.save({"model": {"a": torch.ones(2)}}, tmp_path / "model.pth")
    assert tool("export_weights").main([str(tmp_path / name) for name in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.parametrize("place", ["file", "/proc/cache"])
def test_drawings_that_cannot_be_kept(tool, tmp_path, monkeypatch, capsys, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / place))
    fetch = tool("fetch_drawings")
    monkeypatch.setattr(fetch.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: pytest.fail("npm was called"))
    assert fetch.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: cache: cannot write to ") and line.endswith(
        "set OPENVOCAB_CACHE to a folder that can be written to"
    )


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of a tiny model, as training writes it: its config inside."""

    def write(text):
        (tmp_path / "tiny.yaml").write_text(text)
        cfg = build_cfg(tmp_path / "tiny.yaml", ["MODEL.DEVICE", "cpu"])
        torch.manual_seed(0)
        model = build_model(cfg)
        torch.save({"model": model.state_dict(), "config": cfg.dump()}, tmp_path / "model_final.pth")
        return tmp_path / "model_final.pth", model

    return write


def test_catseg_goes_back_whole(tool, trained, tmp_path, capsys):
    path, model = trained(TINY_CATSEG)
    target = tmp_path / "original.pth"
    assert tool("export_weights").main([str(path), str(target), "--original"]) == 0
    assert "left out" not in capsys.readouterr().out
    state, wanted = torch.load(target)["model"], model.released_state()
    assert state.keys() == wanted.keys() and all(torch.equal(value, wanted[name]) for name, value in state.items())
    assert tool("export_weights").main([str(path), str(target), "--original", "--rest", str(target)]) == 2
    assert "rest: got one, expected none" in capsys.readouterr().err


def test_lseg_goes_back_with_the_rest_of_another_file(tool, trained, tmp_path, capsys):
    path, model = trained(TINY_LSEG)
    target, rest = tmp_path / "original.ckpt", tmp_path / "rest.ckpt"
    assert tool("export_weights").main([str(path), str(target), "--original"]) == 0
    assert "left out, as they take no part in the function: CLIP's image tower, the" in capsys.readouterr().out
    own = {f"net.{name}": value for name, value in model.released_state().items()}
    assert torch.load(target)["state_dict"].keys() == own.keys()
    began = {name: value + 1 for name, value in own.items()} | {"net.clip_pretrained.visual.proj": torch.ones(2)}
    torch.save({"state_dict": began}, rest)
    assert tool("export_weights").main([str(path), str(target), "--original", "--rest", str(rest)]) == 0
    state = torch.load(target)["state_dict"]
    assert state.keys() == began.keys() and torch.equal(state["net.clip_pretrained.visual.proj"], torch.ones(2))
    assert all(torch.equal(state[name], value) for name, value in own.items())
    torch.save({"state_dict": {name: value for name, value in began.items() if "head1" not in name}}, rest)
    assert tool("export_weights").main([str(path), str(target), "--original", "--rest", str(rest)]) == 2
    assert "rest: got a file without scratch.head1" in capsys.readouterr().err
