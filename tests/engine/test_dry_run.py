"""A dry run takes two real steps, says how long and how much memory, and leaves no trace."""

import json

import pytest
import torch
from toy_method import toy_cfg, toy_overrides

import train_net
from openvocab.engine.estimate import dry_run, estimate
from openvocab.engine.folder import claimed_folder
from openvocab.engine.trainer import Trainer


@pytest.fixture
def arguments(toys, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    return ["--config-file", str(config), "--num-gpus", "0", *toy_overrides(tmp_path / "out")]


def dry(arguments, *options):
    return train_net.main([*options, "--dry-run", *arguments])


def traces(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_is_written(arguments, tmp_path, capfd):
    before = traces(tmp_path)
    assert dry(arguments) == 0
    assert traces(tmp_path) == before and not (tmp_path / "out").exists()
    output = capfd.readouterr().out
    assert "labels of 7 samples" in output and "weight decay" in output
    assert "dry run: step 2, loss " in output and "dry run: step 3" not in output
    assert "10 iterations take about" in output and "GB were used until now (cpu" in output


def test_beside_a_running_and_a_finished_training(arguments, tmp_path, capfd):
    assert train_net.main([*arguments, "SOLVER.MAX_ITER", "2"]) == 0
    before = traces(tmp_path / "out")
    with claimed_folder(str(tmp_path / "out"), training=True, resume=True):
        assert dry(arguments) == 0
        assert dry(arguments, "--resume") == 0
    assert traces(tmp_path / "out").keys() - before.keys() <= {tmp_path / "out" / "job.lock"}
    after = traces(tmp_path / "out")
    assert all(after[path] == before[path] for path in before if path.name != "job.lock")
    output = capfd.readouterr().out
    assert "resuming at iteration 2" in output and "8 iterations take about" in output


def test_the_steps_are_real(toys, tmp_path):
    trainer = Trainer(toy_cfg(tmp_path / "out"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    dry_run(trainer)
    assert trainer.model.steps == 2 and [len(batch) for batch in trainer.model.seen] == [4, 4]
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed >= {"clip.weight", "head.weight"} and not {"frozen.weight", "frozen.bias"} & changed
    assert not (tmp_path / "out").exists()


def test_what_a_training_would_be_refused_for(arguments, toys, capfd):
    for path in toys.glob("*_labels.png"):
        path.unlink()
    assert dry(arguments) == 2
    assert "got no samples" in capfd.readouterr().err


def test_an_evaluation_is_not_tried_out(arguments, capfd):
    assert dry(arguments, "--eval-only") == 2
    assert "--dry-run: got it with an evaluation, expected a training" in capfd.readouterr().err


def test_the_estimate():
    text = estimate(1.5, 80000, "cpu")
    assert text.startswith("estimate: 1.50 s each, 80000 iterations take about 33.3 h, ")


def test_a_training_estimates_itself_once(arguments, tmp_path):
    assert train_net.main(arguments) == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log.count("estimate: ") == 1 and "3 iterations take about" in log  # 7 of 10 are done by then
    assert json.loads((tmp_path / "out" / "metrics.json").read_text().splitlines()[-1])
