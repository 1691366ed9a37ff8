"""What a question costs about a picture that was looked at, in shares of a whole call.

    python benchmarks/look.py --output benchmarks/results/look.csv

A picture of 480 x 640 pixels and 7 words, encoded beforehand; two threads. CAT-Seg B and LSeg L/16 have random weights,
the small models their own. Exit code 1 where a share is above its bound.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from measuring import environment, seconds_of
from tables import csv_text, write_table

from openvocab import Segmenter
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import golden_image

BOUNDS = {"catseg_b": 0.3, "lseg_l16": 0.15, "emojiscapes_catseg": None, "emojiscapes_lseg": None}
WORDS = ["dog", "house", "tree", "grass", "sky", "car", "boat"]


def segmenter_of(name: str) -> Segmenter:
    """Builds a model; those whose weights do not ship get random ones."""
    if name.startswith("emojiscapes"):
        return Segmenter.load(name, device="cpu")
    cfg = build_cfg(name, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read"])
    torch.manual_seed(0)
    return Segmenter(build_model(cfg), cfg, name=name)


def measure(name: str) -> dict[str, object]:
    """Times whole calls and questions.

    Args:
        name: of the model.

    Returns:
        A row of the table.
    """
    segmenter, picture = segmenter_of(name), golden_image(480, 640, 0).permute(1, 2, 0).contiguous().numpy()
    seen = segmenter.look(picture)
    whole = seconds_of(lambda: segmenter(picture, WORDS), "cpu")
    question = seconds_of(lambda: seen(WORDS), "cpu")
    return {"model": name, "words": len(WORDS), "whole [s]": f"{whole:.3f}", "question [s]": f"{question:.3f}",
            "share": f"{question / whole:.3f}", "bound": BOUNDS[name] or "",
            "held [MB]": f"{seen.nbytes / 1e6:.1f}"}  # fmt: skip


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(2)
    warnings.simplefilter("ignore")  # of random weights
    rows = []
    for name in BOUNDS:
        rows.append(measure(name))
        print(", ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
    write_table(args.output, csv_text([row | environment() for row in rows]))
    late = [row["model"] for row in rows if row["bound"] and float(row["share"]) > row["bound"]]
    if late:
        print(f"above the bound: {', '.join(late)}", file=sys.stderr)
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
