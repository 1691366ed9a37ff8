"""Resumed with other processes, another batch or another config: rates, samples and counts are those of the new plan.

The plan follows from the config alone: at iteration i an unbroken run has the rate of its schedule at i, and has drawn
i batches of one stream.
"""

import json

import pytest
import torch
from detectron2.engine import hooks
from toy_method import toy_cfg

from openvocab.data.sampler import ResumableTrainingSampler
from openvocab.engine.resuming import Plan, plan_resumption
from openvocab.engine.trainer import Trainer, scale_to_processes

NO_TEST = {"DATASETS.TEST": "()", "SOLVER.WARMUP_ITERS": "3"}


class Rates(hooks.HookBase):
    """Notes the rate of every group in every iteration."""

    def __init__(self):
        self.seen = {}

    def before_step(self):
        groups = self.trainer.optimizer.param_groups
        self.seen[self.trainer.iter] = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}


def train(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    rates = Rates()
    trainer.register_hooks([rates])
    trainer.train()
    return trainer, rates.seen


def stop_after(output_dir, iteration):
    (output_dir / "last_checkpoint").write_text(f"model_{iteration - 1:07d}.pth")


def planned_samples(cfg, start):
    """File names of the batches from an iteration on, out of the stream alone."""
    batch = cfg.SOLVER.IMS_PER_BATCH
    stream = iter(ResumableTrainingSampler(7, seed=5, start=start * batch))
    return [[f"{next(stream)[1]:02d}.png" for _ in range(batch)] for _ in range(start, cfg.SOLVER.MAX_ITER)]


# The checkpoint: 4 iterations with 4 samples.
CASES = {
    "half the processes": ({"SOLVER.REFERENCE_WORLD_SIZE": "2"}, 8, 0),
    "a batch that does not divide": ({"SOLVER.IMS_PER_BATCH": "6"}, 2, 4),
    "a smaller batch": ({"SOLVER.IMS_PER_BATCH": "1", "SOLVER.MAX_ITER": "40"}, 16, 0),
    "other rates": ({"SOLVER.BASE_LR": "0.002", "SOLVER.WEIGHT_DECAY": "0.5", "SOLVER.MAX_ITER": "20"}, 4, 0),
    "nothing": ({}, 4, 0),
}


@pytest.mark.parametrize(("changed", "start", "repeated"), CASES.values(), ids=CASES)
def test_rates_samples_and_counts(toys, tmp_path, caplog, changed, start, repeated):
    caplog.set_level("INFO", "openvocab")
    train(toy_cfg(tmp_path / "out", **NO_TEST))
    stop_after(tmp_path / "out", 4)
    old = torch.load(tmp_path / "out" / "model_0000003.pth", weights_only=True)
    _, planned = train(toy_cfg(tmp_path / "unbroken", **NO_TEST | changed))
    cfg = toy_cfg(tmp_path / "out", **NO_TEST | changed)
    resumed, rates = train(cfg, resume=True)

    scaled = scale_to_processes(cfg, 1)
    assert resumed.start_iter == start
    assert list(rates) == list(range(start, scaled.SOLVER.MAX_ITER))
    for iteration, groups in rates.items():
        assert groups == planned[iteration], iteration
    seen = [[name.rsplit("/", 1)[1] for name in batch] for batch in resumed.model.seen]
    assert seen == planned_samples(scaled, start)
    assert f"the checkpoint's 4 iterations are {start} of this run's batch" in caplog.text or start == 4
    assert (f"; {repeated} samples, a part of a batch, are drawn again" in caplog.text) == bool(repeated)
    end = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)
    assert end["trainer"]["draws"] == scaled.SOLVER.MAX_ITER * scaled.SOLVER.IMS_PER_BATCH
    steps = [int(state["step"]) for state in end["trainer"]["_trainer"]["optimizer"]["state"].values()]
    assert set(steps) == {4 + scaled.SOLVER.MAX_ITER - start}  # momentum is the checkpoint's
    assert {int(s["step"]) for s in old["trainer"]["_trainer"]["optimizer"]["state"].values()} == {4}
    last = json.loads((tmp_path / "out" / "metrics.json").read_text().splitlines()[-1])
    assert last["iteration"] == scaled.SOLVER.MAX_ITER - 1
    assert last["lr"] == pytest.approx(planned[last["iteration"]]["model"][0], rel=1e-12)


def test_micro_batches_go_on_where_a_whole_batch_stopped(toys, tmp_path):
    """Float32, sums in another order, six steps of AdamW at 0.01: 1e-5 as between processes."""
    whole, _ = train(toy_cfg(tmp_path / "out", **NO_TEST))
    stop_after(tmp_path / "out", 4)
    resumed, rates = train(toy_cfg(tmp_path / "out", **NO_TEST | {"SOLVER.ACCUMULATE": "2"}), resume=True)
    assert list(rates) == list(range(4, 10)) and [len(names) for names in resumed.model.seen] == [2] * 12
    seen = [name for names in resumed.model.seen for name in names]
    assert sorted(seen) == sorted(name for names in whole.model.seen[4:] for name in names)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, atol=1e-5, rtol=0)


def test_the_plan():
    assert plan_resumption(3, 12, 4) == Plan(3, 12, 0, 3, True)
    assert plan_resumption(3, 12, 5) == Plan(2, 10, 2, 3, False)
    assert plan_resumption(3, 12, 2) == Plan(6, 12, 0, 3, False)


def test_metrics_of_another_batch_are_kept_apart(toys, tmp_path, monkeypatch):
    class EveryIteration(hooks.PeriodicWriter):
        def __init__(self, writers, period):
            super().__init__(writers, period=1)

    monkeypatch.setattr(hooks, "PeriodicWriter", EveryIteration)
    out = tmp_path / "out"
    train(toy_cfg(out, **NO_TEST))
    changed = toy_cfg(out, **NO_TEST | {"SOLVER.IMS_PER_BATCH": "8", "SOLVER.MAX_ITER": "5"})
    for _ in range(2):  # the second time as after a kill before the first new checkpoint
        stop_after(out, 4)
        train(changed, resume=True)
        kept, new = ([json.loads(line)["iteration"] for line in (out / name).read_text().splitlines()]
                     for name in ("metrics_until_4_iterations_16_samples.json", "metrics.json"))  # fmt: skip
        assert kept == [0, 1, 2, 3] and new == [2, 3, 4]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (
            {"MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "254", "INPUT.CROP.SIZE": "[8, 8]"},
            ["MODEL.SEM_SEG_HEAD.IGNORE_VALUE was 255, now 254", "INPUT.CROP.SIZE was [16, 16], now [8, 8]"],
        ),
        ({"DATASETS.TRAIN": "('toy_test',)"}, ["DATASETS.TRAIN was ['toy_train'], now ['toy_test']"]),
        ({"SEED": "6"}, ["SEED was 5, now 6"]),
        ({"DATALOADER.MAPPER_SEED": "6"}, ["DATALOADER.MAPPER_SEED was 0, now 6"]),
        ({"SOLVER.OPTIMIZER": "SGD"}, ["SOLVER.OPTIMIZER was 'AdamW', now 'SGD'"]),
    ],
)
def test_another_model_or_other_data_are_refused(toys, tmp_path, changed, named):
    once = NO_TEST | {"SOLVER.MAX_ITER": "1"}
    train(toy_cfg(tmp_path / "out", **once))
    with pytest.raises(ValueError, match="model_final.pth is of another model or other data") as refused:
        train(toy_cfg(tmp_path / "out", **once | changed), resume=True)
    assert all(text in str(refused.value) for text in named) and str(refused.value).count(" was ") == len(named)


def test_folders_of_the_training_sets_count(toys, tmp_path):
    """Others may change: they are evaluated only."""

    def cfg(images, more):
        one = {"NAME": "toy_train", "IMAGES": images, "LABELS": "masks", "WORDS": "words.txt"}
        folders = [one, one | {"NAME": "other", "IMAGES": more}]
        return toy_cfg(tmp_path / "out", **NO_TEST | {"SOLVER.MAX_ITER": "1", "DATASETS.FOLDERS": str(folders)})

    train(cfg("pictures", "some"))
    train(cfg("pictures", "others"), resume=True)
    with pytest.raises(ValueError, match="DATASETS.FOLDERS.toy_train.IMAGES was 'pictures', now 'elsewhere'; expected"):
        train(cfg("elsewhere", "some"), resume=True)


def test_what_may_change(toys, tmp_path):
    train(toy_cfg(tmp_path / "out", **NO_TEST | {"SOLVER.MAX_ITER": "1"}))
    free = {"MODEL.FAST": "False", "INPUT.MIN_SIZE_TEST": "8", "INPUT.FORMAT": "BGR", "TEST.ORACLE_GRID": "4",
            "SOLVER.CHECKPOINT_PERIOD": "1", "SEED": "-1", "DATALOADER.NUM_WORKERS": "1", "SOLVER.MAX_ITER": "2",
            "MODEL.VOCABULARY.TEST": "pascal_voc_20", "MODEL.WEIGHTS": "elsewhere.pth",
            "MODEL.CHECKPOINT_ACTIVATIONS": "True", "SOLVER.ACCUMULATE": "2"}  # fmt: skip
    resumed, _ = train(toy_cfg(tmp_path / "out", **NO_TEST | free), resume=True)
    assert (resumed.start_iter, resumed.model.steps, resumed.data_seed) == (1, 2, 5)


def test_nothing_left_to_train_is_said(toys, tmp_path, caplog):
    caplog.set_level("INFO", "openvocab")
    train(toy_cfg(tmp_path / "out", **NO_TEST))
    resumed, _ = train(toy_cfg(tmp_path / "out", **NO_TEST | {"SOLVER.IMS_PER_BATCH": "1"}), resume=True)
    assert resumed.model.steps == 0
    assert "40 of 10 iterations (SOLVER.MAX_ITER) are done: nothing is trained" in caplog.text


def test_results_state_the_true_number_of_iterations(toys, tmp_path):
    def stated():
        return json.loads((tmp_path / "out" / "toy_test_results.json").read_text())["model"]["weights"]

    cfg = toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "3"})
    train(cfg)
    assert stated().endswith("after 3 iterations")
    train(cfg, resume=True)
    assert stated().endswith("after 3 iterations")
    train(toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1"}), resume=True)
    assert stated().endswith("after 3 iterations")
