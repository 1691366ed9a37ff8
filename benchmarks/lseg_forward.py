"""LSeg's forward pass against the bare vision transformer of timm, in the same process.

    python benchmarks/lseg_forward.py --output benchmarks/results/lseg_forward.csv

Random weights, words encoded beforehand, the least of several runs that alternate between the two.
"""

import argparse
import csv
import platform
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch

from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import golden_image, large_vocabulary
from openvocab.vocab.vocabulary import Vocabulary


def least_seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Times calls in turn.

    Args:
        calls: by name.
        rounds: how often each is timed, after one call that is not.

    Returns:
        The least time of each, in seconds.
    """
    seconds = dict.fromkeys(calls, float("inf"))
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def processor() -> str:
    """Names the processor."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="lseg_l16")
    parser.add_argument("--size", type=int, default=480, help="side of the image in pixels")
    parser.add_argument("--words", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="CSV")
    args = parser.parse_args()
    cfg = build_cfg(args.config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read"])
    model = build_model(cfg).eval()
    words = Vocabulary.from_words(large_vocabulary()[: args.words])
    image = golden_image(args.size, args.size)
    bare = timm.create_model(cfg.MODEL.LSEG.BACKBONE, img_size=args.size).eval()
    pixels = torch.randn(1, 3, args.size, args.size)
    request = [{"image": image, "vocabulary": words}]
    with torch.inference_mode():
        seconds = least_seconds({
            "bare ViT": lambda: bare.forward_features(pixels),
            "LSeg": lambda: model(request),
            "LSeg, image encoder": lambda: model.backbone(image[None].float()),
        }, args.rounds)
    row = {
        "config": args.config, "size": args.size, "words": args.words, "processor": processor(),
        "threads": torch.get_num_threads(), "torch": torch.__version__,
        **{f"{name} [s]": round(value, 3) for name, value in seconds.items()},
        "ratio": round(seconds["LSeg"] / seconds["bare ViT"], 3),
    }
    for name, value in row.items():
        print(f"{name:24} {value}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with args.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader()
            writer.writerow(row)


if __name__ == "__main__":
    main()
