"""A run that is killed and resumed ends where an unbroken run ends: same samples, same losses, same weights."""

import json
import signal

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from toy_method import toy_cfg, toy_overrides

from openvocab.engine.errors import report_user_errors
from openvocab.engine.metrics_file import keep_metrics_before
from openvocab.engine.trainer import Trainer


def train(cfg, resume=False):
    seed_all_rng(cfg.SEED if not resume else 999)  # the states that a resumed process starts with must not matter
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def losses(output_dir):
    lines = [json.loads(line) for line in (output_dir / "metrics.json").read_text().splitlines()]
    return [(line["iteration"], line["total_loss"]) for line in lines if "total_loss" in line]


def test_killed_and_resumed_equals_unbroken(toys, tmp_path, run_train_net, monkeypatch):
    monkeypatch.setenv("TOY_DROPOUT", "0.3")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    unbroken = train(toy_cfg(whole, **{"TEST.EVAL_PERIOD": "3"}))

    overrides = toy_overrides(broken, **{"TEST.EVAL_PERIOD": "3"})
    killed = run_train_net("--num-gpus", "0", *overrides, TOY_KILL_AT="6", TOY_DROPOUT="0.3")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (broken / "last_checkpoint").read_text() == "model_0000003.pth"
    resumed = train(toy_cfg(broken, **{"TEST.EVAL_PERIOD": "3"}), resume=True)

    assert resumed.start_iter == 4
    assert resumed.model.seen == unbroken.model.seen[4:]
    assert resumed.model.losses == unbroken.model.losses[4:]
    assert losses(broken)[-1] == losses(whole)[-1]
    assert losses(whole)[-1][0] == 9
    for name, value in unbroken.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    ends = [torch.load(folder / "model_final.pth", weights_only=True) for folder in (whole, broken)]
    assert [end["trainer"]["draws"] for end in ends] == [40, 40]
    first, second = (end["trainer"]["_trainer"]["optimizer"]["state"] for end in ends)
    assert all(torch.equal(first[i]["exp_avg_sq"], second[i]["exp_avg_sq"]) for i in first)


def test_interrupted_write_leaves_the_old_checkpoint(toys, tmp_path, monkeypatch):
    trainer = train(toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1"}))
    before = (tmp_path / "out" / "model_final.pth").read_bytes()

    def half(data, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("openvocab.engine.checkpointing.torch.save", half)
    with pytest.raises(KeyboardInterrupt):
        trainer.checkpointer.save("model_final")
    assert (tmp_path / "out" / "model_final.pth").read_bytes() == before


def test_a_full_disk_is_named_and_leaves_the_old_checkpoint(toys, tmp_path, full_disk, capsys):
    trainer = Trainer(toy_cfg(tmp_path / "out"))
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "model_final.pth").write_bytes(b"old")
    trainer.checkpointer.model.register_buffer("large", torch.zeros(2000))
    with full_disk():
        code = report_user_errors(lambda: trainer.checkpointer.save("model_final"))
    assert code == 2
    # An earlier test's log file may find the disk full as well.
    (line,) = (text for text in capsys.readouterr().err.splitlines() if text.startswith("error: "))
    assert "File too large" in line and "model_final.pth" in line
    assert (tmp_path / "out" / "model_final.pth").read_bytes() == b"old"
    assert not list((tmp_path / "out").glob("*.partial"))


def test_resume_refuses_another_model(toys, tmp_path):
    trainer = train(toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1"}))
    path = tmp_path / "out" / "model_final.pth"
    content = torch.load(path, weights_only=True)
    content["model"]["head.weight"] = torch.zeros(5, 4, 1, 1)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"head.weight: got shape \(5, 4, 1, 1\), expected \(3, 4, 1, 1\)"):
        trainer.resume_or_load(resume=True)


def test_a_finished_run_stays_finished(toys, tmp_path):
    cfg = toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "2"})
    weights = train(cfg).model.state_dict()
    again = train(cfg, resume=True)
    assert again.model.steps == 0
    assert all(torch.equal(value, weights[name]) for name, value in again.model.state_dict().items())


def test_metrics_of_repeated_iterations_are_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 19}\n{"iteration": 39}\n{"iterat')
    keep_metrics_before(path, 39)
    assert path.read_text() == '{"iteration": 19}\n'


def test_without_a_seed_the_drawn_one_is_resumed(toys, tmp_path):
    cfg = toy_cfg(tmp_path / "out", **{"SEED": "-1", "SOLVER.MAX_ITER": "1"})
    trainer = Trainer(cfg)
    trainer.train()
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.data_seed == trainer.data_seed
