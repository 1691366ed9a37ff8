"""The model that answers where none was named: the one for photographs, or one that says that it only stands in."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from openvocab import Segmenter
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, STAND_IN, choose
from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.cli.segment_options import build_parser, source_of
from openvocab.testing import golden_state

WORDS = ("--vocabulary", "car, sky")
SAYS = "emojiscapes_catseg stands in for catseg_b: it knows drawn scenes only, its masks of a photograph mean nothing"


@pytest.fixture(autouse=True)
def nothing_on_disk(tmp_path, monkeypatch):
    """No file of a released model, and no way to one; nobody says that this is a job."""
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "by_hand"))
    monkeypatch.setenv("OPENVOCAB_OFFLINE", "1")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "by_hand"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "album").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((40, 400, 3), 120, np.uint8)).save(tmp_path / "album" / name)
    return tmp_path / "album"


def run(demo, *arguments):
    return demo.main([*map(str, arguments), *WORDS, "--device", "cpu"])


def test_of_one_picture_everybody_is_told(demo, folder, tmp_path, capsys):
    assert run(demo, "--input", folder / "a.png", "--output", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert said.err.count(SAYS) == 1 and "Get catseg_b: openvocab models --fetch catseg_b" in said.err
    assert f"model       {STAND_IN}" in said.out
    assert json.loads((tmp_path / "out" / "a.json").read_text())["notice"].startswith(SAYS)
    assert run(demo, "--input", folder / "a.png", "--output", tmp_path / "named", "--model", STAND_IN) == 0
    assert "stands in" not in capsys.readouterr().err
    assert json.loads((tmp_path / "named" / "a.json").read_text())["notice"] == ""
    with_notice, without = (Image.open(tmp_path / name / "a_overlay.png").height for name in ("out", "named"))
    assert with_notice > without + 30, "under the legend"


@pytest.mark.parametrize("inputs", ["folder", "two files", "pattern"])
def test_for_several_pictures_nothing_stands_in(demo, folder, tmp_path, capsys, inputs):
    given = {"folder": [folder], "two files": [folder / "a.png", folder / "b.png"], "pattern": [folder / "*.png"]}
    assert run(demo, "--input", *given[inputs], "--output", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not stand in where there is more than one picture: name it with --model emojiscapes_catseg" in line
    assert not list((tmp_path / "out").glob("*.png"))


def test_in_a_job_that_nobody_watches_nothing_stands_in(demo, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CI", "true")
    assert run(demo, "--input", folder / "a.png", "--output", tmp_path / "out") == 2
    assert "does not stand in where CI is set" in capsys.readouterr().err
    with pytest.raises(DownloadError, match="where CI is set"):
        Segmenter.load(device="cpu")
    monkeypatch.setenv("CI", "false")
    assert choose().model.name == STAND_IN


def test_the_pictures_that_come_with_the_demo_are_drawn(demo, tmp_path, capsys):
    source = source_of(build_parser(pictures=demo.IMAGES).parse_args([]), False)
    assert (source.model, source.notice) == (STAND_IN, "")


def test_in_python_a_warning_and_every_result_say_so(caplog):
    segmenter = Segmenter.load(device="cpu")
    assert segmenter.name == STAND_IN and sum(SAYS in record.message for record in caplog.records) == 1
    assert segmenter(np.zeros((32, 32, 3), np.uint8), ["car", "sky"]).notice.startswith(SAYS)


def test_a_file_put_there_by_hand_is_used(nothing_on_disk, demo, folder):
    nothing_on_disk.mkdir()
    (nothing_on_disk / "model_base.pth").write_bytes(b"whatever it holds")
    by_hand = nothing_on_disk / "model_base.pth"
    assert [choose(single) for single in (True, False)] == [(choose().model, by_hand, "")] * 2
    assert choose().model.name == FOR_PHOTOGRAPHS
    arguments = build_parser().parse_args(["--input", str(folder), "--no-download"])
    assert source_of(arguments, False) == (FOR_PHOTOGRAPHS, by_hand, "")


def test_no_download_holds_for_a_named_model(demo, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENVOCAB_OFFLINE")
    monkeypatch.setattr("openvocab.checkpoint.hub.fetch", lambda *_: pytest.fail("asked the network"))
    assert run(demo, "--input", folder / "a.png", "--model", "catseg_b", "--no-download", "--output", tmp_path) == 2
    assert "catseg_b needs model_base.pth, which is not on this disk" in capsys.readouterr().err


@pytest.mark.slow
def test_released_weights_answer_where_they_are(nothing_on_disk, demo, folder, tmp_path, capsys, repository):
    nothing_on_disk.mkdir()
    state = golden_state(repository / "tests" / "golden" / "catseg_vitb_state_dict.json")
    torch.save({"model": state}, nothing_on_disk / "model_base.pth")
    assert run(demo, "--input", folder, "--output", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "model       catseg_b (CATSeg)" in said.out and "stands in" not in said.err
    assert json.loads((tmp_path / "out" / "b.json").read_text())["model"] == "catseg_b"
