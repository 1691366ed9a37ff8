#!/usr/bin/env python
"""Parameters, multiply-adds and activations of each stage of a model, for any number of words.

    python tools/analyze_model.py --config-file catseg_b --words 150
    python tools/analyze_model.py --config-file lseg_l16 --vocabulary "cat, sofa|couch" --image-size 480 640

Counted on the eager reference (MODEL.FAST False, KERNELS eager): the fast path folds weights and leaves work out, and
kernels are opaque. Weights are random, nothing is downloaded. What cannot be counted is named.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis, parameter_count
from fvcore.nn.jit_handles import elementwise_flop_counter, generic_activation_jit, get_shape
from tabulate import tabulate
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from openvocab.console import escape_what_cannot_be_shown, report, say
from openvocab.engine.setup import build_cfg, build_model
from openvocab.model import OpenVocabularyModel
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary

# Element by element, reductions and copies: fvcore counts none of these, by its convention.
CHEAP = frozenset(f"aten::{name}" for name in (
    "_unique2", "add", "add_", "amax", "avg_pool2d", "clamp_min", "div", "div_", "elu", "embedding", "expand_as",
    "gelu", "index_add", "index_copy", "linalg_vector_norm", "lt", "max_pool2d", "mean", "mul", "numpy_T", "pad",
    "sigmoid", "softmax", "sub", "sum", "topk", "unflatten", "where",
))  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """What one run costs. Names are those of the model's modules, "" for all of it.

    Attributes:
        parameters: module -> number.
        flops: module -> multiply-adds (as fvcore, one multiply-add is one), everything inside it included.
        activations: module -> elements that its products, convolutions and attentions give.
        uncalled: modules in which no operator ran: unused, empty, or their weights are used by what they lie in.
        uncounted: operator -> calls, of which fvcore and this program know no cost.
        cheap: operator -> calls, of which no cost is counted by convention.
    """

    parameters: Mapping[str, int]
    flops: Mapping[str, int]
    activations: Mapping[str, int]
    uncalled: frozenset[str]
    uncounted: Mapping[str, int]
    cheap: Mapping[str, int]


class Row(NamedTuple):
    """One stage of the table; all rows together are the whole model."""

    stage: str
    parameters: int
    flops: int
    activations: int
    note: str


class _PlainSizes(TorchFunctionMode):
    """Sizes are numbers: a trace makes tensors of them, which are no keys of a cache and cannot be rounded."""

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        answer = func(*args, **(kwargs or {}))
        if func not in (Tensor.shape.__get__, Tensor.size, Tensor.numel):
            return answer
        return torch.Size([int(side) for side in answer]) if isinstance(answer, tuple) else int(answer)


class _Call(nn.Module):
    """The model as a function of one picture, which is what a trace wants."""

    def __init__(self, model: OpenVocabularyModel, vocabulary: Vocabulary):
        super().__init__()
        self.model = model
        self.vocabulary = vocabulary

    def forward(self, image: Tensor) -> Tensor:
        return self.model([{"image": image, "vocabulary": self.vocabulary}])[0]["sem_seg"]


def analyze(model: OpenVocabularyModel, image: Tensor, vocabulary: Vocabulary) -> Analysis:
    """Counts what one picture costs.

    Args:
        model: on its reference path.
        image: (3, h, w), RGB in 0..255; values do not matter.
        vocabulary: T words, encoded anew.
    """
    call = _Call(model.eval(), vocabulary)
    flops = FlopCountAnalysis(call, (image,)).set_op_handle(
        **{
            "aten::scaled_dot_product_attention": attention_flops,
            "aten::upsample_bicubic2d": elementwise_flop_counter(0, 16),
        }
    )  # of sixteen pixels each, as four bilinear
    activations = ActivationCountAnalysis(call, (image,)).set_op_handle(
        **{"aten::scaled_dot_product_attention": generic_activation_jit("attention")}
    )
    counts = []
    for analysis in (flops, activations):
        model.text_encoder.eval()  # forgets the words: a cached answer would cost nothing
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        with torch.no_grad(), _PlainSizes():
            counts.append({_own(name): int(count) for name, count in analysis.by_module().items()})
    unsupported = flops.unsupported_ops()
    cheap = {name: calls for name, calls in unsupported.items() if name in CHEAP}
    return Analysis(
        parameters=Counter(parameter_count(model)),  # modules without any are not in it
        flops=counts[0],
        activations=counts[1],
        uncalled=frozenset(map(_own, flops.uncalled_modules())),
        uncounted={name: calls for name, calls in unsupported.items() if name not in CHEAP},
        cheap=cheap,
    )


def attention_flops(inputs: list, outputs: list) -> Counter:
    """Counts the two products of an attention, as if no position were masked.

    Args:
        inputs: of torch's operator: q (..., N, D), k (..., M, D), v (..., M, E).
        outputs: its answer.
    """
    (*batch, queries, width), (*_, keys, values) = get_shape(inputs[0]), get_shape(inputs[2])
    count = queries * keys * (width + values)
    for side in batch:
        count *= side
    return Counter({"attention": count})


def rows(model: nn.Module, analysis: Analysis, depth: int = 2) -> list[Row]:
    """Lays the counts out by stages, in the model's order.

    Args:
        model: that was analyzed.
        analysis: of it.
        depth: levels below the model; lists of modules do not count as a level.

    Returns:
        One row for each stage, and one for what a stage with parts does outside of them, if anything.
    """
    return list(_rows(model, "", analysis, depth))


def _rows(module: nn.Module, name: str, analysis: Analysis, depth: int) -> Iterator[Row]:
    parts = [(f"{name}.{child}".removeprefix("."), part) for child, part in module.named_children()]
    tables = (analysis.parameters, analysis.flops, analysis.activations)
    if not parts or depth <= 0:
        yield Row(name, *(table[name] for table in tables), _note(name, module, analysis))
        return
    for part_name, part in parts:
        yield from _rows(part, part_name, analysis, depth - (not isinstance(part, nn.ModuleList)))
    own = [table[name] - sum(table[part_name] for part_name, _ in parts) for table in tables]
    if any(own):
        yield Row(f"{name or 'model'} (outside its parts)", *own, "")


def _note(name: str, module: nn.Module, analysis: Analysis) -> str:
    if name in analysis.uncalled and not isinstance(module, nn.Identity) and not analysis.flops[name]:
        return "no operator inside: unused, empty, or its weights are used where it lies"
    return ""


def _own(name: str) -> str:
    return name.removeprefix("model").removeprefix(".")


def reference_cfg(config_file: str, overrides: list[str]) -> CfgNode:
    """Composes a config whose model runs on its reference path, with random weights.

    Args:
        config_file: a path or a name.
        overrides: KEY VALUE pairs.

    Raises:
        ValueError: as `build_cfg`.
    """
    cfg = build_cfg(config_file, overrides)
    cfg.MODEL.DEVICE, cfg.MODEL.FAST, cfg.MODEL.WEIGHTS, cfg.MODEL.CLIP.PRETRAINED = "cpu", False, "", ""
    if "CATSEG" in cfg.MODEL:
        cfg.MODEL.CATSEG.KERNELS = "eager"
    if "LSEG" in cfg.MODEL:
        cfg.MODEL.LSEG.BACKBONE_PRETRAINED = ""
    return cfg


def show(model: nn.Module, analysis: Analysis, depth: int) -> None:
    """Prints the table and what is not in it."""
    table = [
        (row.stage, f"{row.parameters:,}", f"{row.flops / 1e9:.3f}", f"{row.activations / 1e6:.3f}", row.note)
        for row in rows(model, analysis, depth)
    ]
    table.append(
        (
            "total",
            f"{analysis.parameters['']:,}",
            f"{analysis.flops[''] / 1e9:.3f}",
            f"{analysis.activations[''] / 1e6:.3f}",
            "",
        )
    )
    align = ("left", "right", "right", "right", "left")
    say(
        tabulate(
            table,
            ["stage", "parameters", "G multiply-adds", "M activations", ""],
            "simple",
            colalign=align,
            disable_numparse=True,
        )
    )
    say(f"not counted by convention (element by element, reductions, copies): {_calls(analysis.cheap)}")
    if analysis.uncounted:
        say(f"NOT COUNTED, cost unknown: {_calls(analysis.uncounted)}")


def _calls(operators: Mapping[str, int]) -> str:
    return ", ".join(f"{name.removeprefix('aten::')} {calls}" for name, calls in sorted(operators.items())) or "none"


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="emojiscapes/catseg", metavar="FILE", help="a path or a name")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--words", type=int, default=20, metavar="N", help="this many words, made up (default: 20)")
    words.add_argument("--vocabulary", metavar="WORDS", help='"cat, sofa|couch", a built-in name, or a file')
    parser.add_argument("--image-size", type=int, nargs=2, metavar=("H", "W"), help="pixels of what the model is given "
                        "(default: a square of INPUT.MIN_SIZE_TEST)")  # fmt: skip
    parser.add_argument("--depth", type=int, default=2, help="levels of stages (default: 2)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys to override")
    return parser


def run(args: argparse.Namespace) -> None:
    """Builds the model that is asked for, counts and prints.

    Raises:
        ValueError: a config, words or sizes that make no sense.
    """
    if args.words < 1:
        raise ValueError(f"--words: expected at least 1, got {args.words}")
    cfg = reference_cfg(args.config_file, args.opts)
    height, width = args.image_size or 2 * [cfg.INPUT.MIN_SIZE_TEST]
    if min(height, width) < 1:
        raise ValueError(f"--image-size: expected pixels, got {height} {width} (INPUT.MIN_SIZE_TEST 0 keeps any size)")
    made_up = Vocabulary.from_words([f"word {number}" for number in range(args.words)], cfg.MODEL.VOCABULARY.SYNONYMS)
    vocabulary = named_vocabulary(args.vocabulary, cfg.MODEL.VOCABULARY.SYNONYMS) if args.vocabulary else made_up
    model = build_model(cfg)
    analysis = analyze(model, torch.zeros(3, height, width), vocabulary)
    say(
        f"{args.config_file} ({cfg.MODEL.META_ARCHITECTURE}): one picture of {width}x{height} pixels, "
        f"{len(vocabulary)} words, encoding them included; eager reference (MODEL.FAST False)"
    )
    show(model, analysis, args.depth)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    escape_what_cannot_be_shown()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    args = build_parser().parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        report(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
