"""The command line of the checker."""

import argparse
import logging
from collections.abc import Sequence

from openvocab.assets import dataset_root
from openvocab.data.catalog import benchmarks, find_entries
from openvocab.data.checking.full import check_fully
from openvocab.data.checking.quick import check_quickly
from openvocab.data.preparation.plans import add_common_options


def run_check(description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs the checker and prints a report for each dataset.

    Args:
        description: for --help.
        arguments: of the command line; default: the process's.

    Returns:
        Exit status: 0 when all datasets can be used, 1 otherwise.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="+", metavar="NAME",
                        help=f"'all', {', '.join(benchmarks())}, or a dataset's full name")  # fmt: skip
    add_common_options(parser)
    parser.add_argument("--fast", action="store_true", help="stamp, counts, pairs and a few files, as before training")
    parser.add_argument("--adopt", action="store_true",
                        help="if other scripts prepared the dataset and all is well, note that here")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.fast and options.adopt:
        parser.error("--adopt: got --fast as well, expected the full check, which reads every file")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    names = benchmarks() if "all" in options.names else options.names
    try:
        entries = list(dict.fromkeys(entry for name in names for entry in find_entries(name)))
    except ValueError as error:
        parser.error(str(error))
    root = dataset_root(options.root)
    ready, known = True, {}
    for entry in entries:
        if options.fast:
            report = check_quickly(entry, root)
        else:
            report = check_fully(
                entry, root,
                processes=options.processes, progress=not options.quiet, adopt=options.adopt, known=known,
            )  # fmt: skip
        print(report, flush=True)
        ready = ready and report.ok
    return 0 if ready else 1
