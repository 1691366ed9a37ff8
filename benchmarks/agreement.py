"""What low precision and approximations cost: EmojiScapes mIoU, and label maps compared with float32's.

    python tools/fetch_drawings.py
    python benchmarks/agreement.py --output benchmarks/results/agreement.csv
    python benchmarks/agreement.py --precisions float32 --compare one_view --output benchmarks/results/one_view.csv
    python benchmarks/agreement.py --scenes 8 --precisions float32 float16 --compare --output float16.csv

The small models that ship with the repository, all 135 words, the first scenes of emojiscapes_mini_test, CAT-Seg with
its sliding window. float16 is slow on a CPU, which has no instructions for it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from measuring import autocast, environment
from tables import csv_text, write_table
from torch import nn
from tqdm import tqdm

from catseg.pruning import Pruning
from openvocab.checkpoint import zoo
from openvocab.checkpoint.load import load_weights
from openvocab.data.checking.ready import require_ready
from openvocab.data.loader import build_test_loader
from openvocab.data.register import register_all
from openvocab.engine.errors import report_user_errors
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.run import build_evaluator

DATASET = "emojiscapes_mini_test"


class Variant(NamedTuple):
    """A way to evaluate: precision and approximations; `one_view` is what the page of `openvocab web` does on a CPU."""

    precision: str
    per_token: int = 0
    per_pixel: int = 0
    one_view: bool = False


MODELS = ("emojiscapes_catseg", "emojiscapes_lseg")
# Of CAT-Seg: LSeg has neither.
COMPARED = {
    "pruning": [Variant("float32", *most) for most in ((1, 0), (2, 0), (4, 0), (0, 1), (0, 2), (2, 2))],
    "one_view": [Variant("float32", one_view=True)],
}


def measure(name: str, variants: Sequence[Variant], scenes: int) -> Iterator[dict[str, object]]:
    """Evaluates a model in several variants, scene by scene.

    Args:
        name: of the zoo.
        variants: the first one is what the label maps of the others are compared with.
        scenes: how many.

    Yields:
        A row per variant.
    """
    entry = zoo.find(name)
    cfg = build_cfg(entry.config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(zoo.weights_file(entry)),
                                   "TEST.ORACLE_GRID", "0"])  # fmt: skip
    model = build_model(cfg).eval()
    load_weights(model, cfg.MODEL.WEIGHTS)
    copies = {variant: _in_variant(cfg, model, variant) for variant in variants}
    evaluators = {variant: build_evaluator(cfg, DATASET) for variant in variants}
    same, done = dict.fromkeys(variants, 0.0), 0
    for evaluator in evaluators.values():
        evaluator.reset()
    for batch in tqdm(islice(build_test_loader(cfg, DATASET), scenes), total=scenes, desc=name):
        exact, request = None, [item | {"output": "labels"} for item in batch]
        for variant in variants:
            with autocast(variant.precision):
                answer = copies[variant](request)
            exact = answer[0]["labels"] if exact is None else exact
            same[variant] += float((answer[0]["labels"] == exact).float().mean())
            evaluators[variant].process(batch, answer)
        done += 1
    for variant in variants:
        scores = evaluators[variant].result(evaluators[variant].gather()).scores
        yield {"model": name, **variant._asdict(), "scenes": done, "same_labels": f"{100 * same[variant] / done:.2f}",
               **{key: f"{scores[key]:.2f}" for key in ("mIoU-base", "mIoU-novel", "mIoU-stuff", "pACC")}}  # fmt: skip


def _in_variant(cfg: CfgNode, model: nn.Module, variant: Variant) -> nn.Module:
    """Builds a model of the same weights, with the approximations of a variant."""
    twin = build_model(cfg).eval()
    twin.load_state_dict(model.state_dict())
    if variant.per_token or variant.per_pixel:
        twin.pruning = Pruning(variant.per_token, variant.per_pixel)
    if variant.one_view:
        twin = twin.without_windows()
    return twin


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        metavar="DTYPE",
        help="the first one is compared with",
    )
    parser.add_argument(
        "--compare", nargs="*", default=list(COMPARED), choices=list(COMPARED), metavar="WHAT", help="pruning, one_view"
    )
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)

    def run() -> int:
        register_all()
        require_ready((DATASET,))
        rows = []
        with torch.inference_mode():
            for name in args.models:
                variants = [Variant(precision) for precision in args.precisions]
                if name == "emojiscapes_catseg":
                    variants += [variant for what in args.compare for variant in COMPARED[what]]
                for row in measure(name, variants, args.scenes):
                    rows.append(row)
                    print(", ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
        write_table(args.output, csv_text([row | environment() for row in rows]))
        return 0

    return report_user_errors(run)


if __name__ == "__main__":
    sys.exit(main())
