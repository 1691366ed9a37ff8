"""Evaluates several models on the same datasets and prints one table, a row per model and dataset.

    python tools/compare.py
    python tools/compare.py --models catseg_b lseg_l16 --datasets ade20k_150_test_sem_seg --num-gpus 8

Results with the IoU of every class go to OUTPUT/MODEL (openvocab.evaluation.report), the table to OUTPUT/table.md,
which replaces nothing but an earlier table.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from openvocab.checkpoint import zoo
from openvocab.checkpoint.load import load_weights
from openvocab.console import escape_what_cannot_be_shown
from openvocab.data.checking.ready import require_ready
from openvocab.data.folders import register_folders
from openvocab.data.register import register_all
from openvocab.engine.errors import report_user_errors
from openvocab.engine.folder import claimed_folder
from openvocab.engine.job import setup_job
from openvocab.engine.launcher import count_processes, run_processes
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.report import score_table
from openvocab.evaluation.run import evaluate
from openvocab.files import replace_together
from openvocab.inference import marks

TABLE = "table.md"
refuse_other_tables = partial(marks.refuse_foreign, kind=marks.TABLE)

DATASETS = ("emojiscapes_mini_test", "emojiscapes_mini_test_heldout")


def config_of(name: str, datasets: list[str], output: Path, device: str, overrides: list[str]) -> CfgNode:
    """Composes the evaluation of one model.

    Args:
        name: of `openvocab.checkpoint.zoo`.
        datasets: registered names.
        output: folder of all models.
        device: "cpu" or "cuda".
        overrides: KEY, VALUE pairs for every model.

    Returns:
        The config, frozen.

    Raises:
        ValueError: an unknown name or key, or missing weights.
    """
    model = zoo.find(name)
    cfg = build_cfg(model.config, overrides)
    cfg.MODEL.WEIGHTS = str(zoo.weights_file(model))
    cfg.MODEL.DEVICE = device
    cfg.DATASETS.TEST = tuple(datasets)
    cfg.OUTPUT_DIR = str(output / name)
    cfg.freeze()
    return cfg


def run(configs: dict[str, CfgNode], output: Path) -> None:
    """Evaluates every model in this process, and prints the table on the first one."""
    register_all()
    for cfg in configs.values():
        register_folders(cfg.DATASETS.FOLDERS)
    if comm.is_main_process():
        require_ready(next(iter(configs.values())).DATASETS.TEST)
    comm.synchronize()
    rows = []
    for name, cfg in configs.items():
        with claimed_folder(cfg.OUTPUT_DIR, training=False, resume=False):
            setup_job(cfg)
            model = build_model(cfg)
            load_weights(model, cfg.MODEL.WEIGHTS)
            if comm.is_main_process():
                zoo.note_hash(zoo.find(name), Path(cfg.MODEL.WEIGHTS))
            rows += [({"model": name, "dataset": result.dataset}, result.scores) for result in evaluate(cfg, model)]
    if comm.is_main_process():
        table = score_table(rows)
        text = f"{marks.TEXTS[marks.TABLE]}\n\n{table}".encode()
        replace_together({output / TABLE: lambda file: file.write(text)}, refuse_other_tables)
        print(table, end="")


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["emojiscapes_catseg", "emojiscapes_lseg"], metavar="NAME")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("output/compare"))
    parser.add_argument("--num-gpus", type=int, default=0)
    parser.add_argument("--num-processes", type=int, default=0, help="CPU processes, with --num-gpus 0 (default 1)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys to override, for every model")
    args = parser.parse_args(arguments)
    escape_what_cannot_be_shown()

    def start() -> int:
        processes, device = count_processes(args.num_gpus, args.num_processes)
        configs = {name: config_of(name, args.datasets, args.output, device, args.opts) for name in args.models}
        refuse_other_tables([args.output / TABLE])
        args.output.mkdir(parents=True, exist_ok=True)
        return run_processes(run, (configs, args.output), processes=processes, device=device)

    return report_user_errors(start)


if __name__ == "__main__":
    sys.exit(main())
