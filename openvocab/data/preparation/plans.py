"""Which preparation belongs to which benchmark, and the command line that the scripts share."""

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from openvocab.assets import dataset_root
from openvocab.data.catalog import DatasetEntry, find_entries
from openvocab.data.preparation import ade20k, coco_20i, coco_stuff, fss_1000, pascal_context, pascal_voc
from openvocab.data.preparation.runner import Plan, Planner, prepare

logger = logging.getLogger(__name__)

PLANNERS: Mapping[str, Planner] = MappingProxyType({
    "coco_stuff": coco_stuff.plan,
    "ade20k_150": ade20k.plan_150,
    "ade20k_150_train": ade20k.plan_150,
    "ade20k_847": ade20k.plan_847,
    "pascal_context_59": pascal_context.plan_59,
    "pascal_context_459": pascal_context.plan_459,
    "pascal_voc_20": pascal_voc.plan,
    "pascal_voc_20b": pascal_voc.plan,
    "pascal_5i": pascal_voc.plan_5i,
    "coco_20i": coco_20i.plan,
    "fss_1000": fss_1000.plan,
})  # fmt: skip


def label_folders(benchmark: str) -> list[DatasetEntry]:
    """Returns one row of the table for each label folder of a benchmark (folds share theirs).

    Args:
        benchmark: a key of the table.

    Returns:
        Rows.

    Raises:
        ValueError: unknown name.
    """
    return list({entry.label_dir: entry for entry in find_entries(benchmark)}.values())


def plan_for(entry: DatasetEntry, root: Path, part: bool = False) -> Plan:
    """Looks at the raw files of a dataset and plans its preparation.

    For arguments, answer and further errors see `Planner`.

    Raises:
        ValueError: there is nothing to prepare.
    """
    if entry.benchmark not in PLANNERS:
        raise ValueError(f"entry: got {entry.name}, which is used as it is; expected one of {', '.join(PLANNERS)}")
    return PLANNERS[entry.benchmark](entry, root, part)


def run_script(benchmarks: Sequence[str], description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a preparation script.

    Args:
        benchmarks: that the script can prepare; all of them unless some are named.
        description: for --help.
        arguments: of the command line; default: the process's.

    Returns:
        Exit status: 0 when everything is prepared, 1 on an error that was printed.
    """
    options = _parser(benchmarks, description).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    root = dataset_root(options.root)
    status = 0
    for entry in (entry for name in options.benchmarks or benchmarks for entry in label_folders(name)):
        try:
            prepare(
                plan_for(entry, root, options.part),
                processes=options.processes, again=options.again, progress=not options.quiet,
            )  # fmt: skip
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            logger.error("%s: error: %s", entry.benchmark, error)
            status = 1
        except KeyboardInterrupt:
            logger.error("interrupted: the same command goes on from here")
            return 130
    return status


def _parser(benchmarks: Sequence[str], description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("benchmarks", nargs="*", metavar="NAME", type=partial(_one_of, benchmarks),
                        help=f"any of {', '.join(benchmarks)}; default: all")  # fmt: skip
    add_common_options(parser)
    parser.add_argument("--again", action="store_true", help="replace what is prepared already")
    parser.add_argument("--part", action="store_true", help="prepare what is there, although files are missing")
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that preparation and checker share: --root, --processes, --quiet."""
    parser.add_argument("--root", type=Path, help="folder of the datasets; default: DETECTRON2_DATASETS, else datasets")
    parser.add_argument("--processes", type=_positive, default=os.cpu_count() or 1, help="default: one per processor")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _one_of(names: Sequence[str], text: str) -> str:
    if text not in names:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected any of {', '.join(names)}")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {number}, expected at least 1")
    return number
