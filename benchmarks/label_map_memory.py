"""Peak memory of a label map of a large picture with many words, above the loaded model.

    python benchmarks/label_map_memory.py --output benchmarks/results/label_map_memory.csv

Random weights; the words are encoded and the fast path's weights derived beforehand. Linux only: the peak is read from
/proc.
"""

import argparse
import sys
from pathlib import Path

import torch
from measuring import MemoryPeak, resident
from tables import csv_text, write_table

from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import golden_image, numbered_words
from openvocab.vocab.vocabulary import Vocabulary

BOUND = 1536  # MiB
MIB = 2**20


def measure(config: str, words: int, height: int, width: int) -> dict[str, object]:
    """Segments one picture.

    Args:
        config: of the model.
        words: T.
        height: pixels.
        width: pixels.

    Returns:
        A row of the table, memory in MiB.
    """
    cfg = build_cfg(config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read"])
    model = build_model(cfg).eval()
    names = Vocabulary.from_words(numbered_words(words))
    scale = cfg.INPUT.MIN_SIZE_TEST / min(height, width)
    seen = golden_image(round(height * scale), round(width * scale))
    with torch.inference_mode():
        model.text_encoder(names, model.vocabulary.templates)
        loaded = resident("VmRSS")
        model([{"image": golden_image(64, 64), "vocabulary": ["a word"], "output": "labels"}])
        before = resident("VmRSS")
        with MemoryPeak() as peak:
            answer = model(
                [{"image": seen, "height": height, "width": width, "vocabulary": names, "output": "labels"}]
            )[0]
    assert answer["labels"].shape == (height, width)
    return {"config": config, "words": words, "height": height, "width": width, "loaded": round(loaded),
            "derived weights": round(before - loaded),
            "peak": round(before + peak.mib), "above": round(peak.mib), "bound": BOUND,
            "T x h x w floats": round(4 * words * height * width / MIB), "torch": torch.__version__}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 1 where the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", default=["catseg_b", "lseg_l16"])
    parser.add_argument("--words", type=int, default=847)
    parser.add_argument("--size", nargs=2, type=int, default=(1500, 2000), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--output", type=Path, help="CSV")
    args = parser.parse_args(arguments)
    rows = [measure(config, args.words, *args.size) for config in args.configs]
    for row in rows:
        print(", ".join(f"{name}: {value}" for name, value in row.items()))
    if args.output:
        write_table(args.output, csv_text(rows))
    return int(any(row["above"] > BOUND for row in rows))


if __name__ == "__main__":
    sys.exit(main())
