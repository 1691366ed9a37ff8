"""Holds curves of absent words against scenes of another seed, compares what else could decide, and draws both.

    python benchmarks/none_of_these.py check --seed 1 --pictures 40     # rows of results/none_of_these.csv
    python benchmarks/none_of_these.py signals --seed 2 --pictures 20   # rows of results/none_of_these_signals.csv
    python benchmarks/none_of_these.py mixes --seed 11 --pictures 300   # rows of results/none_of_these_mixes.csv
    python benchmarks/none_of_these.py plot                             # results/none_of_these.png

All but `plot` take --model (default: both small ones) and --opts. One thread, a CPU. Rows of the same model, protocol
and seed are replaced.
"""

import argparse
import csv
import io
import sys
from pathlib import Path

import numpy as np
import torch
from tables import csv_text, write_table

from openvocab.cli.calibrate import samples
from openvocab.data.emojiscapes import world
from openvocab.data.reading import read_pair
from openvocab.evaluation.absent import SHARES, WORDS, at_threshold, observe
from openvocab.files import write_atomically
from openvocab.inference.absent import cut_of, places, read_curves
from openvocab.inference.segmenter import Segmenter
from openvocab.vocab.vocabulary import Vocabulary

RESULTS = Path(__file__).resolve().parent / "results"
MODELS = ("emojiscapes_catseg", "emojiscapes_lseg")
MIXES = ((1, 0), (2, 1), (5, 0), (5, 1), (5, 4), (10, 5), (20, 1), (20, 19))  # words, and how many are there, at most
MIXED = (0.1, 0.2, 0.3)  # shares of the table of mixes
SIGNALS = ("score", "margin to the second word", "cosine", "cosine above the best of the 111 training words")


def view_of(segmenter):
    """Names how a picture is seen, as the tables have it."""
    return "windows" if segmenter.cfg.TEST.SLIDING_WINDOW.ENABLED else "one view"


def check(segmenter, pictures, seed, more):
    """Gives rows: for each share and number of words, what is shown and kept of scenes that calibration never saw."""
    dicts, vocabulary, ignore, _ = samples(segmenter, None, pictures, seed)
    counts = (*WORDS, *more)
    told = list(observe(segmenter, map(read_pair, dicts), vocabulary, ignore, seed, counts=counts))
    for share in SHARES:
        for count in counts:
            threshold = threshold_of(segmenter, share, count)
            if threshold is None:
                continue
            none, some, kept = at_threshold(told, count, threshold)
            yield {"model": segmenter.name, "view": view_of(segmenter), "seed": seed, "pictures": len(told),
                   "words": count, "absent": share, "threshold": f"{threshold:.4f}",
                   "shown, no word is there": f"{none:.4f}", "shown, some are there": f"{some:.4f}",
                   "kept": f"{kept:.4f}"}  # fmt: skip


def threshold_of(segmenter, share, count):
    """Gives the threshold of a share, or None where the option refuses it."""
    try:
        return cut_of(segmenter, share, count).threshold
    except ValueError as error:
        print(error, file=sys.stderr)
        return None


def mixes(segmenter, pictures, seed, _):
    """Gives rows: what is shown of few and of many absent words, and what is kept of each kind of word."""
    dicts, vocabulary, ignore, _ = samples(segmenter, None, pictures, seed)
    found = {mix: ([], []) for mix in MIXES}
    for number, (pixels, labels) in enumerate(map(read_pair, dicts)):
        rng, present = np.random.default_rng([seed, number]), np.setdiff1d(labels, [ignore])
        others = np.setdiff1d(np.arange(len(vocabulary)), present)
        places_ = rng.choice(labels.size, 4096, replace=False)
        seen = {"seen": segmenter.look(pixels).seen_by(segmenter), "output": "cosine",
                "height": labels.shape[0], "width": labels.shape[1]}  # fmt: skip
        for count, held in [mix for mix in MIXES for _ in range(4 if mix[0] == 1 else 1)]:
            own = rng.choice(present, min(held, len(present)), replace=False)
            words = np.concatenate([own, rng.choice(others, count - len(own), replace=False)]).astype(int)
            with torch.inference_mode():
                asked = Vocabulary.from_words([vocabulary.names[word] for word in words])
                (answer,) = segmenter.model([seen | {"vocabulary": asked}])
            chosen, cosine = (answer[key].flatten()[places_].numpy() for key in ("labels", "cosine"))
            chosen = words[chosen]
            right, absent = chosen == labels.ravel()[places_], ~np.isin(chosen, present)
            found[count, held][0].append(cosine[absent])
            found[count, held][1].append(np.stack([chosen[right], cosine[right]]))
    for share in MIXED:
        for (count, held), (absent, right) in found.items():
            threshold = threshold_of(segmenter, share, count)
            if threshold is None:
                continue
            words, cosine = np.concatenate(right, axis=1)
            groups = (words >= 0, *groups_of(words))
            yield {"model": segmenter.name, "view": view_of(segmenter), "seed": seed, "pictures": pictures,
                   "words": count, "of them there": held, "absent": share,
                   "shown": f"{(np.concatenate(absent) >= threshold).mean():.4f}",
                   **{f"kept of {group}": f"{(cosine[own] >= threshold).mean() if own.any() else np.nan:.4f}"
                      for group, own in zip(("all", "base nouns", "novel nouns", "stuff"), groups, strict=True)},
                   }  # fmt: skip


def groups_of(words):
    """Says which class ids are nouns that training has named, novel nouns, and stuff."""
    novel, stuff = np.isin(words, list(world("mini").novel)), words >= len(world("mini").nouns)
    return ~novel & ~stuff, novel, stuff


def signals(segmenter, pictures, seed, _):
    """Gives rows: how well each signal tells right pixels from absent ones, as area under the ROC curve."""
    dicts, vocabulary, ignore, _ = samples(segmenter, None, pictures, seed)
    silent = [word for number, word in enumerate(vocabulary.names) if number not in world("mini").novel]
    found = {(count, signal): ([], []) for count in WORDS for signal in SIGNALS}
    for number, (pixels, labels) in enumerate(map(read_pair, dicts)):
        rng, present = np.random.default_rng([seed, number]), np.setdiff1d(labels, [ignore])
        look, places_ = segmenter.look(pixels), rng.choice(labels.size, 1000, replace=False)
        others = np.setdiff1d(np.arange(len(vocabulary)), present)
        for count in WORDS:
            for held in {0, (count + 1) // 2}:
                own = rng.choice(present, min(held, len(present)), replace=False)
                words = np.concatenate([own, rng.choice(others, count - len(own), replace=False)]).astype(int)
                names = [vocabulary.names[word] for word in words]
                values = signals_of(segmenter, look, names, [word for word in silent if word not in names], places_)
                chosen, truth = words[values.pop("chosen")], labels.ravel()[places_]
                for signal, value in values.items():
                    found[count, signal][0].append(value[chosen == truth])
                    found[count, signal][1].append(value[~np.isin(chosen, present)])
    for signal in SIGNALS:
        parts = [tuple(np.concatenate([*found[count, signal][part]]) for part in (0, 1)) for count in WORDS]
        pooled = tuple(np.concatenate([pair[part] for pair in parts]) for part in (0, 1))
        yield {"model": segmenter.name, "view": view_of(segmenter), "seed": seed, "pictures": pictures,
               "signal": signal,
               **{f"{count} words": f"{area(*pair):.3f}" for count, pair in zip(WORDS, parts, strict=True)},
               "all": f"{area(*pooled):.3f}"}  # fmt: skip


def signals_of(segmenter, look, names, silent, places_):
    """Gives the signals at some pixels, and the word that was chosen there."""
    maps = look.probabilities(names).reshape(len(names), -1)[:, places_]
    size, seen = look.pixels.shape[:2], look.seen_by(segmenter)
    with torch.inference_mode():
        text = segmenter.model.text_features(Vocabulary.from_words([*names, *silent]))
        cosines = segmenter.model.similarity(seen, size, text).flatten(1)[:, places_].numpy()
    chosen, at = maps.argmax(axis=0), np.arange(len(places_))
    ordered = np.sort(np.concatenate([maps, np.zeros((1, len(places_)), np.float32)]), axis=0)
    cosine = cosines[chosen, at]
    return {
        "chosen": chosen,
        **dict(
            zip(
                SIGNALS,
                (maps[chosen, at], ordered[-1] - ordered[-2], cosine, cosine - cosines[len(names) :].max(axis=0)),
                strict=True,
            )
        ),
    }


def area(right, absent):
    """Gives the area under the ROC curve: how often a right pixel has more than an absent one, ties counted half."""
    ordered = np.sort(absent)
    ranks = np.searchsorted(ordered, right) + np.searchsorted(ordered, right, side="right")
    return ranks.mean() / (2 * len(absent))


def add_rows(path, rows, keys=("model", "view", "seed")):
    """Writes rows into a table, in place of those with the same keys."""
    before = list(csv.DictReader(path.open(encoding="utf-8", newline=""))) if path.is_file() else []
    new = {tuple(str(row[key]) for key in keys) for row in rows}
    kept = [row for row in before if tuple(row[key] for key in keys) not in new]
    write_table(path, csv_text(sorted([*kept, *rows], key=lambda row: tuple(str(row[key]) for key in keys))))


def plot():
    """Draws the curves that ship and, as points, the scenes that calibration never saw."""
    from matplotlib.figure import Figure

    table = list(csv.DictReader((RESULTS / "none_of_these.csv").open(encoding="utf-8", newline="")))
    figure = Figure(figsize=(7.2, 3.2), dpi=110, layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), MODELS, strict=True):
        segmenter = Segmenter.load(name, device="cpu")
        path = next(place for place in places(name, segmenter.weights) if place.is_file())
        for curve, style in zip(read_curves(path, segmenter.weights_sha256), ("-", ":"), strict=False):
            view = "windows" if curve.protocol["sliding_window"] != "off" else "one view"
            shares, shown, kept = zip(*((point.share, max(point.shown), min(point.kept)) for point in curve.points))
            axes.plot(shares, kept, "C0" + style, label=f"right, kept ({view})")
            axes.plot(shares, shown, "C3" + style, label=f"absent, shown ({view})")
            rows = [row for row in table if row["model"] == name and row["view"] == view and int(row["words"]) in WORDS]
            marker = "x" if style == "-" else "+"
            axes.plot([float(row["absent"]) for row in rows], [float(row["kept"]) for row in rows], "C0" + marker, ms=4)
            for column in ("shown, no word is there", "shown, some are there"):
                axes.plot([float(row["absent"]) for row in rows], [float(row[column]) for row in rows], "C3" + marker,
                          ms=4)  # fmt: skip
            axes.axvspan(0, max(map(curve.least, curve.words)), color="0.5", alpha=0.12, lw=0)
        axes.plot([0, 0.5], [0, 0.5], "k-", lw=0.5)
        axes.axhline(0.8, color="k", lw=0.5, ls="--")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("absent = share that may be shown", fontsize=9)
        axes.set(xlim=(0, 0.52), ylim=(0, 1.02))
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(0.02, 0.62))
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    write_atomically(RESULTS / "none_of_these.png", file.getvalue())


def main():
    """Does one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "signals", "mixes", "plot"))
    parser.add_argument("--model", nargs="+", default=MODELS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--more", type=int, nargs="*", default=[], help="further numbers of words (check)")
    parser.add_argument("--opts", nargs="+", default=[])
    args = parser.parse_args()
    if args.what == "plot":
        return plot()
    torch.set_num_threads(1)
    for name in args.model:
        segmenter = Segmenter.load(name, device="cpu", overrides=args.opts)
        measure = {"check": check, "signals": signals, "mixes": mixes}[args.what]
        rows = list(measure(segmenter, args.pictures, args.seed, args.more))
        for row in rows:
            print(*row.values(), sep="  ", flush=True)
        if rows:
            add_rows(RESULTS / f"none_of_these{'' if args.what == 'check' else '_' + args.what}.csv", rows)
    return None


if __name__ == "__main__":
    sys.exit(main())
