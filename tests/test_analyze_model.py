"""Counts of parameters, multiply-adds and activations agree with what can be computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from openvocab.engine.setup import build_model
from openvocab.testing import numbered_words
from openvocab.vocab.vocabulary import Vocabulary

SMALL = {
    "emojiscapes/catseg": ["TEST.SLIDING_WINDOW.ENABLED", "False", "MODEL.CLIP.INPUT_SIZE", "64"],
    "emojiscapes/lseg": [],
}
IMAGE = torch.zeros(3, 64, 96)


@pytest.fixture(scope="module")
def tool(script):
    return script("tools/analyze_model.py")


def words(count: int) -> Vocabulary:
    return Vocabulary.from_words(numbered_words(count), "mean")


@pytest.fixture(scope="module", params=SMALL)
def analyzed(tool, request):
    """Name, model, and its analysis for 3 and for 9 words."""
    model = build_model(tool.reference_cfg(request.param, SMALL[request.param]))
    return request.param, model, *(tool.analyze(model, IMAGE, words(count)) for count in (3, 9))


def test_the_rows_are_the_whole_model(tool, analyzed):
    _, model, three, _ = analyzed
    for depth in (1, 2, 9):
        rows = tool.rows(model, three, depth)
        assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
        assert sum(row.flops for row in rows) == three.flops[""] > 0
        assert sum(row.activations for row in rows) == three.activations[""] > 0
        assert len({row.stage for row in rows}) == len(rows)


def test_by_hand(analyzed):
    """A linear layer: rows x inputs x outputs; an attention: rows x rows x channels, twice."""
    name, model, three, nine = analyzed
    for count, analysis in ((3, three), (9, nine)):
        if name == "emojiscapes/catseg":
            layer = model.sem_seg_head.text_guidance
            assert analysis.flops["sem_seg_head.text_guidance"] == count * layer.in_features * layer.out_features
            assert analysis.activations["sem_seg_head.text_guidance"] == count * layer.out_features
            block, tokens, width = "clip.visual.transformer.resblocks.0", 8 * 8 + 1, model.clip.spec.width
        else:
            assert model.input_size == 128, "patches of 8 pixels"
            block, tokens, width = "backbone.vit.blocks.0", 16 * 16 + 1, model.backbone.vit.embed_dim
        assert analysis.flops[f"{block}.mlp"] == 2 * tokens * width * 4 * width
        assert analysis.flops[f"{block}.attn"] == tokens * (4 * width * width + 2 * tokens * width)
        assert analysis.activations[f"{block}.attn"] == 5 * tokens * width, "four projections and the mixture"


def test_what_grows_with_the_number_of_words(analyzed):
    name, _, three, nine = analyzed
    image, text = ("clip.visual", "clip.text") if name == "emojiscapes/catseg" else ("backbone", "text")
    assert nine.flops[image] == three.flops[image]
    # Encoded in both traces: the cache of one would make the other cheaper. "word 10" has no more tokens than "word 1".
    for table in ("flops", "activations"):
        assert getattr(nine, table)[text] == 3 * getattr(three, table)[text] > 0
    assert nine.flops[""] > three.flops[""] and nine.activations[""] > three.activations[""]
    if name == "emojiscapes/catseg":
        layer = "sem_seg_head.layers.0"
        assert nine.flops[layer] > 2.9 * three.flops[layer], "guidance is computed once for all words"


def test_nothing_of_unknown_cost_is_left(analyzed):
    _, _, three, nine = analyzed
    assert not three.uncounted and not nine.uncounted and three.cheap["aten::gelu"] > 0


class Toy(nn.Module):
    """A stage that is called, one whose weights another one uses, and an operator that nobody knows."""

    def __init__(self):
        super().__init__()
        self.text_encoder = nn.Identity()
        self.used = nn.Linear(4, 5)
        self.borrowed = nn.Linear(5, 6)

    def forward(self, inputs):
        x = F.linear(self.used(inputs[0]["image"]), self.borrowed.weight)
        return [{"sem_seg": torch.cdist(x, x)}]


def test_what_cannot_be_counted_is_named(tool, capsys):
    toy = Toy()
    analysis = tool.analyze(toy, torch.zeros(2, 3, 4), words(1))
    assert analysis.uncounted == {"aten::cdist": 1}
    tool.show(toy, analysis, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "NOT COUNTED, cost unknown: cdist 1"
    (borrowed,) = (line for line in lines if line.startswith("borrowed"))
    assert borrowed.endswith("no operator inside: unused, empty, or its weights are used where it lies")
    by_stage = {row.stage: row.flops for row in tool.rows(toy, analysis)}
    assert by_stage["used"] == 6 * 4 * 5 and by_stage["model (outside its parts)"] == 6 * 5 * 6


def test_command_line(tool, capsys):
    options = ["--config-file", "emojiscapes/lseg", "--image-size", "64", "96"]
    assert tool.main([*options, "--vocabulary", "cat,sofa|couch"]) == 0
    out = capsys.readouterr().out
    assert "emojiscapes/lseg (LSeg): one picture of 96x64 pixels, 2 words, " in out and "eager reference" in out
    for stage in ("backbone.vit", "sem_seg_head.decoder", "text.transformer", "total"):
        assert f"\n{stage} " in out
    assert "not counted by convention" in out and "NOT COUNTED" not in out


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--words", "0"], "--words: expected at least 1, got 0"),
        (["--image-size", "0", "5"], "--image-size: expected pixels, got 0 5"),
        (["--config-file", "nothing"], "nothing"),
        (["--vocabulary", "ade20k"], "words: got 'ade20k', expected a built-in name"),
        (["MODEL.CLIP.NAMES", "a"], "unknown config key MODEL.CLIP.NAMES"),
    ],
)
def test_errors_are_one_line(tool, capsys, arguments, message):
    assert tool.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
