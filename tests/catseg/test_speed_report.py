"""What `benchmarks/speed.py` computes besides time."""

import importlib
import itertools
from types import SimpleNamespace

import pytest
import torch

from catseg.fast_head import FastHead
from openvocab.interfaces import ClipFeatures


@pytest.fixture
def script(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module


def row(script, seconds, path="fast", images=1):
    return script("speed").Row("catseg_b", path, "float32", 7, images, seconds, 2.0, 10.0, 0.5)


@pytest.mark.parametrize(("seconds", "word"), [(2.3, "aim"), (2.31, "pass"), (2.5, "pass"), (2.51, "MISS")])
def test_verdict(script, seconds, word):
    assert row(script, seconds).verdict == f"{word} (1.25 / 1.15)"


def test_only_the_fast_path_on_one_image_is_judged(script):
    assert row(script, 2.3, path="reference").verdict == "" == row(script, 2.3, images=4).verdict


@pytest.mark.parametrize("native", [True, False])
def test_precisions_that_would_be_emulated_are_left_out(script, monkeypatch, native):
    monkeypatch.setattr(script("speed"), "native", lambda dtype, device: native or dtype == torch.float32)
    precisions = {precision for _, precision, _ in script("speed")._cells("catseg_b", 7)}
    assert precisions == ({"float32", "bfloat16"} if native else {"float32"})


def test_how_often_a_call_is_timed(script, monkeypatch):
    """By a clock of its own: on a machine that does other work, the one call that is estimated from may take long."""
    measuring, ticks, calls = script("measuring"), itertools.count(), []
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 10_000))
    seconds = measuring.seconds_of(lambda: calls.append(len(calls)), "cpu", most=0)
    assert 0 <= seconds < 0.01 and len(calls) == 1 + 1 + 50  # warm, estimate, one run of the most calls in a row


def test_markdown(script):
    table = script("tables").markdown_table([{"a": "1"}, {"a": "2", "b": "3"}])
    assert table == "| a | b |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |\n"


def test_memory_peak(script):
    with script("measuring").MemoryPeak() as peak:
        torch.ones(64 * 2**20, dtype=torch.uint8)
    assert 60 < peak.mib < 200


def test_the_timed_head_computes_what_the_head_computes(script, tiny):
    model = tiny()
    head, spec = model.sem_seg_head, model.clip.spec
    features = ClipFeatures(
        torch.randn(2, spec.embed_dim, *head.grid), tuple(torch.randn(2, spec.width, *head.grid) for _ in range(2))
    )
    text = torch.nn.functional.normalize(torch.randn(5, 1, spec.embed_dim), dim=-1)
    with torch.inference_mode():
        timed = script("speed").TimedHead(head, torch.float32)
        assert torch.equal(timed(features, text)[0], FastHead(head, torch.float32)(features, text)[0])
    stages = {"cost embedding", "spatial aggregation", "class aggregation", "decoder"}
    assert stages == set(timed.seconds) and min(timed.seconds.values()) > 0
