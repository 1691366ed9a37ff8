"""A training that a scheduler stops saves, leaves with exit code 75, and ends as an unbroken one does."""

import json
import signal
import time

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from test_resume import losses, train
from toy_method import ToySegmenter, toy_cfg, toy_overrides

from openvocab.cli.train import build_parser
from openvocab.engine.errors import report_user_errors
from openvocab.engine.folder import checkpoints_in, whole_checkpoint
from openvocab.engine.stopping import Stopped, StopRequest
from openvocab.engine.trainer import Trainer

EVALUATED = {"TEST.EVAL_PERIOD": "3", "TEST.SHEET_IMAGES": "0", "SOLVER.CHECKPOINT_PERIOD": "100"}


@pytest.fixture
def signals_at(monkeypatch):
    """Gives a function: the process gets a signal in the forward pass of that number, in training or in evaluation."""

    def at(number, sent=signal.SIGTERM, training=True):
        forward, count = ToySegmenter.forward, iter(range(10**6))

        def signalled(self, batch):
            if self.training == training and next(count) == number:
                signal.raise_signal(sent)
            return forward(self, batch)

        monkeypatch.setattr(ToySegmenter, "forward", signalled)

    return at


def stopped(cfg, resume=False):
    stop = StopRequest()
    seed_all_rng(cfg.SEED)
    trainer = Trainer(cfg, stop=stop)
    trainer.resume_or_load(resume=resume)
    with stop.listening(), pytest.raises(Stopped) as raised:
        trainer.train()
    return str(raised.value)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1])
def test_the_step_is_ended_and_saved(toys, tmp_path, signals_at, monkeypatch, sent):
    monkeypatch.setenv("TOY_DROPOUT", "0.3")
    unbroken = train(toy_cfg(tmp_path / "whole", **EVALUATED))
    signals_at(4, sent)
    text = stopped(toy_cfg(tmp_path / "broken", **EVALUATED))
    assert text == f"{sent.name} after iteration 5: --resume goes on with model_0000004.pth (iteration 5)"
    resumed = train(toy_cfg(tmp_path / "broken", **EVALUATED), resume=True)
    assert resumed.model.seen == unbroken.model.seen[5:]
    assert all(torch.equal(value, resumed.model.state_dict()[name]) for name, value in
               unbroken.model.state_dict().items())  # fmt: skip
    assert losses(tmp_path / "broken")[-1] == losses(tmp_path / "whole")[-1]
    assert signal.getsignal(sent) == signal.SIG_DFL


def test_an_evaluation_that_was_cut_is_made_up_for(toys, tmp_path, signals_at, monkeypatch):
    monkeypatch.setattr("openvocab.evaluation.run.SAVE_PERIOD", 2)
    signals_at(9, training=False)  # the third picture of the second evaluation, which each have seven
    cfg = toy_cfg(tmp_path, **EVALUATED)
    assert stopped(cfg).endswith("model_0000005.pth (iteration 6)")
    (counts,) = tmp_path.glob("*_counts.npz")
    assert torch.load(tmp_path / "model_0000005.pth", weights_only=True)["evaluation_pending"]
    seen, forward = [], ToySegmenter.forward

    def counting(self, batch):
        seen.append(self.training)
        return forward(self, batch)

    monkeypatch.setattr(ToySegmenter, "forward", counting)
    train(cfg, resume=True)
    assert seen == [False] * 3 + [True] * 3 + [False] * 7 + [True] + [False] * 7, "four of seven were counted"
    evaluated = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert "sem_seg/mIoU" in evaluated[-1]


def test_stopped_again_while_it_is_made_up_for(toys, tmp_path, signals_at, monkeypatch):
    monkeypatch.setattr("openvocab.evaluation.run.SAVE_PERIOD", 2)
    cfg = toy_cfg(tmp_path / "broken", **EVALUATED)
    signals_at(9, training=False)
    first = stopped(cfg)
    signals_at(0, training=False)
    assert stopped(cfg, resume=True) == first  # after as many iterations, and with the same checkpoint
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 6
    assert resumed.model.seen == train(toy_cfg(tmp_path / "whole", **EVALUATED)).model.seen[6:]


def test_the_time_is_up(toys, tmp_path):
    stop = StopRequest(time.monotonic() + 5)  # less than is set aside for saving
    trainer = Trainer(toy_cfg(tmp_path), stop=stop)
    with pytest.raises(Stopped, match=r"--max-hours are over after iteration 1: --resume goes on with model_0000000"):
        trainer.train()


def test_the_exit_code_and_one_line(toys, tmp_path, run_train_net):
    done = run_train_net("--num-gpus", "0", "--num-processes", "2", "--max-hours", "0.001", *toy_overrides(tmp_path))
    assert done.returncode == 75, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "--resume" in line)
    assert line.startswith("--max-hours are over after iteration ") and "Traceback" not in done.stderr


def test_what_stays(toys, tmp_path):
    trainer = Trainer(toy_cfg(tmp_path, **EVALUATED | {"SOLVER.CHECKPOINT_PERIOD": "2"}), keep=2)
    trainer.train()
    names = [path.name for path in checkpoints_in(tmp_path)]
    assert names == ["model_final.pth", "model_0000009.pth", "model_0000007.pth"]
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    scores = {line["iteration"]: line["sem_seg/mIoU"] for line in lines if "sem_seg/mIoU" in line}
    assert best["trainer"]["best"] == max(scores.values()) or len(scores) < 4  # not every one has a line of its own


def test_a_cut_checkpoint_is_passed_by(toys, tmp_path, caplog):
    cfg = toy_cfg(tmp_path)
    unbroken = train(cfg)
    final = tmp_path / "model_final.pth"
    final.write_bytes(final.read_bytes()[:-1000])
    (tmp_path / "model_0000007.pth").write_bytes(b"")
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 4
    assert "model_final.pth is cut or damaged: going on with model_0000003.pth" in caplog.text
    assert all(torch.equal(value, resumed.model.state_dict()[name]) for name, value in
               unbroken.model.state_dict().items())  # fmt: skip


def test_a_flipped_bit_is_one_too_and_without_another_it_is_refused(toys, tmp_path, capsys):
    cfg = toy_cfg(tmp_path, **{"SOLVER.MAX_ITER": "1"})
    train(cfg)
    path = tmp_path / "model_final.pth"
    content = path.read_bytes()
    weight = torch.load(path, weights_only=True)["model"]["clip.weight"].numpy().tobytes()
    path.write_bytes(content.replace(weight, bytes([weight[0] ^ 1]) + weight[1:], 1))
    assert report_user_errors(lambda: train(cfg, resume=True) and 0) == 2
    assert "is cut or damaged, and" in capsys.readouterr().err
    with pytest.raises(ValueError, match="cut or damaged"):
        whole_checkpoint(str(tmp_path))


def test_leftovers_of_killed_saves_go_and_nothing_else(toys, tmp_path, run_train_net):
    mine = [tmp_path / "notes.txt.0123abcd.partial", tmp_path / "model_0000001.pth.partial"]
    theirs = [tmp_path / "model_0000001.pth.0123abcd.partial", tmp_path / "last_checkpoint.0123abcd.partial"]
    for path in (*mine, *theirs):
        path.write_bytes(b"half")
    done = run_train_net("--num-gpus", "0", *toy_overrides(tmp_path, **{"SOLVER.MAX_ITER": "1"}))
    assert done.returncode == 0, done.stderr
    assert [path.exists() for path in (*mine, *theirs)] == [True, True, False, False]


@pytest.mark.parametrize(("option", "value"), [("--max-hours", "0"), ("--max-hours", "soon"), ("--keep", "-1")])
def test_numbers_that_cannot_be(option, value):
    with pytest.raises(ValueError, match=f"argument {option}: "):
        build_parser().parse_args([option, value])
