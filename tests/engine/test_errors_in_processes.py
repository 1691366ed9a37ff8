"""An error of ours is one line and exit code 2 wherever it arises: here, in a loader's worker, in another process."""

import gc

import pytest
import torch
from detectron2.utils import comm
from toy_method import toy_cfg, toy_overrides

import train_net
from openvocab.data.loader import build_test_loader, build_train_loader
from openvocab.engine.errors import failing_together
from openvocab.engine.trainer import Trainer
from openvocab.files import write_atomically


def half_a_picture(toys):
    """The check before a job reads labels, not pictures: this one is found when it is drawn."""
    path = toys / "05.png"
    path.write_bytes(path.read_bytes()[:60])
    return path


def lines_of(error):
    return [line for line in error.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("workers", ["0", "1", "2"])
@pytest.mark.parametrize("evaluation", [False, True], ids=["training", "evaluation"])
def test_a_worker_that_finds_a_broken_file(toys, tmp_path, capfd, evaluation, workers):
    path = half_a_picture(toys)
    (tmp_path / "toy.yaml").write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    keys = {"DATALOADER.NUM_WORKERS": workers}
    if evaluation:
        keys["MODEL.WEIGHTS"] = str(tmp_path / "toy.pth")
        torch.save({"model": Trainer.build_model(toy_cfg(tmp_path)).state_dict()}, tmp_path / "toy.pth")
    command = ["--config-file", str(tmp_path / "toy.yaml"), "--num-gpus", "0", *["--eval-only"] * evaluation]
    assert train_net.main([*command, *toy_overrides(tmp_path / "out", **keys)]) == 2
    output = capfd.readouterr()
    (line,) = lines_of(output.err)
    assert str(path) in line and "Traceback" not in output.err + output.out
    assert evaluation or f"training stopped: {line.removeprefix('error: ')}" in output.out


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_library_keeps_its_traceback(toys, tmp_path, monkeypatch, workers):
    def numpy_refuses(self, *arguments):
        return int("no number")

    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    for mapper in ("SemSegTrainMapper", "SemSegTestMapper"):
        monkeypatch.setattr(f"openvocab.data.loader.{mapper}.__call__", numpy_refuses)
    cfg = toy_cfg(tmp_path / "out", **{"DATALOADER.NUM_WORKERS": str(workers)})
    for loader in (build_train_loader(cfg, seed=0), build_test_loader(cfg, "toy_test")):
        with pytest.raises(ValueError, match="invalid literal") as raised:
            next(iter(loader))
        assert "in numpy_refuses" in str(raised.value) or raised.traceback[-1].name == "numpy_refuses"
        del raised
        gc.collect()  # now, under the shorter time: torch waits for each worker that has met an error


def test_the_first_process_speaks_and_the_others_leave(tmp_path, monkeypatch):
    """What the processes hear of each other is played; the real thing is below."""

    def fails():
        write_atomically(tmp_path / "no folder" / "file", b"")

    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    for failed_before, error in (([False], OSError), ([True], SystemExit)):
        monkeypatch.setattr(comm, "all_gather", lambda own, before=failed_before: [*before, own, own])
        with pytest.raises(error) as raised, failing_together():
            fails()
        assert error is OSError or raised.value.code == 2
    monkeypatch.setattr(comm, "all_gather", lambda own: [True, own])
    with pytest.raises(SystemExit), failing_together():
        done = True
    monkeypatch.setattr(comm, "all_gather", lambda own: [False, own])
    with failing_together():
        done = True
    assert done


def test_two_processes_say_it_once(toys, tmp_path, run_train_net):
    path = half_a_picture(toys)
    keys = {"DATALOADER.NUM_WORKERS": "1"}
    done = run_train_net("--num-gpus", "0", "--num-processes", "2", *toy_overrides(tmp_path / "out", **keys))
    assert done.returncode == 2
    (line,) = lines_of(done.stderr)
    assert str(path) in line and "Traceback" not in done.stderr + done.stdout
