"""What an interrupted evaluation leaves: pixel counts of the first n samples, and what they are the counts of."""

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from openvocab.evaluation.words import words_for_test
from openvocab.files import replace_atomically

logger = logging.getLogger(__name__)

FILE_KEYS = ("file_name", "sem_seg_file_name")


class Progress(NamedTuple):
    """How far an evaluation has come.

    Attributes:
        done: number of samples, the first of the dataset's list.
        counts: their pixel counts, see `PixelCounter`.
    """

    done: int
    counts: dict[str, np.ndarray]


def evaluation_key(cfg: CfgNode, name: str, statement: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> str:
    """Hashes everything that determines the counts.

    Args:
        cfg: MODEL, INPUT and TEST.
        name: of the dataset, for its words.
        statement: of the evaluator, with the digest of the model's parameters.
        samples: dataset dicts; of their files, size and time of the last change are looked up.

    Returns:
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    for part in (cfg.MODEL, cfg.INPUT, cfg.TEST):
        digest.update(part.dump().encode())
    digest.update(repr((MetadataCatalog.get(name).stuff_classes, words_for_test(cfg, name))).encode())
    digest.update(json.dumps(statement, sort_keys=True).encode())
    for sample in samples:
        files = [Path(sample[key]) for key in FILE_KEYS if key in sample]
        states = [path.stat() for path in files if path.is_file()]
        digest.update(repr((sorted(sample.items()), [(state.st_size, state.st_mtime_ns) for state in states])).encode())
    return digest.hexdigest()


def read_progress(path: Path, key: str) -> Progress | None:
    """Reads how far an evaluation has come.

    Args:
        path: of the file; may be missing.
        key: of the evaluation that is about to run.

    Returns:
        The progress, or None if there is none of this evaluation; the log says why.

    Raises:
        ValueError: the file is not one of these; names it.
    """
    if not path.is_file():
        logger.info("no evaluation to resume at %s: starting with the first sample", path)
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        found, done = str(content.pop("key")), int(content.pop("done"))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: got no counts of an evaluation ({error}), delete the file") from error
    if found != key:
        logger.warning("%s: made with other weights, settings or files, starting with the first sample", path)
        return None
    logger.info("%s: resuming after %d samples", path, done)
    return Progress(done, content)


def write_progress(path: Path, key: str, progress: Progress) -> None:
    """Writes how far an evaluation has come, whole or not at all.

    Args:
        path: of the file; its folder exists.
        key: of the evaluation.
        progress: to write.

    Raises:
        OSError: it cannot be written; names the file.
    """
    replace_atomically(
        path, lambda file: np.savez_compressed(file, key=np.array(key), done=progress.done, **progress.counts)
    )
