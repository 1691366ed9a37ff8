"""Exported models of the papers' sizes, with random weights, and the small one at many words: slow."""

import pytest
import torch
import torch.nn.functional as F

from openvocab import Segmenter
from openvocab.cli import program
from openvocab.engine.setup import build_cfg, build_model
from openvocab.export import checking, files
from openvocab.export.graphs import SegmentationGraph
from openvocab.testing import golden_image

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


def small(name):
    return Segmenter.load(name, device="cpu")


def random_weights(name, *overrides):
    cfg = build_cfg(name, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", *overrides])
    torch.manual_seed(0)
    return Segmenter(build_model(cfg), cfg, name=name)


def one_view(name):
    return random_weights(name, "TEST.SLIDING_WINDOW.ENABLED", "False")


def test_the_command_writes_onnx(tmp_path, capsys):
    for dtype in ("float32", "float16"):
        arguments = ["emojiscapes_lseg", "--to", "onnx", "--dtype", dtype, "--answer", "probabilities"]
        assert program.main(["export", *arguments, "--output", str(tmp_path / dtype)]) == 0
        assert capsys.readouterr().out.count("checked") == 2
    sizes = [(tmp_path / dtype / "emojiscapes_lseg.onnx").stat().st_size for dtype in ("float16", "float32")]
    assert sizes[0] < 0.6 * sizes[1]


# Above 256 words, every view of CAT-Seg cuts them to those it is most similar to. Many words take minutes in windows.
@pytest.mark.parametrize(("make", "name", "counts"), [
    (small, "emojiscapes_catseg", (1, 7, 150, 300)),
    (random_weights, "catseg_b", (7,)),
    (one_view, "catseg_b", (1, 150, 300)),
    (random_weights, "catseg_l", (7,)),
    (one_view, "catseg_l", (1, 300)),
    (random_weights, "lseg_l16", (1, 7, 150, 300)),
])  # fmt: skip
def test_onnx_answers_as_the_model(make, name, counts):
    segmenter = make(name)
    graph = SegmentationGraph(segmenter.model, segmenter.cfg, "labels")
    content = files.onnx_file(graph.traced(), files.about_file(*graph.signatures()), files.DEFAULT_OPSET)
    run = checking.run_onnx(content)
    picture = golden_image(240, 320, 0).permute(1, 2, 0).contiguous()
    for count in counts:
        generator = torch.Generator().manual_seed(count)
        embeddings = F.normalize(torch.randn(count, graph.prompts, graph.width, generator=generator), dim=-1)
        agreement = checking.compare(run, graph, [picture, embeddings], warm=False)
        print(name, count, "words", agreement)
        assert agreement.difference <= checking.TOLERANCE
        assert agreement.same_labels > 0.999
