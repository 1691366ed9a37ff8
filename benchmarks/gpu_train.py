"""Part of `gpu.py`: trains the small models by the README's recipe, whole, and evaluates them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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


def steps(setting: "Setting") -> list[Step]:
    """Lists the recipe's commands, run in a scratch folder.

    Args:
        setting: a dry run takes two iterations each, in the one style that needs no fetched drawings.

    Returns:
        The steps, in their order.
    """
    workers = max(1, (os.cpu_count() or 2) - 2)
    draw = ["--device", setting.device, "--workers", str(1 if setting.dry else workers)]
    own = ["--num-gpus", "0" if setting.dry else "1"]
    keys = ["DATALOADER.NUM_WORKERS", "0" if setting.dry else str(workers)]
    short = []
    if setting.dry:
        draw += ["--styles", "openmoji", "--crops", "8", "--processes", "1"]
        short = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()",
                 "DATASETS.TRAIN", "('emojiscapes_mini_train_openmoji',)"]  # fmt: skip
    steps_of_clip = {phase: "1" if setting.dry else count for phase, count in (("names", "2000"), ("places", "2400"))}
    clip, catseg = ["MODEL.CLIP.PRETRAINED", "clip.pt"], ["--config-file", f"{ROOT}/configs/emojiscapes/catseg.yaml"]
    lseg = ["--config-file", f"{ROOT}/configs/emojiscapes/lseg.yaml"]
    tool, train = [f"{ROOT}/tools/train_small_clip.py", *draw, "--output"], [f"{ROOT}/train_net.py", *own]
    return [
        Step("clip, names", "names", [*tool, "names", "--steps", steps_of_clip["names"]]),
        Step("clip, places", "places", [*tool, "places", "--phase", "places", "--steps", steps_of_clip["places"],
                                        "--init", "names/clip.pt"]),
        Step("clip, half precision", "", [f"{ROOT}/tools/export_weights.py", "places/clip.pt", "clip.pt"]),
        Step("catseg", "first", [*train, *catseg, "OUTPUT_DIR", "first", *clip, *keys, *short]),
        Step("catseg, all of CLIP", "second", [
            *train, *catseg, "OUTPUT_DIR", "second", "MODEL.WEIGHTS", "first/model_final.pth", *clip,
            "MODEL.CLIP.FINETUNE", "full", "SOLVER.PRETRAINED_MULTIPLIER", "0.3", "SOLVER.BASE_LR", "0.0006",
            "SOLVER.MAX_ITER", "800", "SEED", "2", *keys, *short]),
        Step("lseg", "lseg", [*train, *lseg, "OUTPUT_DIR", "lseg", *clip, "MODEL.LSEG.BACKBONE_PRETRAINED", "clip.pt",
                              *keys, *short]),
    ]  # fmt: skip


def train(setting: "Setting") -> Iterator[dict[str, Any]]:
    """Runs the recipe; a row per command with its seconds, and one per dataset with the scores."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        for step in steps(setting):
            if setting.late:
                return
            start = time.monotonic()
            done = subprocess.run([sys.executable, *step.command], cwd=scratch, env=environment, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{step.name} ended with {done.returncode}: {done.stdout[-3000:]}")
            yield _row(step.name, seconds=f"{time.monotonic() - start:.0f}")
            for report in sorted((Path(scratch) / step.folder).rglob("*_results.json") if step.folder else ()):
                result = json.loads(report.read_text())
                yield _row(step.name, result["dataset"], result["scores"])
            accuracy = Path(scratch) / step.folder / "zero_shot.json"
            if step.folder and accuracy.is_file():
                yield _row(step.name, note=" ".join(accuracy.read_text().split()))


def _row(step: str, dataset: str = "", scores: dict[str, float] | None = None, seconds: str = "",
         note: str = "") -> dict[str, Any]:
    found = {name: f"{(scores or {}).get(name, float('nan')):.2f}" if scores else "" for name in SCORES}
    return {"step": step, "seconds": seconds, "dataset": dataset, **found, "note": note}
