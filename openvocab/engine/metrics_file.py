"""metrics.json of a run that was resumed: each iteration once."""

import json
import logging
import os
from pathlib import Path

from openvocab.engine.resuming import Plan
from openvocab.files import write_atomically

logger = logging.getLogger(__name__)


def prepare_metrics(path: Path, plan: Plan) -> None:
    """Makes the metrics file of a run that starts or goes on.

    Lines whose iterations are counted in another batch are kept in a file of their own.

    Args:
        path: metrics.json; may be missing.
        plan: where the run starts.
    """
    if plan.same_batch:
        keep_metrics_before(path, plan.iteration)
        return
    kept = path.with_name(f"metrics_until_{plan.old_iterations}_iterations_{plan.draw + plan.repeated}_samples.json")
    if path.exists() and not kept.exists():
        keep_metrics_before(path, plan.old_iterations)
        os.replace(path, kept)
        logger.info("the batch has changed: metrics of the iterations before are in %s", kept)
    keep_metrics_before(path, 0)  # where they were kept before, what is left belongs to iterations that run again


def keep_metrics_before(path: Path, iteration: int) -> None:
    """Drops lines of a metrics file that belong to iterations which will run (again), and a half-written last line.

    Args:
        path: metrics.json, one JSON object a line; may be missing.
        iteration: the first that will run.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            logger.warning("%s: dropped a broken line", path)
            continue
        if entry["iteration"] < iteration:
            kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())
