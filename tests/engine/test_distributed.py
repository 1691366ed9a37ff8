"""Two gloo processes on a CPU, with two micro-batches each, do what one process does with the same global batch."""

import json

import torch
from detectron2.utils.env import seed_all_rng
from toy_method import toy_cfg, toy_overrides

from openvocab.engine.trainer import Trainer

STEPS = {"SOLVER.MAX_ITER": "5", "SOLVER.CHECKPOINT_PERIOD": "100"}


def test_two_processes_equal_one(toys, tmp_path, run_train_net):
    cfg = toy_cfg(tmp_path / "one", **STEPS)
    seed_all_rng(cfg.SEED)
    one = Trainer(cfg)
    start = {name: value.clone() for name, value in one.model.state_dict().items()}
    one.train()
    overrides = toy_overrides(tmp_path / "two", **STEPS, **{"SOLVER.ACCUMULATE": "2"})
    done = run_train_net("--num-gpus", "0", "--num-processes", "2", *overrides)
    assert done.returncode == 0, done.stderr

    checkpoint = torch.load(tmp_path / "two" / "model_final.pth", weights_only=True)
    assert len(checkpoint["rng_states"]) == 2
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(checkpoint["model"][name], value, atol=1e-5, rtol=0)
    moved = max((value - start[name]).abs().max().item() for name, value in one.model.state_dict().items())
    assert moved > 1e-2  # five steps must be visible, else the comparison says nothing
    results = [json.loads((tmp_path / name / "toy_test_results.json").read_text()) for name in ("one", "two")]
    assert results[0]["samples"] == results[1]["samples"] == 7
    assert abs(results[0]["scores"]["mIoU"] - results[1]["scores"]["mIoU"]) < 0.2  # a pixel may tip over
