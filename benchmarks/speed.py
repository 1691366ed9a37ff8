"""Time of both methods against their yardsticks, in one process: reference, fast path, low precision.

    python benchmarks/speed.py --output benchmarks/results/speed_cpu      # writes .csv, .md and .png

CAT-Seg (ViT-B/16, sliding window, a picture of 480 x 640, label map as answer) in units of open_clip's ViT-B/16 image
encoder on the five 384 x 384 views in float32; LSeg (ViT-L/16 at 480 x 480) in units of timm's bare ViT in float32.
Random weights, words encoded beforehand. A cell is the least of several runs, the yardstick is timed again beside it.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import open_clip
import timm
import torch
from tables import csv_text, write_table
from torch import nn

from openvocab.engine.setup import build_cfg, build_model
from openvocab.interfaces import TextFeatures
from openvocab.testing import golden_image, numbered_words
from openvocab.vocab.vocabulary import Vocabulary

WORDS = (1, 7, 20, 150, 459, 847)
REFERENCE_WORDS = (1, 7, 20, 150)  # more take minutes
# (method, precision, words) -> yardsticks to pass, to aim at; for a machine of two cores with AVX-512.
BARS = {
    ("catseg_b", "float32", 7): (1.25, 1.15), ("catseg_b", "float32", 150): (6.5, 5.0),
    ("catseg_b", "float32", 847): (10.0, 7.5), ("catseg_b", "bfloat16", 7): (0.6, 0.45),
    ("catseg_b", "bfloat16", 150): (2.8, 2.2), ("catseg_b", "bfloat16", 847): (4.5, 3.2),
    ("lseg_l16", "float32", 150): (1.25, 1.15), ("lseg_l16", "bfloat16", 150): (0.5, 0.42),
}  # fmt: skip


class Row(NamedTuple):
    """One cell: seconds of a whole call, the yardstick, and the share of the label map that is as in float32."""

    method: str
    path: str
    precision: str
    words: int
    seconds: float
    yardstick: float
    stages: str
    agreement: float

    @property
    def ratio(self) -> float:
        """Time in yardsticks."""
        return self.seconds / self.yardstick

    @property
    def verdict(self) -> str:
        """The bars and which of them are met, on the fast path."""
        bars = BARS.get((self.method, self.precision, self.words)) if self.path == "fast" else None
        if bars is None:
            return ""
        word = "aim" if self.ratio <= bars[1] else "pass" if self.ratio <= bars[0] else "MISS"
        return f"{word} ({bars[0]} / {bars[1]})"


def least_seconds(call: Callable[[], object], rounds: int) -> float:
    """Times a call `rounds` times after one that is not timed; returns the least."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(precision: str) -> AbstractContextManager:
    """Gives the context of a precision."""
    return nullcontext() if precision == "float32" else torch.autocast("cpu", dtype=getattr(torch, precision))


def yardstick(method: str, size: int) -> Callable[[], object]:
    """Builds the encoder that a method is compared with, and its input."""
    if method.startswith("catseg"):
        clip = open_clip.create_model("ViT-B-16-quickgelu", force_image_size=384).eval()
        views = torch.randn(5, 3, 384, 384)
        return lambda: clip.encode_image(views)
    vit = timm.create_model("vit_large_patch16_384", img_size=size).eval()
    pixels = torch.randn(1, 3, size, size)
    return lambda: vit.forward_features(pixels)


def stages_of(model: nn.Module, image: torch.Tensor, words: Vocabulary, precision: str) -> str:
    """Times the stages of the fast path one by one."""
    if hasattr(model, "clip"):
        views, text = model.make_views(image), model.clip.text(words, model.vocabulary.templates)
        with autocast(precision):
            features = model.encode_images(views)
            encode = least_seconds(lambda: model.encode_images(views), 1)
            head = least_seconds(lambda: model.sem_seg_head.logits_of_kept(features, text), 1)
        return f"image encoder {encode:.2f}; head {head:.2f}"
    with autocast(precision):
        encoder, _ = model._fast_stages.stages(model.backbone, model.sem_seg_head.decoder, "cpu")
        pixels, text = model.pixel_embeddings(image[None]), TextFeatures(model.text_embeddings(words))
        whole = least_seconds(lambda: model.pixel_embeddings(image[None]), 1)
        compare = least_seconds(lambda: model.sem_seg_head.word_maps(pixels[0], text), 1)
    encode = least_seconds(lambda: encoder(image[None].float()), 1)
    return f"image encoder {encode:.2f}; decoder {whole - encode:.2f}; words {compare:.2f}"


def measure(method: str, words: list[int], rounds: int) -> Iterator[Row]:
    """Measures all cells of a method.

    Args:
        method: "catseg_b" or "lseg_l16".
        words: numbers of words.
        rounds: runs of each cell.

    Yields:
        A row per path, precision and number of words.
    """
    image = golden_image(480, 640) if method.startswith("catseg") else golden_image(480, 480)
    unit = yardstick(method, 480)
    torch.manual_seed(0)
    models = {}
    for path in ("reference", "fast"):
        cfg = build_cfg(method, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", "TEST.OUTPUT", "labels",
                                 "MODEL.FAST", str(path == "fast")])  # fmt: skip
        models[path] = build_model(cfg).eval()
    models["fast"].load_state_dict(models["reference"].state_dict())
    for count in words:
        vocabulary = Vocabulary.from_words(numbered_words(count))
        exact = None
        for path, precision in (("fast", "float32"), ("fast", "bfloat16"), ("reference", "float32")):
            if path == "reference" and count not in REFERENCE_WORDS:
                continue
            model = models[path]
            request = [{"image": image, "vocabulary": vocabulary}]

            def call(model=model, request=request, precision=precision):
                with autocast(precision):
                    return model(request)[0]["labels"]

            labels = call()
            exact = labels if exact is None else exact
            seconds = least_seconds(call, rounds if count < 150 else 1)
            unit_seconds = least_seconds(unit, 2)
            stages = stages_of(model, image, vocabulary, precision) if path == "fast" else ""
            yield Row(method, path, precision, count, seconds, unit_seconds, stages,
                      float((labels == exact).float().mean()))


def environment() -> dict[str, str]:
    """Says where the figures come from."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "").split()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
                            cwd=Path(__file__).parent).stdout.strip()  # fmt: skip
    return {
        "processor": names[0] if names else platform.processor(), "cores": str(len(names)),
        "threads": str(torch.get_num_threads()), "avx512": str("avx512f" in flags),
        "avx512_bf16": str("avx512_bf16" in flags), "amx": str("amx_bf16" in flags), "torch": torch.__version__,
        "python": platform.python_version(), "commit": commit,
    }  # fmt: skip


def markdown(rows: list[Row], where: dict[str, str]) -> str:
    """Formats the rows as one table, with the machine below."""
    lines = [["method", "path", "precision", "words", "seconds", "yardstick [s]", "in yardsticks", "pass / aim",
              "label map as in float32", "stages [s]"], ["---"] * 10]  # fmt: skip
    lines += [[row.method, row.path, row.precision, str(row.words), f"{row.seconds:.2f}", f"{row.yardstick:.2f}",
               f"{row.ratio:.2f}", row.verdict, f"{100 * row.agreement:.2f} %", row.stages] for row in rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return table + "\n" + ", ".join(f"{name}: {value}" for name, value in where.items()) + "\n"


def plot(rows: list[Row], path: Path, where: dict[str, str]) -> None:
    """Draws time in yardsticks over the number of words."""
    import matplotlib.pyplot as plt

    methods = list(dict.fromkeys(row.method for row in rows))
    figure, axes = plt.subplots(1, len(methods), figsize=(6 * len(methods), 4), squeeze=False, layout="constrained")
    for axis, method in zip(axes[0], methods):
        for style in dict.fromkeys((row.path, row.precision) for row in rows):
            own = [row for row in rows if row.method == method and (row.path, row.precision) == style]
            axis.plot([row.words for row in own], [row.ratio for row in own], marker="o", label=" ".join(style))
        if method == "catseg_b":
            axis.plot((7, 150, 847), (5.3, 12.1, 15.9), "k--", label="original (measured on another machine)")
        axis.set(xscale="log", yscale="log", title=method, xlabel="words", ylabel="time / bare image encoder")
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    figure.suptitle(f"{where['processor']}, {where['threads']} threads, torch {where['torch']}", fontsize=9)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["catseg_b", "lseg_l16"], choices=("catseg_b", "lseg_l16"))
    parser.add_argument("--words", nargs="+", type=int, default=list(WORDS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, help="path without suffix")
    args = parser.parse_args(arguments)
    rows, where = [], environment()
    print(", ".join(f"{name}: {value}" for name, value in where.items()), flush=True)
    with torch.inference_mode():
        for method in args.methods:
            for row in measure(method, args.words, args.rounds):
                rows.append(row)
                print(f"{row.method:9} {row.path:9} {row.precision:8} {row.words:4} words {row.seconds:7.2f} s "
                      f"{row.ratio:6.2f} y  {row.verdict:18} same labels {100 * row.agreement:6.2f} %  {row.stages}",
                      flush=True)
    table = csv_text([row._asdict() | {"ratio": f"{row.ratio:.3f}", "verdict": row.verdict} | where for row in rows])
    write_table(args.output.with_suffix(".csv"), table)
    write_table(args.output.with_suffix(".md"), markdown(rows, where))
    plot(rows, args.output.with_suffix(".png"), where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
