"""What adaptation to one's own classes gains, and what it costs the others: the small CAT-Seg on EmojiScapes.

    python tools/fetch_drawings.py
    python benchmarks/adapt.py --output DIR
    python benchmarks/adapt.py --output DIR --ways low_rank --keep 1 --pictures 16 64 256 --seeds 0 1 2

Own classes are the 24 novel nouns, labelled in scenes that no training has seen, all else in them unlabelled; the
others are the 96 base nouns and 15 stuff that the model was trained on. All 135 words are asked for in the 100
scenes of emojiscapes_mini_test, in one view (windows take eight times as long). Seeds draw other pictures, too. A row
that is in DIR/adapt.csv is not made again; KEY VALUE pairs at the end go on top of configs/emojiscapes/adapt.yaml and
stand in the row.
"""

import argparse
import csv
import itertools
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger
from tables import csv_text, write_table

from openvocab.data.emojiscapes.register import register_split
from openvocab.data.emojiscapes.world import TRAIN_STYLES
from openvocab.data.register import register_all
from openvocab.engine.changes import compare
from openvocab.engine.errors import report_user_errors
from openvocab.engine.job import LOGGER_NAMES
from openvocab.engine.setup import build_cfg
from openvocab.engine.trainer import Trainer

CONFIG, TEST = "emojiscapes/adapt", "emojiscapes_mini_test"
WAYS = {
    "head": ["MODEL.CLIP.FINETUNE", "none", "MODEL.CLIP.RANK", "0"],
    "qv": ["MODEL.CLIP.RANK", "0", "SOLVER.PRETRAINED_MULTIPLIER", "0.2"],
    "low_rank": [],
}
"""What is trained: the head alone, the q and v projections of CLIP as well, or low-rank matrices beside them."""

ONE_VIEW = ["TEST.SLIDING_WINDOW.ENABLED", "False", "INPUT.MIN_SIZE_TEST", "128", "TEST.ORACLE_GRID", "0",
            "TEST.SHEET_IMAGES", "0", "TEST.START", "False", "MODEL.DEVICE", "cpu"]  # fmt: skip


class Run(NamedTuple):
    """What a row is about."""

    way: str
    keep: float
    pictures: int
    seed: int
    pairs: str

    def config(self, folder: Path) -> CfgNode:
        """Composes the config of its training, without dataset of pictures being registered."""
        return build_cfg(CONFIG, [*ONE_VIEW, *WAYS[self.way],
                                  "SOLVER.KEEP.WEIGHT", str(self.keep), "SEED", str(self.seed),
                                  "DATASETS.TRAIN", f"('{self.dataset}',)", "OUTPUT_DIR", str(folder / self.name),
                                  *self.pairs.split()])  # fmt: skip

    @property
    def dataset(self) -> str:
        """Name of its pictures."""
        return f"emojiscapes_mini_own{self.seed}_{self.pictures}"

    @property
    def name(self) -> str:
        """Of its folder."""
        more = "".join(f"_{word}" for word in self.pairs.replace("/", "").split())
        return f"{self.way}_{self.keep:g}_{self.pictures}_{self.seed}{more}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing and writes the table after each."""
    args = parse(arguments)
    wanted = [Run(*each, " ".join(args.opts)) for each in
              itertools.product(args.ways, args.keep, args.pictures, args.seeds)]  # fmt: skip
    torch.set_num_threads(args.threads)
    register_all()
    for name in (TEST, *(run.dataset for run in wanted)):  # the test's may be fewer, or in other styles
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
    register_split(TEST, "test", args.styles, args.scenes)
    for name, seed, pictures in {(run.dataset, run.seed, run.pictures) for run in wanted}:
        register_split(name, f"own{seed}", args.styles, pictures)
    table, folder = args.output / "adapt.csv", args.runs or args.output / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for name in LOGGER_NAMES:
        setup_logger(str(folder), name=name)
    rows = list(csv.DictReader(table.read_text().splitlines())) if table.is_file() else []
    start = before(folder)
    for number, run in enumerate(wanted, start=1):
        about = {key: str(value) for key, value in run._asdict().items()}
        if any(about.items() <= row.items() for row in rows):
            continue
        logging.getLogger("openvocab").info("run %d of %d: %s", number, len(wanted), run.name)
        rows.append(about | adapted(run, folder, start))
        write_table(table, csv_text(rows))
    print(table.read_text(), end="")


def before(folder: Path) -> dict[str, Any]:
    """Evaluates the weights that all start from, once."""
    path = folder / "start" / f"{TEST}_results.json"
    if not path.is_file():
        cfg = build_cfg(CONFIG, [*ONE_VIEW, "OUTPUT_DIR", str(path.parent), "MODEL.CLIP.RANK", "0"])
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        trainer.test(cfg, trainer.model, resume=True)
    return json.loads(path.read_text(encoding="utf-8"))


def adapted(run: Run, folder: Path, start: dict[str, Any]) -> dict[str, str]:
    """Trains and evaluates; gives a row."""
    cfg, began = run.config(folder), time.perf_counter()
    shutil.rmtree(cfg.OUTPUT_DIR, ignore_errors=True)  # of an interrupted one
    torch.manual_seed(run.seed)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    after = json.loads((Path(cfg.OUTPUT_DIR) / f"{TEST}_results.json").read_text(encoding="utf-8"))
    for file in Path(cfg.OUTPUT_DIR).glob("*.pth"):
        file.unlink()
    changes = compare(start, after)
    numbers = {f"{group}_{when}": f"{getattr(changes[group], when):.2f}"
               for group in ("own", "others") for when in ("before", "after")}  # fmt: skip
    groups = {f"{name.removeprefix('mIoU-')}_change": f"{after['scores'][name] - start['scores'][name]:.2f}"
              for name in ("mIoU-base", "mIoU-stuff")}  # fmt: skip
    rate = cfg.SOLVER.BASE_LR
    return {"iterations": str(cfg.SOLVER.MAX_ITER), "batch": str(cfg.SOLVER.IMS_PER_BATCH), "rate": f"{rate:g}",
            "rate_clip": f"{rate * cfg.SOLVER.PRETRAINED_MULTIPLIER:g}", **numbers,
            "own_change": f"{changes['own'].after - changes['own'].before:.2f}",
            "others_change": f"{changes['others'].after - changes['others'].before:.2f}", **groups,
            "minutes": f"{(time.perf_counter() - began) / 60:.1f}"}  # fmt: skip


def parse(arguments: Iterable[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="of adapt.csv")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="of logs and results (default: OUTPUT/runs)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--keep", nargs="+", type=float, default=[0.0, 1.0], help="SOLVER.KEEP.WEIGHT")
    parser.add_argument("--pictures", nargs="+", type=int, default=[64])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scenes", type=int, default=100, help="of the test")
    parser.add_argument("--styles", nargs="+", default=TRAIN_STYLES, help="of drawings")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(report_user_errors(main))
