"""A page about trainings: what they were, how they went, what came out. Markdown with pictures beside it, or HTML."""

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from openvocab.evaluation.report import score_table
from openvocab.reporting.plots import curves
from openvocab.reporting.runs import Run, differences

SHOWN_KEYS = ("MODEL.META_ARCHITECTURE", "MODEL.WEIGHTS", "MODEL.CLIP.NAME", "DATASETS.TRAIN", "DATASETS.TEST",
              "SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH", "SOLVER.BASE_LR", "SOLVER.PRETRAINED_MULTIPLIER",
              "SOLVER.OPTIMIZER", "SOLVER.AMP.ENABLED", "SEED")  # fmt: skip
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}
td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:left;font-size:.9rem}
img{max-width:100%;height:auto}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}td,th{border-color:#444}}"""


class Block(NamedTuple):
    """A part of the page.

    Attributes:
        kind: "h1", "h2", "p", "table" (`text` is Markdown's) or "image".
        text: or the alternative text of an image.
        image: PNG.
        name: of the image's file, without ending.
    """

    kind: str
    text: str
    image: bytes = b""
    name: str = ""


def blocks(runs: Sequence[Run]) -> Iterator[Block]:
    """Tells about trainings, one or several side by side.

    Args:
        runs: one or more.

    Yields:
        The parts of the page, in order.
    """
    names = [run.folder.name or str(run.folder) for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    yield Block("h1", "Training " + ", ".join(names))
    yield Block("table", _table(["", *names], _rows(runs)))
    if len(runs) > 1:
        changed = differences(list(runs))
        yield Block("h2", "What is not the same in all configs")
        rows = [[key, *map(_cell, each)] for key, each in changed.items()]
        yield (
            Block("table", _table(["key", *names], rows))
            if rows
            else Block("p", "Nothing: all keys have the same values.")
        )
    yield Block("h2", "Results of the last evaluation")
    rows = [({"run": name, "dataset": dataset}, scores) for name, run in zip(names, runs, strict=True)
            for dataset, scores in run.results.items()]  # fmt: skip
    yield Block("table", score_table(rows)) if rows else Block("p", "There is none yet.")
    yield Block("h2", "Curves")
    labels = names if len(runs) > 1 else [""]
    for group in _groups(sorted({name for run in runs for name in run.measured()})):
        title = ", ".join(group)
        if plot := curves(runs, group, labels, title):
            yield Block("image", title, plot, "".join(c if c.isalnum() else "_" for c in title)[:60])
    for name, run in zip(names, runs, strict=True):
        if run.sheets:
            yield Block("h2", f"{name}: {run.sheets[-1].stem}")
            yield Block(
                "image",
                f"pictures, truth, answers and errors of {name}",
                run.sheets[-1].read_bytes(),
                f"{run.folder.name}_{run.sheets[-1].stem}",
            )


def as_html(parts: Sequence[Block]) -> str:
    """Writes one file that holds everything.

    Args:
        parts: of `blocks`.
    """
    body = []
    for part in parts:
        if part.kind == "image":
            data = base64.b64encode(part.image).decode()
            body.append(f'<img alt="{html.escape(part.text)}" src="data:image/png;base64,{data}">')
        elif part.kind == "table":
            body.append(_html_table(part.text))
        else:
            body.append(f"<{part.kind}>{html.escape(part.text)}</{part.kind}>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{parts[0].text}</title>'
    return (
        f"<!doctype html>\n<html lang=en><head>{head}<style>{STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def as_markdown(parts: Sequence[Block], folder: str) -> tuple[str, dict[str, bytes]]:
    """Writes Markdown.

    Args:
        parts: of `blocks`.
        folder: of the pictures, relative to the file.

    Returns:
        The text, and name -> PNG of the files that belong into `folder`.
    """
    lines, images = [], {}
    for part in parts:
        if part.kind == "image":
            images[f"{part.name}.png"] = part.image
            lines.append(f"![{part.text}]({folder}/{part.name}.png)")
        else:
            lines.append({"h1": "# ", "h2": "## "}.get(part.kind, "") + part.text.rstrip("\n"))
    return "\n\n".join(lines) + "\n", images


def write_page(runs: Sequence[Run], path: Path) -> dict[Path, bytes]:
    """Makes the files of a page.

    Args:
        runs: one or more.
        path: .html, or .md with its pictures in a folder beside it.

    Returns:
        Paths and contents.
    """
    parts = list(blocks(runs))
    if path.suffix == ".html":
        return {path: as_html(parts).encode()}
    folder = path.with_name(path.stem + "_files")
    text, images = as_markdown(parts, folder.name)
    return {folder / name: image for name, image in images.items()} | {path: text.encode()}


def _rows(runs: Sequence[Run]) -> Iterator[list[str]]:
    most = [run.config.get("SOLVER.MAX_ITER", run.iterations) for run in runs]
    yield ["iterations", *(f"{min(run.iterations, end)} of {end}" for run, end in zip(runs, most, strict=True))]
    times = [run.curve("time")[1] for run in runs]
    yield ["seconds per iteration", *(f"{sorted(each)[len(each) // 2]:.3g} (median)" if each else "" for each in times)]
    for key in SHOWN_KEYS:
        if any(key in run.config for run in runs):
            yield [key, *(_cell(run.config.get(key)) for run in runs)]


def _groups(names: Sequence[str]) -> list[list[str]]:
    """Puts measures into plots: losses together, each score and each other measure by itself."""
    losses = [name for name in names if "loss" in name.lower()]
    scores = [name for name in names if name.endswith("mIoU")]
    single = ("gradient_norm", "lr", "time", "max_mem")
    others = [name for name in names if name in single or name.startswith("health/")]
    return [group for group in (losses, scores, *([name] for name in others)) if group]


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _table(head: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _html_table(text: str) -> str:
    def cells(line: str, tag: str) -> str:
        parts = line.strip().removeprefix("|").removesuffix("|").replace("\\|", "\0").split("|")
        return "".join(f"<{tag}>{html.escape(cell.strip().replace(chr(0), '|'))}</{tag}>" for cell in parts)

    head, _, *rows = text.strip().splitlines()
    return f"<table><tr>{cells(head, 'th')}</tr>" + "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows) + "</table>"
