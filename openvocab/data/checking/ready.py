"""The check before a job starts: benchmarks by their stamps, folders of one's own file by file."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.assets import dataset_root
from openvocab.data.catalog import CATALOG
from openvocab.data.checking.folders import check_folder
from openvocab.data.checking.quick import check_quickly

logger = logging.getLogger(__name__)


def require_ready(names: Sequence[str], root: str | Path | None = None, *, may_skip: Collection[str] = ()) -> None:
    """Checks datasets before time is spent on them; takes a second or so for each, and longer for folders of one's own.

    Args:
        names: of registered datasets; those that are neither in the table nor in DATASETS.FOLDERS (drawn scenes) are
            passed over.
        root: folder of the datasets; default as for `register_all`.
        may_skip: names of those whose unreadable pictures and masks will be left out, which is a warning then.

    Raises:
        ValueError: something is missing or wrong; holds the report of every dataset that is not ready.
    """
    folder = dataset_root(root)
    reports = [check_quickly(entry, folder) for entry in CATALOG if entry.name in names]
    for name in dict.fromkeys(names):
        own = MetadataCatalog.get(name).get("folder", None) if name in DatasetCatalog else None
        if own is not None:
            reports.append(check_folder(own, skip_unreadable=name in may_skip))
    for report in reports:
        for text in report.warnings:
            logger.warning("%s: %s", report.name, text)
    failed = [str(report) for report in reports if not report.ok]
    if failed:
        raise ValueError("datasets are not ready\n" + "\n".join(failed))
