"""A folder belongs to one job at a time and to one training; what is refused stays as it was."""

import errno
import fcntl
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_method
from detectron2.data import MetadataCatalog
from toy_method import CLASSES, toy_cfg, toy_overrides

import train_net
from openvocab import Segmenter
from openvocab.engine.folder import LOCK, claimed_folder, newest_checkpoint
from openvocab.engine.job import setup_job
from openvocab.engine.setup import build_cfg
from openvocab.engine.trainer import Trainer
from openvocab.testing import TINY_CATSEG
from openvocab.vocab.vocabulary import Vocabulary


@pytest.fixture
def run(toys, tmp_path, capfd):
    """Runs train_net.py in this process, in OUTPUT_DIR "out"; returns exit code and what it printed on stderr."""

    def run_here(*flags, config="toy.yaml", **keys):
        (tmp_path / "toy.yaml").write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
        overrides = toy_overrides(tmp_path / "out", **{"SOLVER.MAX_ITER": "2", "DATASETS.TEST": "()"} | keys)
        capfd.readouterr()
        code = train_net.main(["--config-file", str(tmp_path / config), "--num-gpus", "0", *flags, *overrides])
        return code, capfd.readouterr().err

    return run_here


def snapshot(path):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}


def test_a_training_is_not_replaced(run, tmp_path):
    assert run()[0] == 0
    out = tmp_path / "out"
    assert not (out / LOCK).exists()
    before = snapshot(out)
    code, error = run()
    assert code == 2 and snapshot(out) == before
    assert error == (f"error: OUTPUT_DIR: {out} holds a training, newest checkpoint model_final.pth: --resume goes on "
                     "with it, another OUTPUT_DIR starts anew\n")  # fmt: skip
    assert run("--resume", **{"SOLVER.MAX_ITER": "3"})[0] == 0

    (out / "last_checkpoint").write_text("model_0000007.pth")
    code, error = run("--resume")
    assert code == 2 and "last_checkpoint: names model_0000007.pth, which is not there" in error
    (out / "last_checkpoint").unlink()
    for flags in ([], ["--resume"]):
        code, error = run(*flags)
        assert code == 2 and "newest checkpoint model_final.pth, but no file last_checkpoint" in error


def test_weights_that_somebody_put_there_are_no_training(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model_base.pth").write_bytes(b"downloaded")
    assert run()[0] == 0
    assert (tmp_path / "out" / "model_base.pth").read_bytes() == b"downloaded"


def test_an_evaluation_leaves_the_config_of_the_training(run, tmp_path):
    assert run()[0] == 0
    config = tmp_path / "out" / "config.yaml"
    before = config.read_bytes()
    weights = {"MODEL.WEIGHTS": str(tmp_path / "out" / "model_final.pth"), "DATASETS.TEST": "('toy_test',)"}
    assert run("--eval-only", **weights)[0] == 0
    assert config.read_bytes() == before
    evaluated = tmp_path / "out" / "config_evaluation.yaml"
    assert f"full config written to {evaluated}" in (tmp_path / "out" / "log.txt").read_text()
    assert build_cfg(evaluated).MODEL.WEIGHTS == weights["MODEL.WEIGHTS"]
    assert build_cfg(config).SOLVER.MAX_ITER == 2  # with its first line, a config like any other


def test_somebodys_config_is_not_replaced(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.yaml").write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter  # my notes\n")
    before = snapshot(out)
    for config in ("toy.yaml", "out/config.yaml"):
        code, error = run(config=config)
        assert code == 2 and f"error: {out}/config.yaml: got a file that no job wrote" in error
        assert snapshot(out) == before


def test_a_training_of_an_earlier_version_goes_on(run, tmp_path):
    """It marked neither its config nor its checkpoint."""
    assert run()[0] == 0
    out = tmp_path / "out"
    (out / "config.yaml").write_text((out / "config.yaml").read_text().split("\n", 1)[1])
    before = (out / "config.yaml").read_text()
    state = torch.load(out / "model_final.pth", weights_only=True)
    del state["config"]
    torch.save(state, out / "model_final.pth")
    for most in ("3", "4"):
        assert run("--resume", **{"SOLVER.MAX_ITER": most})[0] == 0
        assert build_cfg(out / "config_resumed.yaml").SOLVER.MAX_ITER == int(most)
    assert (out / "config.yaml").read_text() == before
    assert "does not say of which config it is" in (out / "log.txt").read_text()


def test_a_second_job_is_refused(run, tmp_path):
    out = tmp_path / "out"
    with claimed_folder(str(out), training=True, resume=False):
        before = snapshot(out)
        for flags in ([], ["--resume"], ["--eval-only"]):
            code, error = run(*flags)
            assert code == 2 and snapshot(out) == before
            assert f"is in use by process {os.getpid()} on {socket.gethostname()} since 2" in error
            assert error.count("\n") == 1
    assert run()[0] == 0


def test_a_killed_job_leaves_no_lock_although_a_fork_of_it_lives(tmp_path):
    read, write = os.pipe()
    job = os.fork()
    if not job:
        with claimed_folder(str(tmp_path), training=True, resume=False):
            worker = os.fork()
            if worker:
                os.write(write, str(worker).encode())
            time.sleep(600)
    worker = int(os.read(read, 100))
    try:
        with pytest.raises(ValueError, match=f"in use by process {job} on"):
            claimed_folder(str(tmp_path), training=True, resume=True).__enter__()
        os.kill(job, signal.SIGKILL)
        os.waitpid(job, 0)
        os.kill(worker, 0)
        with claimed_folder(str(tmp_path), training=True, resume=True):
            assert f"process {os.getpid()} on" in (tmp_path / LOCK).read_text()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_lock_file_that_goes_while_it_is_opened(tmp_path, monkeypatch):
    """The job before ends in between: what was locked is no file of that name any more."""
    flock, calls = fcntl.flock, []

    def with_the_owner_ending(descriptor, operation):
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", with_the_owner_ending)
    with claimed_folder(str(tmp_path), training=True, resume=False):
        assert len(calls) == 2
        with pytest.raises(ValueError, match="in use"):
            claimed_folder(str(tmp_path), training=True, resume=False).__enter__()


def test_where_there_are_no_locks_the_text_counts(tmp_path, monkeypatch, caplog):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitpid(ended, 0)
    here = socket.gethostname()
    for who, runs in ((f"process {os.getpid()} on {here}", True), (f"process {ended} on {here}", False),
                      ("process 1 on another-machine", True)):  # fmt: skip
        (tmp_path / LOCK).write_text(f"{who} since 2026-01-01 00:00:00\n")
        if runs:
            with pytest.raises(ValueError, match=f"in use by {who} since .* or remove"):
                claimed_folder(str(tmp_path), training=True, resume=False).__enter__()
        else:
            with claimed_folder(str(tmp_path), training=True, resume=False):
                assert "has no locks" in caplog.text
            assert not (tmp_path / LOCK).exists()


def test_the_words_after_ctrl_c(run, tmp_path, monkeypatch):
    forward = toy_method.ToySegmenter.forward

    def interrupted(self, batch):
        if not self.training or self.steps == interrupted.at:
            raise KeyboardInterrupt
        return forward(self, batch)

    monkeypatch.setattr(toy_method.ToySegmenter, "forward", interrupted)
    steps = {"SOLVER.MAX_ITER": "8", "SOLVER.CHECKPOINT_PERIOD": "4"}
    interrupted.at = 3
    nothing = "; no checkpoint was written yet, there is nothing to resume\n"
    assert run(**steps) == (130, f"interrupted after iteration 3{nothing}")
    interrupted.at = 0
    assert run(**steps) == (130, f"interrupted{nothing}")
    interrupted.at = 6
    going_on = "--resume goes on with model_0000003.pth (iteration 4)\n"
    assert run(**steps) == (130, f"interrupted after iteration 6: {going_on}")
    interrupted.at = 1
    assert run("--resume", **steps) == (130, f"interrupted after iteration 5: {going_on}")
    interrupted.at = -1
    last = "interrupted after iteration 8: --resume goes on with model_final.pth (the last)\n"
    assert run("--resume", **steps, **{"DATASETS.TEST": "('toy_test',)"}) == (130, last)
    weights = {"MODEL.WEIGHTS": str(tmp_path / "out" / "model_final.pth"), "DATASETS.TEST": "('toy_test',)"}
    counts = tmp_path / "out" / "toy_test_counts.npz"
    line = f"interrupted: {counts} holds the counts of 0 of 7 samples, --resume goes on from there\n"
    assert run("--eval-only", **weights) == (130, line)


def test_the_newest_checkpoint(toys, tmp_path):
    assert newest_checkpoint(str(tmp_path)) is None
    trainer = Trainer(toy_cfg(tmp_path, **{"SOLVER.MAX_ITER": "1", "DATASETS.TEST": "()"}))
    trainer.train()
    assert newest_checkpoint(str(tmp_path)) == tmp_path / "model_final.pth"


@pytest.fixture
def trained(toys, tmp_path):
    """The folder of a tiny CAT-Seg that was trained for one step."""
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY_CATSEG)
    more = {"MODEL.META_ARCHITECTURE": "CATSeg", "SOLVER.MAX_ITER": "1", "DATASETS.TEST": "()",
            "INPUT.CROP.SIZE": "[32, 32]", "INPUT.MIN_SIZE_TEST": "64"}  # fmt: skip
    cfg = build_cfg(config, toy_overrides(tmp_path / "out", **more))
    cfg.freeze()
    setup_job(cfg, training=True)
    MetadataCatalog.get("toy_train").vocabulary = Vocabulary.from_words(CLASSES)
    Trainer(cfg).train()
    return tmp_path / "out"


def test_a_training_answers_by_its_folder(trained):
    segmenter = Segmenter.load(trained, device="cpu")
    assert (segmenter.name, Path(segmenter.weights).name) == ("out", "model_final.pth")
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    expected = Segmenter.load(trained / "config.yaml", trained / "model_final.pth", device="cpu")
    assert np.array_equal(segmenter(picture, ["dark", "bright"]).scores, expected(picture, ["dark", "bright"]).scores)
    (trained / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"out is a folder without config.yaml, expected the OUTPUT_DIR of a training"):
        Segmenter.load(trained, device="cpu")
