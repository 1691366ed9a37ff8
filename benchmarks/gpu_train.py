"""Parts of `gpu.py`: the small models' training by the recipe in docs/EMOJISCAPES.md, whole, and evaluation."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gpu import Setting

ROOT = Path(__file__).resolve().parent.parent
SCORES = ("mIoU-base", "mIoU-novel", "mIoU-stuff", "pACC")


class Step(NamedTuple):
    """A command of the recipe; `folder` is where training leaves its results, "" for none."""

    name: str
    folder: str
    command: list[str]


def train_clip(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Trains the small CLIP, both phases; a row per command, with the accuracy on fresh crops."""
    options = ["--device", setting.device, "--workers", str(_workers(setting))]
    if setting.dry:
        options += ["--styles", "openmoji", "--crops", "8", "--processes", "1"]
    tool = [f"{ROOT}/tools/train_small_clip.py", *options, "--output"]
    names, places = ("1", "1") if setting.dry else ("2000", "2400")
    yield from _run(setting, [
        Step("names", "names", [*tool, "names", "--steps", names]),
        Step("places", "places", [*tool, "places", "--phase", "places", "--steps", places, "--init", "names/clip.pt"]),
        Step("half precision", "", [f"{ROOT}/tools/export_weights.py", "places/clip.pt", "clip.pt"]),
    ])  # fmt: skip


def train(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Trains the small CAT-Seg, both times, and the small LSeg on the shipped CLIP; a row per command and dataset."""
    command = [f"{ROOT}/train_net.py", "--num-gpus", "0" if setting.dry else "1", "--config-file"]
    keys = ["DATALOADER.NUM_WORKERS", str(_workers(setting))]
    short = []
    if setting.dry:
        short = ["SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()",
                 "DATASETS.TRAIN", "('emojiscapes_mini_train_openmoji',)"]  # fmt: skip
    catseg, lseg = (f"{ROOT}/configs/emojiscapes/{name}.yaml" for name in ("catseg", "lseg"))
    yield from _run(setting, [
        Step("catseg", "first", [*command, catseg, "OUTPUT_DIR", "first", *keys, *short]),
        Step("catseg, all of CLIP", "second", [
            *command, catseg, "OUTPUT_DIR", "second", "MODEL.WEIGHTS", "first/model_final.pth",
            "MODEL.CLIP.FINETUNE", "full", "SOLVER.PRETRAINED_MULTIPLIER", "0.3", "SOLVER.BASE_LR", "0.0006",
            "SOLVER.MAX_ITER", "800", "SEED", "2", *keys, *short]),
        Step("lseg", "lseg", [*command, lseg, "OUTPUT_DIR", "lseg", *keys, *short]),
    ])  # fmt: skip


def _workers(setting: "Setting") -> int:
    return 1 if setting.dry else max(1, (os.cpu_count() or 2) - 2)


def _run(setting: "Setting", steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """Runs commands in a scratch folder; a row per command with its seconds, and one per result that it leaves."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        for step in steps:
            if setting.late:
                return
            start = time.monotonic()
            done = subprocess.run([sys.executable, *step.command], cwd=scratch, env=environment, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{step.name} ended with {done.returncode}: {done.stdout[-3000:]}")
            yield _row(step.name, seconds=f"{time.monotonic() - start:.0f}")
            folder = Path(scratch) / step.folder
            for report in sorted(folder.rglob("*_results.json")) if step.folder else ():
                result = json.loads(report.read_text())
                yield _row(step.name, result["dataset"], result["scores"])
            if step.folder and (folder / "zero_shot.json").is_file():
                yield _row(step.name, note=" ".join((folder / "zero_shot.json").read_text().split()))


def _row(
    step: str, dataset: str = "", scores: dict[str, float] | None = None, seconds: str = "", note: str = ""
) -> dict[str, Any]:
    found = {name: f"{(scores or {}).get(name, float('nan')):.2f}" if scores else "" for name in SCORES}
    return {"step": step, "seconds": seconds, "dataset": dataset, **found, "note": note}
