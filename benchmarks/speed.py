"""Time and memory of both methods against their yardsticks, in one process: reference, fast path, low precision.

    python benchmarks/speed.py --output benchmarks/results/speed_cpu      # writes .csv, .md and .png

CAT-Seg (ViT-B/16, sliding window, a picture of 480 x 640, label map as answer) in units of open_clip's ViT-B/16 image
encoder on the five 384 x 384 views in float32; LSeg (ViT-L/16 at 480 x 480) in units of timm's bare ViT in float32.
Random weights, words encoded beforehand. A cell is the least of several runs, and so is the yardstick, which is timed
between the cells of the same number of words. Memory is the peak above what was taken before the call; the first one of
a precision also derives weights. Kernels need a GPU: benchmarks/gpu.py.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import open_clip
import timm
import torch
from measuring import MemoryPeak, autocast, environment, least_seconds
from tables import csv_text, markdown_table, write_table
from torch import nn

from catseg.fast_head import FastHead
from openvocab.devices import native
from openvocab.engine.setup import build_cfg, build_model
from openvocab.kernels.label_map import label_map
from openvocab.testing import golden_image, numbered_words
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary

WORDS = (1, 7, 20, 150, 459, 847)
MANY = 150  # from here on, runs are long enough for one round
BATCH = 4
# Of the original's whole forward pass on another machine, in the same yardsticks.
ORIGINAL = {7: 5.3, 150: 12.1, 847: 15.9}
# (method, precision, words) -> yardsticks to pass, to aim at; for a machine of two cores with AVX-512.
BARS = {
    ("catseg_b", "float32", 7): (1.25, 1.15), ("catseg_b", "float32", 150): (6.5, 5.0),
    ("catseg_b", "float32", 847): (10.0, 7.5), ("catseg_b", "bfloat16", 7): (0.6, 0.45),
    ("catseg_b", "bfloat16", 150): (2.8, 2.2), ("catseg_b", "bfloat16", 847): (4.5, 3.2),
    ("lseg_l16", "float32", 150): (1.25, 1.15), ("lseg_l16", "bfloat16", 150): (0.5, 0.42),
}  # fmt: skip
TEXT_BAR = 0.2  # of the time with all words padded to the whole context


class Row(NamedTuple):
    """One cell: seconds and MiB of a whole call, the yardstick, and the share of labels that are as in float32."""

    method: str
    path: str
    precision: str
    words: int
    images: int
    seconds: float
    yardstick: float
    memory: float
    agreement: float

    @property
    def ratio(self) -> float:
        """Time in yardsticks."""
        return self.seconds / self.yardstick

    @property
    def verdict(self) -> str:
        """The bars and which of them are met, on the fast path."""
        key = (self.method, self.precision, self.words)
        bars = BARS.get(key) if self.path == "fast" and self.images == 1 else None
        if bars is None:
            return ""
        word = "aim" if self.ratio <= bars[1] else "pass" if self.ratio <= bars[0] else "MISS"
        return f"{word} ({bars[0]} / {bars[1]})"

    def shown(self) -> dict[str, str]:
        """Formats the columns of the table."""
        return {"method": self.method, "path": self.path, "precision": self.precision, "words": str(self.words),
                "images": str(self.images), "seconds": f"{self.seconds:.2f}", "yardstick [s]": f"{self.yardstick:.2f}",
                "in yardsticks": f"{self.ratio:.2f}", "pass / aim": self.verdict, "memory [MiB]": f"{self.memory:.0f}",
                "labels as in float32": f"{100 * self.agreement:.2f} %"}  # fmt: skip


def yardstick(method: str) -> Callable[[], object]:
    """Builds the encoder that a method is compared with, and its input."""
    if method == "catseg_b":
        clip = open_clip.create_model("ViT-B-16-quickgelu", force_image_size=384).eval()
        views = torch.randn(5, 3, 384, 384)
        return lambda: clip.encode_image(views)
    vit = timm.create_model("vit_large_patch16_384", img_size=480).eval()
    pixels = torch.randn(1, 3, 480, 480)
    return lambda: vit.forward_features(pixels)


def picture(method: str) -> torch.Tensor:
    """Draws the picture that a method is measured with: (3, h, w) uint8."""
    return golden_image(480, 640 if method == "catseg_b" else 480)


def vocabulary(count: int) -> Vocabulary:
    """Makes a vocabulary of any size."""
    return Vocabulary.from_words(numbered_words(count))


def build(method: str, fast: bool) -> nn.Module:
    """Builds a model with the random weights of seed 0."""
    torch.manual_seed(0)
    return build_model(build_cfg(method, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read",
                                          "MODEL.FAST", str(fast)])).eval()  # fmt: skip


def measure(method: str, words: list[int], rounds: int) -> Iterator[Row]:
    """Measures all cells of a method.

    Args:
        method: "catseg_b" or "lseg_l16".
        words: numbers of words.
        rounds: runs of each cell with fewer than `MANY` words.

    Yields:
        A row per path, precision and number of words; one more where `BATCH` images go into one call.
    """
    image, unit = picture(method), yardstick(method)
    models = {"reference": build(method, False), "fast": build(method, True)}
    models["fast"].load_state_dict(models["reference"].state_dict())
    unit()
    for count in words:
        units, cells, exact, names = [], [], None, vocabulary(count)
        for path, precision, images in _cells(method, count):
            units.append(least_seconds(1, unit))
            request = [{"image": image, "vocabulary": names, "output": "labels"}] * images
            with autocast(precision):
                models[path].text_encoder(names, models[path].vocabulary.templates)
                with MemoryPeak() as peak:
                    start = time.perf_counter()
                    labels = models[path](request)[0]["labels"]
                    seconds = time.perf_counter() - start
                if path == "fast" and images == 1:
                    again = least_seconds(rounds if count < MANY else 1, models[path], request)
                    seconds = min(seconds, again)
            exact = labels if exact is None else exact
            cells.append((path, precision, count, images, seconds, peak.mib, float((labels == exact).float().mean())))
        units.append(least_seconds(1, unit))
        yield from (Row(method, *cell[:5], min(units), *cell[5:]) for cell in cells)


def _cells(method: str, count: int) -> list[tuple[str, str, int]]:
    """Lists paths, precisions and images per call; the exact fast path is the first one.

    Precisions that this processor can only emulate are left out: their times would say nothing of the program.
    """
    cells = [("fast", "float32", 1), ("fast", "bfloat16", 1)]
    if count in (7, 150) or method == "catseg_b" and count != 459:  # LSeg's hardly depends on the number of words
        cells.append(("reference", "float32", 1))
    if count == 7 and method == "catseg_b":
        cells += [("fast", "float32", BATCH), ("fast", "bfloat16", BATCH)]
    return [cell for cell in cells if cell[1] in _precisions()]


def _precisions() -> list[str]:
    return [name for name in ("float32", "bfloat16") if native(getattr(torch, name), "cpu")]


class TimedHead(FastHead):
    """The head with a stopwatch at each of its stages.

    Attributes:
        seconds: per stage.
    """

    def __init__(self, head: nn.Module, dtype: torch.dtype):
        super().__init__(head, dtype)
        self.seconds = Counter()

    def _timed(self, stage: str, call: Callable[..., object], *args: object) -> object:
        start = time.perf_counter()
        answer = call(*args)
        self.seconds[stage] += time.perf_counter() - start
        return answer

    def _embedded(self, *args):
        return self._timed("cost embedding", super()._embedded, *args)

    def _swin(self, *args):
        return self._timed("spatial aggregation", super()._swin, *args)

    def _mix_classes(self, *args):
        return self._timed("class aggregation", super()._mix_classes, *args)

    def _decode(self, *args):
        return self._timed("decoder", super()._decode, *args)


def catseg_stages(words: list[int]) -> Iterator[dict[str, str]]:
    """Times the stages of CAT-Seg's fast path, in seconds.

    Args:
        words: numbers of words.

    Yields:
        A row per number of words and precision.
    """
    model, image = build("catseg_b", True), picture("catseg_b")
    window = model.sliding_window
    for precision in _precisions():
        head = TimedHead(model.sem_seg_head, getattr(torch, precision))
        with autocast(precision):
            views = model.make_views(image)
            features = model.encode_images(views)
            encoder = least_seconds(1, model.encode_images, views)
        for count in words:
            text = model.clip.text(vocabulary(count), model.vocabulary.templates).embeddings
            head.seconds.clear()
            start = time.perf_counter()
            logits, index = head(features, text)
            whole = time.perf_counter() - start
            label = least_seconds(1, label_map, logits, window.kernel, window.size, window.stride, image.shape[-2:],
                                  index)  # fmt: skip
            seconds = {"image encoder": encoder, **head.seconds,
                       "cost volume, guidance": whole - sum(head.seconds.values()), "label map": label}  # fmt: skip
            yield {"precision": precision, "words": str(count)} | {
                name: f"{value:.2f}" for name, value in seconds.items()
            }


def text_encoding() -> dict[str, str]:
    """Times the encoding of ADE-847's words in one template, against open_clip's with all texts padded to 77 tokens."""
    model, names = build("catseg_b", True), named_vocabulary("ade20k_847")
    templates = model.vocabulary.templates
    clip = open_clip.create_model("ViT-B-16-quickgelu").eval()
    tokens = open_clip.get_tokenizer("ViT-B-16-quickgelu")(
        [template.format(*channel) for channel in names.texts() for template in templates]
    )
    padded = least_seconds(1, lambda: [clip.encode_text(part) for part in tokens.split(256)])
    own = least_seconds(1, model.clip.text, names, templates)
    again = least_seconds(1, model.clip.text, names, templates)
    share = own / padded
    return {"words": str(len(names)), "seconds": f"{own:.2f}", "padded to 77 tokens [s]": f"{padded:.2f}",
            "share": f"{share:.3f}", "pass": f"{'pass' if share <= TEXT_BAR else 'MISS'} ({TEXT_BAR})",
            "second time [s]": f"{again:.4f}"}  # fmt: skip


def plot(rows: list[Row], path: Path, where: dict[str, str]) -> None:
    """Draws time in yardsticks over the number of words."""
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row.images == 1]
    titles = {"catseg_b": "CAT-Seg ViT-B/16, 480 x 640, sliding window", "lseg_l16": "LSeg ViT-L/16, 480 x 480"}
    units = {"catseg_b": "CLIP's image encoder in float32", "lseg_l16": "bare ViT in float32"}
    methods = list(dict.fromkeys(row.method for row in rows))
    figure, axes = plt.subplots(1, len(methods), figsize=(5.6 * len(methods), 4), squeeze=False, layout="constrained")
    for axis, method in zip(axes[0], methods):
        for path_, precision, color in (("reference", "float32", "0.5"), ("fast", "float32", "tab:blue"),
                                        ("fast", "bfloat16", "tab:orange")):  # fmt: skip
            own = [row for row in rows if (row.method, row.path, row.precision) == (method, path_, precision)]
            axis.plot([row.words for row in own], [row.ratio for row in own], "o-", color=color,
                      label=f"{path_}, {precision}")  # fmt: skip
        if method == "catseg_b":
            axis.plot(list(ORIGINAL), list(ORIGINAL.values()), "k--", label="original (another machine)")
        axis.set(xscale="log", yscale="log", title=titles[method], xlabel="words", ylabel=f"time / {units[method]}")
        axis.set_xticks(WORDS, [str(count) for count in WORDS])
        axis.set_yticks((0.5, 1, 2, 5, 10, 20), ("0.5", "1", "2", "5", "10", "20"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
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
    rows, where, start = [], environment(), time.perf_counter()
    print(", ".join(f"{name}: {value}" for name, value in where.items()), flush=True)
    with torch.inference_mode():
        for method in args.methods:
            for row in measure(method, args.words, args.rounds):
                rows.append(row)
                print(" ".join(f"{value:>9}" for value in row.shown().values()), flush=True)
        stages = list(catseg_stages([count for count in (7, 150) if count in args.words]))
        text = text_encoding()
    parts = [("Time and memory", [row.shown() for row in rows]), ("Stages of CAT-Seg's fast path, in seconds", stages),
             ("Encoding words", [text])]  # fmt: skip
    report = "".join(f"## {title}\n\n{markdown_table(table)}\n" for title, table in parts if table)
    report += ", ".join(f"{name}: {value}" for name, value in where.items())
    if "bfloat16" not in _precisions():
        report += "; bfloat16 was left out, because this processor can only emulate it"
    report += f"; all of it in {(time.perf_counter() - start) / 60:.0f} min\n"
    print("\n" + report)
    table = csv_text([row._asdict() | {"ratio": f"{row.ratio:.3f}", "verdict": row.verdict} | where for row in rows])
    write_table(args.output.with_suffix(".csv"), table)
    write_table(args.output.with_suffix(".md"), "# Speed on a CPU, by `make bench`\n\n" + report)
    plot(rows, args.output.with_suffix(".png"), where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
