"""Who has started this process, and as which of how many: read from the environment, never guessed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_method import toy_overrides

import train_net
from openvocab.engine.environment import Place, device_of, place_in, require_same_count

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "head",
            "MASTER_PORT": "29400"}  # fmt: skip
SLURM = {"SLURM_JOB_ID": "1234567", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "6",
         "SLURM_STEP_TASKS_PER_NODE": "2(x3)", "SLURM_STEP_NODELIST": "gpu[003-005]"}  # fmt: skip
PLACE = Place("torchrun", 5, 8, 1, 4, "head", 29400)


def test_torchrun():
    assert place_in(TORCHRUN) == PLACE
    assert place_in(TORCHRUN | SLURM) == PLACE  # srun torchrun: the last that has started something
    assert PLACE.machines == 2


@pytest.mark.parametrize("name", [name for name in TORCHRUN if name != "LOCAL_RANK"])
def test_what_torchrun_leaves_out_is_named(name):
    with pytest.raises(ValueError, match=f"torchrun: .* {name} is missing"):
        place_in({key: value for key, value in TORCHRUN.items() if key != name})


@pytest.mark.parametrize("name", [name for name in SLURM if name != "SLURM_STEP_NUM_TASKS"])
def test_what_slurm_leaves_out_is_named(name):
    with pytest.raises(ValueError, match=f"SLURM: .* {name} is missing"):
        place_in({key: value for key, value in SLURM.items() if key != name})


@pytest.mark.parametrize("environment", [
    {}, {"RANK": "0", "WORLD_SIZE": "2"}, {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
    SLURM | {"SLURM_STEP_NUM_TASKS": "1"}])  # fmt: skip
def test_elsewhere_the_command_line_decides(environment):
    assert place_in(environment) is None


def test_no_port_is_no_place_to_meet():
    with pytest.raises(ValueError, match="torchrun: got MASTER_PORT=0, expected the number of a port"):
        place_in(TORCHRUN | {"MASTER_PORT": "0"})


def test_slurm():
    assert place_in(SLURM) == Place("SLURM", 3, 6, 1, 2, "gpu003", 15000 + 1234567 % 15000)
    named = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000"}
    assert place_in(SLURM | named) == Place("SLURM", 3, 6, 1, 2, "10.0.0.1", 4000)


@pytest.mark.parametrize(("nodes", "first"), [
    ("n1,n2,n3", "n1"), ("gpu[003-005,9]", "gpu003"), ("gpu[7,9-11],n1", "gpu7"),
    ("rack[1-2]n[03-04]-ib,n1", "rack1n03-ib"), ("a-b.cluster,n1", "a-b.cluster")])  # fmt: skip
def test_the_first_host(nodes, first):
    assert place_in(SLURM | {"SLURM_STEP_NODELIST": nodes}).address == first


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"SLURM_STEP_NODELIST": "[1-2"}, r"SLURM_STEP_NODELIST: got \[1-2, expected hosts"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2x3"}, "SLURM_STEP_TASKS_PER_NODE: got 2x3, expected numbers"),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "4,2"},
            "SLURM_STEP_TASKS_PER_NODE: got 4,2, expected 6 tasks .*as many on each",
        ),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, r"got 2\(x2\), expected 6 tasks"),
        ({"SLURM_PROCID": "one"}, "got SLURM_PROCID=one, expected a number"),
        ({"SLURM_LOCALID": "0"}, "got process 3 of 6 as number 0 of 2 on its machine, expected .* machine by machine"),
    ],
)
def test_what_makes_no_sense(changed, line):
    with pytest.raises(ValueError, match=line):
        place_in(SLURM | changed)
    assert place_in(SLURM | {"SLURM_STEP_TASKS_PER_NODE": "2,2,2"}).local_world_size == 2


NOTHING = {"num_gpus": None, "num_processes": 0, "num_machines": None, "machine_rank": None, "dist_url": None}


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"num_gpus": 8}, "--num-gpus: got 8, but torchrun has started 4 processes on this machine"),
        ({"num_gpus": 0, "num_processes": 2}, "--num-processes: got 2, but torchrun has started 4"),
        ({"num_machines": 1}, "--num-machines: got 1, but torchrun has started 2 machines"),
        ({"machine_rank": 0}, "--machine-rank: got 0, but for torchrun it is 1"),
        ({"num_processes": 4}, "--num-processes counts CPU processes"),
        ({"dist_url": "tcp://o:1"}, "--dist-url: got tcp://o:1, but torchrun lets processes meet at head:29400"),
    ],
)
def test_a_command_line_that_contradicts(asked, line):
    with pytest.raises(ValueError, match=line):
        require_same_count(PLACE, **NOTHING | asked)


@pytest.mark.parametrize("asked", [{}, {"num_gpus": 4}, {"num_gpus": 0, "num_processes": 4}, {"num_machines": 2},
                                   {"machine_rank": 1}])  # fmt: skip
def test_a_command_line_that_agrees(asked):
    require_same_count(PLACE, **NOTHING | asked)


def test_devices():
    assert [device_of(PLACE, *case) for case in ((0, 4), (None, 0), (None, 4), (4, 8))] == [
        "cpu", "cpu", "cuda:1", "cuda:1"]  # fmt: skip
    assert device_of(place_in(SLURM), None, 1) == "cuda:0"  # --gpus-per-task 1
    for present in (1, 3):
        with pytest.raises(ValueError, match=f"got 4 processes on a machine with {present} GPUs; --num-gpus 0"):
            device_of(PLACE, None, present)
    with pytest.raises(ValueError, match="with 0 GPUs"):
        device_of(PLACE, 4, 0)


def test_the_command_line_refuses_before_it_starts_anything(tmp_path, monkeypatch, capfd):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert train_net.main(["--config-file", "catseg_b", "--num-gpus", "0", "--num-processes", "2"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == "error: --num-processes: got 2, but torchrun has started 4 processes on this machine; leave it out"


def torchrun(toys, tmp_path, *arguments):
    here = Path(__file__).parent
    (tmp_path / "toy.yaml").write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(here / "toy_train_net.py"), "--config-file", str(tmp_path / "toy.yaml"), *arguments]  # fmt: skip
    path = os.pathsep.join([str(here.parents[1]), str(here), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, env=os.environ | {"TOY_ROOT": str(toys), "PYTHONPATH": path}, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip


@pytest.mark.slow
def test_torchrun_trains_once(toys, tmp_path):
    done = torchrun(toys, tmp_path, "--num-gpus", "0", *toy_overrides(tmp_path / "out", **{"SOLVER.MAX_ITER": "3"}))
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)
    assert len(state["rng_states"]) == 2 and state["trainer"]["draws"] == 12
    assert "rank 0 of 2" in done.stdout and done.stdout.count("command line:") == 1


@pytest.mark.slow
def test_an_error_under_torchrun_is_one_line(toys, tmp_path):
    path = toys / "05.png"
    path.write_bytes(path.read_bytes()[:60])
    done = torchrun(toys, tmp_path, "--num-gpus", "0", *toy_overrides(tmp_path / "out"))
    assert done.returncode
    assert [str(path) in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True]
    assert "exitcode  : 2" in done.stderr and "Exception during training" not in done.stdout
