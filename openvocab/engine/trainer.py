"""Detectron2's trainer with our data, optimizer and evaluator, on any device, resumable to the last digit."""

import importlib.util
import logging
import math
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openvocab.clip.low_rank import LowRankState
from openvocab.data import fingerprint
from openvocab.data.loader import build_train_loader, dataset_dicts, samples_per_process
from openvocab.engine import changes
from openvocab.engine.checkpointing import AtomicCheckpointer, load_weights_for_cfg
from openvocab.engine.divergence import Diverged
from openvocab.engine.errors import failing_together, own_errors_in_one_line
from openvocab.engine.estimate import EstimateHook
from openvocab.engine.folder import BEST, newest_checkpoint, whole_checkpoint
from openvocab.engine.health import HealthHook
from openvocab.engine.hooks import CheckpointHook, EvaluationHook, StopHook
from openvocab.engine.metrics_file import prepare_metrics
from openvocab.engine.optimizer import build_lr_scheduler, build_optimizer
from openvocab.engine.resuming import Plan, after_interruption, plan_resumption, run_record
from openvocab.engine.rng import preserved_rng, restore_rng_state
from openvocab.engine.setup import build_model
from openvocab.engine.start import Start, require_start
from openvocab.engine.step import StepTrainer, training_precision
from openvocab.engine.stopping import Stopped, StopRequest
from openvocab.evaluation.counting import PixelCounter
from openvocab.evaluation.run import evaluate
from openvocab.evaluation.sheet import write_sheet
from openvocab.evaluation.words import train_with_words_of, training_words
from openvocab.vocab.options import VocabularyOptions
from openvocab.vocab.trained import KEY as WORDS
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's `DefaultTrainer`, loop, hooks, writers and linear scaling, plus what it lacks for exact resumption.

    A checkpoint holds, besides model, optimizer and schedule, the seed of the data, the number of samples drawn and the
    random states of every process. The data loader is built when the first iteration is known, and so are the writers.
    """

    def __init__(self, cfg: CfgNode, *, stop: StopRequest | None = None, keep: int = 0) -> None:
        """Builds model, optimizer and schedule.

        Args:
            cfg: for SOLVER.REFERENCE_WORLD_SIZE processes; scaled here to the number that runs, a micro-batch of each
                counting as one.
            stop: asked after each step whether to go on.
            keep: how many of the newest periodic checkpoints stay; 0 = all.

        Raises:
            ValueError: a batch that cannot be divided, or what model and optimizer refuse.
        """
        TrainerBase.__init__(self)
        require_start(cfg)
        record = run_record(cfg)
        cfg = scale_to_processes(cfg, comm.get_world_size() * cfg.SOLVER.ACCUMULATE)
        samples_per_process(cfg)  # refuses what cannot be divided, before the model is built
        self.cfg = cfg
        self.data_seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        model = self.build_model(cfg)
        optimizer = build_optimizer(cfg, model)
        low_rank = LowRankState(model)
        model = wrap_for_distributed(model)
        precision = training_precision(cfg)
        logger.info("training in %s", str(precision).removeprefix("torch."))
        self._trainer = StepTrainer(model, None, optimizer, precision, cfg.SOLVER.ACCUMULATE, cfg.SOLVER.KEEP.WEIGHT)
        self.scheduler = build_lr_scheduler(cfg, optimizer)
        states = {"trainer": weakref.proxy(self)} | ({"low_rank": low_rank} if low_rank else {})
        self.checkpointer = AtomicCheckpointer(model, cfg.OUTPUT_DIR, record=record, **states)
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        self._plan = Plan(0, 0, 0, 0, True)
        self._rng_states: list[dict] | None = None
        self._earlier_words: TrainedWords | None = None
        self.evaluation_pending = False
        self._best = -math.inf
        self._stop = stop or StopRequest()
        self._checkpoints = CheckpointHook(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, keep)
        self._evaluation = EvaluationHook(cfg.TEST.EVAL_PERIOD, self._evaluate, self._keep_best, self._evaluate_start)
        self._earlier: dict[str, Any] | None = None
        self.health = HealthHook(cfg)
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Builds the model of the config.

        Args:
            cfg: with META_ARCHITECTURE.

        Returns:
            The model, without loaded weights.
        """
        return build_model(cfg)

    def resume_or_load(self, resume: bool = True) -> None:
        """Continues from the last checkpoint in OUTPUT_DIR, or starts with MODEL.WEIGHTS.

        Args:
            resume: continue, if there is a checkpoint.

        Raises:
            ValueError: MODEL.WEIGHTS is missing, weights or checkpoint belong to another model, or the checkpoint to
                another training.
        """
        if resume and self.checkpointer.has_checkpoint():
            extra = self.checkpointer.load(self._checkpoint_to_resume())
            self.evaluation_pending = extra.get("evaluation_pending", False)
            self._rng_states = extra.get("rng_states")
            self._earlier_words = TrainedWords.from_checkpoint(extra)
            self._earlier = extra
            self._log_plan()
            return
        if resume:
            logger.info("nothing to resume in %s: starting from iteration 0", self.cfg.OUTPUT_DIR)
        self._earlier_words = load_weights_for_cfg(self.checkpointer.model, self.cfg.MODEL.WEIGHTS)

    def train(self) -> OrderedDict | None:
        """Trains to MAX_ITER.

        Returns:
            The last results where TEST.EXPECTED_RESULTS asks for their verification, else None.

        Raises:
            Stopped: as asked; all is saved.
            Diverged: names the last good checkpoint.
        """
        self.prepare()
        logging.getLogger(TrainerBase.__module__).addFilter(own_errors_in_one_line)  # a second time changes nothing
        if comm.is_main_process():
            self.register_hooks([hooks.PeriodicWriter(self.build_writers(), period=20)])
        try:
            return super().train()
        except Stopped:
            within = self._evaluation.running and self.iter < self.max_iter
            self._checkpoints.save_now(evaluation_pending=within)
            comm.synchronize()  # the first process to end would take the others with it
            done = min(self.iter + 1, self.max_iter) if self._checkpoints.stepped else self.start_iter
            raise Stopped(after_interruption(self.cfg.OUTPUT_DIR, done, self._stop.reason)) from None
        except Diverged as error:
            last = newest_checkpoint(self.cfg.OUTPUT_DIR)
            good = f"the last good checkpoint is {last.name}" if last else "no checkpoint was written yet"
            raise Diverged(f"{error}; {good}") from None

    def prepare(self) -> None:
        """Builds the data loader, and tells what can be told before the first step.

        Raises:
            ValueError: data or words that cannot be trained on, or data that have changed since the checkpoint.
        """
        for name in self.cfg.DATASETS.TEST:
            dataset_dicts(name)  # a missing test set is an error now, not after hours
        loader = build_train_loader(self.cfg, seed=self.data_seed, start_draw=self._start_draw)
        self._trainer.seed = self.data_seed
        if self._earlier is not None:
            fingerprint.require_same_data(self._earlier.get(fingerprint.KEY), loader.about.fingerprint)
        if not self.cfg.MODEL.VOCABULARY.TRAIN:
            train_with_words_of(self.model, self.cfg.DATASETS.TRAIN[0], self.cfg.MODEL.VOCABULARY.WORDS)
        self._trainer.start = start = Start.from_config(self.cfg, self._earlier)
        self.checkpointer.record |= start.record if start else {}
        self.data_loader = self.health.begin(self.model, loader, self._earlier or {})
        self.checkpointer.record |= {WORDS: self._words().as_checkpoint(), fingerprint.KEY: loader.about.fingerprint}
        self.checkpointer.record |= self.health.at_start()

    @property
    def _start_draw(self) -> int:
        return self._plan.draw

    def _words(self) -> TrainedWords:
        named, options = training_words(self.cfg), getattr(self.checkpointer.model, "vocabulary", None)
        vocabulary = options.train if isinstance(options, VocabularyOptions) else None
        return TrainedWords.of_training(named[1] if named else (), vocabulary, self.cfg.MODEL.VOCABULARY.TEMPLATES,
                                        self._earlier_words)  # fmt: skip

    def before_train(self) -> None:
        """Restores the random states after everything that could consume them."""
        super().before_train()
        if self._rng_states is None:
            return
        if len(self._rng_states) != comm.get_world_size():
            logger.warning(
                "the checkpoint holds the random states of %d processes, now there are %d: not restored",
                len(self._rng_states),
                comm.get_world_size(),
            )
            return
        restore_rng_state(self._rng_states[comm.get_rank()])

    def build_hooks(self) -> list[hooks.HookBase]:
        """Lists Detectron2's hooks in its order; the writers follow in `train`.

        Returns:
            Timer, schedule, checkpoint, evaluation, what is told early, leaving early.
        """
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._checkpoints,
            self._evaluation,
            self.health,
            EstimateHook(),
            StopHook(self._stop, self._checkpoints),
        ]

    def build_writers(self) -> list[EventWriter]:
        """Builds the writers: console, metrics.json, and TensorBoard where it is installed.

        On resume, lines of metrics.json from iterations that are run again are dropped first. Losses in it are not
        smoothed: the smoothing window of a resumed run would start empty, and its curve would differ.

        Returns:
            Detectron2 event writers.
        """
        metrics = Path(self.cfg.OUTPUT_DIR) / "metrics.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        prepare_metrics(metrics, self._plan)
        writers = [CommonMetricPrinter(self.max_iter), JSONWriter(str(metrics), window_size=1)]
        if importlib.util.find_spec("tensorboard") is not None:
            writers.append(TensorboardXWriter(self.cfg.OUTPUT_DIR))
        return writers

    def state_dict(self) -> dict[str, Any]:
        """Adds where the data stands.

        Returns:
            Detectron2's state with "data_seed" and "draws", the number of samples drawn over all processes.
        """
        draws = (self.iter + 1) * self.cfg.SOLVER.IMS_PER_BATCH
        return super().state_dict() | {"data_seed": self.data_seed, "draws": draws, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores momentum and where the data stands; rates, decay and schedule stay those of this run's config.

        Args:
            state_dict: from `state_dict`, of a run with any number of processes and any batch.
        """
        settings = [{key: value for key, value in group.items() if key != "params"}
                    for group in self.optimizer.param_groups]  # fmt: skip
        base_rates = list(self.scheduler.base_lrs)
        super().load_state_dict(state_dict)
        self.data_seed = state_dict["data_seed"]
        self._best = state_dict.get("best", self._best)  # earlier versions kept none
        self._plan = plan_resumption(state_dict["iteration"] + 1, state_dict["draws"], self.cfg.SOLVER.IMS_PER_BATCH)
        self.iter = self.start_iter = self._plan.iteration
        self.scheduler.load_state_dict({"base_lrs": base_rates, "last_epoch": self.start_iter})
        groups = self.optimizer.param_groups
        for group, own, rate in zip(groups, settings, self.scheduler.get_lr(), strict=True):
            group.update(own | {"lr": rate})

    def _log_plan(self) -> None:
        plan, batch = self._plan, self.cfg.SOLVER.IMS_PER_BATCH
        logger.info("resuming at iteration %d, sample %d", plan.iteration, plan.draw)
        if not plan.same_batch:
            again = f"; {plan.repeated} samples, a part of a batch, are drawn again" if plan.repeated else ""
            logger.info("the checkpoint's %d iterations are %d of this run's batch %d%s", plan.old_iterations,
                        plan.iteration, batch, again)  # fmt: skip
        if plan.iteration >= self.max_iter:
            logger.warning("%d of %d iterations (SOLVER.MAX_ITER) are done: nothing is trained", plan.iteration,
                           self.max_iter)  # fmt: skip

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: list[PixelCounter] | None = None,
        resume: bool = False,
        stop: StopRequest | None = None,
    ) -> OrderedDict:
        """Evaluates a model on every dataset of DATASETS.TEST, each with its own words (`openvocab.evaluation.run`).

        Args:
            cfg: DATASETS.TEST, TEST.*, OUTPUT_DIR.
            model: with weights; possibly wrapped for distributed training. Random states are left as they were.
            evaluators: one for each dataset; default `build_evaluator`.
            resume: whether to go on with an interrupted evaluation.
            stop: asked now and then whether to go on.

        Returns:
            {dataset: {"sem_seg": {score: percent}}}, or the inner part where there is one; empty off rank 0.

        Raises:
            ValueError: no, unknown or empty datasets, another number of evaluators, or wrong predictions.
            OSError: a dataset is not on disk, or results cannot be written.
        """
        with preserved_rng():
            found = evaluate(cfg, model, evaluators=evaluators, resume=resume, stop=stop)
        results = OrderedDict((result.dataset, {"sem_seg": dict(result.scores)}) for result in found)
        return next(iter(results.values())) if len(results) == 1 else results

    def _evaluate(self) -> OrderedDict:
        cfg = self.cfg.clone()
        cfg.defrost()
        # After the last step the loop counts on, and a finished run that is resumed makes none.
        resume, self.evaluation_pending = self.evaluation_pending, False
        done = self.start_iter if resume else min(self.iter + 1, max(self.start_iter, self.max_iter))
        cfg.MODEL.WEIGHTS = f"training in {self.cfg.OUTPUT_DIR}, after {done} iterations"
        self._last_eval_results = OrderedDict()
        if cfg.DATASETS.TEST:
            self._last_eval_results = self.test(cfg, self.model, resume=resume, stop=self._stop)
            self._draw_sheet(cfg, done)
            if comm.is_main_process() and cfg.TEST.START:
                changes.write_changes(Path(cfg.OUTPUT_DIR), cfg.DATASETS.TEST, done)
        return self._last_eval_results

    def _evaluate_start(self) -> None:
        """Evaluates the model before the first step; what an interrupted evaluation has counted is kept."""
        if self.cfg.TEST.START and self.cfg.DATASETS.TEST and self.start_iter == 0:
            cfg = self.cfg.clone()
            cfg.defrost()
            cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / changes.START)
            self.test(cfg, self.model, resume=True, stop=self._stop)

    def _draw_sheet(self, cfg: CfgNode, done: int) -> None:
        if comm.is_main_process():
            with preserved_rng():
                sheet = write_sheet(cfg, self.checkpointer.model, done)
            if sheet is not None:
                self.storage.put_image("sheet", sheet.transpose(2, 0, 1))

    def _keep_best(self, score: float) -> None:
        if score > self._best:
            self._best = score
            logger.info("best mIoU so far, %.2f: kept as %s", score, BEST)
            self.checkpointer.save(Path(BEST).stem, tag=False, iteration=self.iter)

    def _checkpoint_to_resume(self) -> str:
        path = None
        with failing_together():
            if comm.is_main_process():
                path = str(whole_checkpoint(self.cfg.OUTPUT_DIR))
        return comm.all_gather(path)[0]


def wrap_for_distributed(model: nn.Module) -> nn.Module:
    """Wraps a model where there are several processes, on CPU (no device ids) as on GPU.

    Args:
        model: on its device.

    Returns:
        The model itself in a single process.
    """
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model, device_ids=[device.index] if device.type == "cuda" else None, broadcast_buffers=False
    )


def scale_to_processes(cfg: CfgNode, world_size: int) -> CfgNode:
    """Applies Detectron2's linear scaling: batch and learning rate with the number of processes, iterations inversely.

    Args:
        cfg: SOLVER.REFERENCE_WORLD_SIZE is the number of processes that the recipe is for; 0 never scales.
        world_size: processes that run, times the micro-batches of each: 1 process with SOLVER.ACCUMULATE 4 trains as 4.

    Returns:
        The config itself, or a scaled copy.

    Raises:
        ValueError: IMS_PER_BATCH cannot be divided by the reference.
    """
    solver = cfg.SOLVER
    if solver.REFERENCE_WORLD_SIZE > 0 and solver.IMS_PER_BATCH % solver.REFERENCE_WORLD_SIZE:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH: got {solver.IMS_PER_BATCH}, expected a multiple of SOLVER.REFERENCE_WORLD_SIZE "
            f"({solver.REFERENCE_WORLD_SIZE})"
        )
    scaled = DefaultTrainer.auto_scale_workers(cfg, world_size)
    if scaled is cfg:
        return cfg
    logger.info(
        "recipe for %d processes, running %d (each micro-batch counts as one): batch %d -> %d, learning rate %g -> %g, "
        "iterations %d -> %d",
        *(solver.REFERENCE_WORLD_SIZE, world_size, solver.IMS_PER_BATCH, scaled.SOLVER.IMS_PER_BATCH),
        *(solver.BASE_LR, scaled.SOLVER.BASE_LR, solver.MAX_ITER, scaled.SOLVER.MAX_ITER),
    )
    scaled.defrost()
    scaled.SOLVER.CHECKPOINT_PERIOD = max(1, scaled.SOLVER.CHECKPOINT_PERIOD)  # rounding may give 0
    if cfg.TEST.EVAL_PERIOD > 0:
        scaled.TEST.EVAL_PERIOD = max(1, scaled.TEST.EVAL_PERIOD)
    return scaled
