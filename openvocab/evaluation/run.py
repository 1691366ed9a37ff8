"""Evaluates a model on several datasets, each with its own words; any number of processes, interruptible."""

import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation.evaluator import inference_context
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openvocab.console import counted
from openvocab.data.loader import build_test_loader, dataset_dicts
from openvocab.engine.errors import failing_together
from openvocab.engine.stopping import Stopped, StopRequest
from openvocab.evaluation.counting import PixelCounter
from openvocab.evaluation.few_shot import FewShotEvaluator, means_over_folds
from openvocab.evaluation.predictions import PredictionFiles
from openvocab.evaluation.progress import Progress, evaluation_key, read_progress, write_progress
from openvocab.evaluation.report import results_table, write_result, write_summary
from openvocab.evaluation.result import Result
from openvocab.evaluation.sem_seg import SemSegEvaluator
from openvocab.evaluation.statement import describe_precision
from openvocab.versions import digest_of_parameters

logger = logging.getLogger(__name__)

SAVE_PERIOD = 16
"""Images of each process after which counts are added up and saved; what a kill costs at most."""


def evaluate(
    cfg: CfgNode,
    model: nn.Module,
    *,
    evaluators: Sequence[PixelCounter] | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> list[Result]:
    """Evaluates a model on every dataset of DATASETS.TEST, and writes tables into OUTPUT_DIR.

    Counts are saved now and then as `<dataset>_counts.npz`, results as `<dataset>_results.json` and
    `<dataset>_classes.csv` when a dataset is done, and `results.md` at the end. With TEST.PREDICTIONS, label maps are
    written as they are counted (`PredictionFiles`).

    Args:
        cfg: DATASETS.TEST, TEST.*, INPUT.*, MODEL.*, OUTPUT_DIR.
        model: with weights; possibly wrapped for distributed training.
        evaluators: one for each dataset; default `build_evaluator`.
        resume: whether to go on with the counts that an interrupted evaluation of the same has left.
        stop: asked whenever counts are saved, whether it goes on.

    Returns:
        The results in the order of DATASETS.TEST, then means over folds; empty off rank 0.

    Raises:
        ValueError: no, unknown or empty datasets, another number of evaluators, wrong predictions, or TEST.PREDICTIONS
            for episodes.
        OSError: a dataset is not on disk, or results cannot be written.
        Stopped: says how far it had come.
    """
    names = cfg.DATASETS.TEST
    if not names:
        raise ValueError("DATASETS.TEST: got no dataset, expected at least one")
    if evaluators is not None and len(evaluators) != len(names):
        raise ValueError(f"evaluators: got {len(evaluators)}, expected {len(names)} (DATASETS.TEST)")
    model = model.module if isinstance(model, DistributedDataParallel) else model
    evaluators = evaluators or [build_evaluator(cfg, name) for name in names]
    for name, evaluator in zip(names, evaluators, strict=True):
        samples = dataset_dicts(name)  # the last one's missing file is an error now, not after hours
        _set_predictions(cfg, name, evaluator, samples)
    folder, results = Path(cfg.OUTPUT_DIR), []
    if comm.is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        parameters = digest_of_parameters(model)
        for evaluator in evaluators:
            evaluator.statement |= {"parameters_sha256": parameters, "precision": describe_precision(model)}
    for name, evaluator in zip(names, evaluators, strict=True):
        result = evaluate_dataset(cfg, model, name, evaluator, resume, stop)
        if result is not None:
            write_result(result, folder)
            logger.info(
                "%s: mIoU %.2f, the mean over %d classes",
                name,
                result.scores["mIoU"],
                result.statement["denominator"]["classes"],
            )
            results.append(result)
    if results:
        means = means_over_folds(results)
        for mean in means:
            write_result(mean, folder)
        results += means
        write_summary(results, folder)
        logger.info("results written to %s\n%s", folder, results_table(results))
    return results


def evaluate_dataset(
    cfg: CfgNode,
    model: nn.Module,
    name: str,
    evaluator: PixelCounter,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> Result | None:
    """Evaluates a model on one dataset, one image per forward pass.

    Sample i belongs to process (i - start) mod (number of processes), so that what is done is always a beginning of the
    list, whatever the number of processes before and after an interruption.

    Args:
        cfg: as for `evaluate`.
        model: not wrapped; the loader gives it the dataset's words.
        name: registered.
        evaluator: counts, from zero.
        resume: whether to go on with saved counts.
        stop: see `evaluate`.

    Returns:
        The result on rank 0, None on the others.

    Raises:
        ValueError: wrong predictions, or saved counts that cannot be read.
        OSError: a file cannot be read, or counts cannot be saved.
        KeyboardInterrupt, Stopped: says how far it had come.
    """
    samples, world_size = dataset_dicts(name), comm.get_world_size()
    path, key, start = Path(cfg.OUTPUT_DIR) / f"{name}_counts.npz", "", 0
    files = getattr(evaluator, "predictions", None)
    evaluator.reset()
    with failing_together():
        if comm.is_main_process():
            key = evaluation_key(cfg, name, evaluator.statement, samples)
            start, evaluator.counts = _begin(path, key, evaluator, files, resume)
    start = comm.all_gather(start)[0]
    batches = iter(build_test_loader(cfg, name, start))
    began, saved, counts, step = time.perf_counter(), start, evaluator.gather(), SAVE_PERIOD * world_size
    try:
        with inference_context(model), torch.no_grad():
            for done in range(start + step, len(samples) + step, step):  # the last step may be shorter
                chunk = time.perf_counter()
                with failing_together():
                    for batch in islice(batches, SAVE_PERIOD):
                        _count(model, batch, evaluator)
                done, counts = min(len(samples), done), evaluator.gather()
                if counts is not None:
                    write_progress(path, key, Progress(done, counts))
                    _log_progress(name, start, done, len(samples), time.perf_counter() - began)
                saved = done
                if stop is not None and done < len(samples):
                    stop.check(2 * (time.perf_counter() - chunk))
        with failing_together():
            if files is not None and comm.is_main_process():
                files.write_json()
    except (KeyboardInterrupt, Stopped) as end:
        raise type(end)(f"{str(end) or 'interrupted'}: {path} holds the counts of {saved} of {len(samples)} samples, "
                        "--resume goes on from there") from None  # fmt: skip
    return None if counts is None else evaluator.result(counts)


def build_evaluator(cfg: CfgNode, dataset_name: str) -> PixelCounter:
    """Builds the evaluator for the protocol of a dataset.

    Args:
        cfg: as for `evaluate`.
        dataset_name: registered; "few_shot" as evaluator_type counts episodes, everything else classes.

    Returns:
        The evaluator.
    """
    few_shot = MetadataCatalog.get(dataset_name).get("evaluator_type", "sem_seg") == "few_shot"
    return (FewShotEvaluator if few_shot else SemSegEvaluator).from_config(cfg, dataset_name)


def _set_predictions(cfg: CfgNode, name: str, evaluator: PixelCounter, samples: Sequence[dict[str, Any]]) -> None:
    if isinstance(evaluator, SemSegEvaluator):
        evaluator.predictions = PredictionFiles.from_config(cfg, name, samples) if cfg.TEST.PREDICTIONS else None
    elif cfg.TEST.PREDICTIONS:
        raise ValueError(
            f"{name}: got TEST.PREDICTIONS True for {type(evaluator).__name__}, expected False (only one "
            "label map per image is written; an image has an answer for each of its episodes)"
        )


def _begin(path: Path, key: str, evaluator: PixelCounter, files: PredictionFiles | None, resume: bool) -> Progress:
    """Finds how far an evaluation of the same has come; else writes zeros, so that a full disk is an error now."""
    progress = read_progress(path, key) if resume else None
    if progress and files is not None and (missing := files.missing(progress.done)):
        logger.warning("%s: without %s, starting with the first sample", path, counted(missing, "predictions"))
        progress = None
    if files is not None:
        files.prepare(progress.done if progress else 0)
    if progress:
        return progress
    progress = Progress(0, evaluator.counts)
    write_progress(path, key, progress)
    return progress


def _count(model: nn.Module, batch: list[dict[str, Any]], evaluator: PixelCounter) -> None:
    """A function of its own, so that nothing holds an image's output when the next one is computed."""
    evaluator.process(batch, model([item | {"output": "labels"} for item in batch]))


def _log_progress(name: str, start: int, done: int, total: int, seconds: float) -> None:
    pace = seconds / max(1, done - start)
    message = f"{name}: {done} of {total}, {pace:.2f} s per image, {(total - done) * pace / 60:.0f} min to go"
    log_every_n_seconds(logging.INFO, message, n=10, name=__name__)
