"""benchmarks/gpu.py: on a machine without a GPU, every part runs at toy sizes."""

import csv
import subprocess
import sys

import pytest


@pytest.fixture
def program(repository, script, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return script("benchmarks/gpu.py")


def dry_run(repository, folder, *parts):
    command = [sys.executable, str(repository / "benchmarks" / "gpu.py"), *parts, "--dry-run", "--output", str(folder)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)


def rows(folder, part):
    return list(csv.DictReader((folder / f"{part}.csv").read_text().splitlines()))


def test_some_parts(program, tmp_path):
    assert program.main(["device", "train_step", "--dry-run", "--output", str(tmp_path)]) == 0
    assert {row["method"] for row in rows(tmp_path, "train_step")} == {"catseg_b", "lseg_l16"}
    assert all(float(row["ms"]) > 0 for row in rows(tmp_path, "train_step"))
    assert any(row["what"] == "torch" for row in rows(tmp_path, "device"))


@pytest.mark.slow
def test_every_part(repository, program, tmp_path):
    done = dry_run(repository, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{part}.csv" for part in program.PARTS}
    assert all(rows(tmp_path, part) for part in program.PARTS) and len(program.PARTS) <= 8
    ways = {(row["method"], row["way"], row["precision"]) for row in rows(tmp_path, "speed")}
    assert {(m, w, "float32") for m in ("catseg_b", "lseg_l16") for w in ("eager", "fast", "compiled")} <= ways
    assert all(float(row["ms"]) > 0 for row in rows(tmp_path, "speed"))
    assert {row["outcome"] for part in ("golden", "kernel_tests") for row in rows(tmp_path, part)} == {"passed"}


def test_a_part_that_fails_leaves_the_others(program, tmp_path, monkeypatch, capsys):
    def run_part(name, setting, folder):
        if name == "golden":
            raise RuntimeError("no such luck")
        return 1

    monkeypatch.setattr(program, "run_part", run_part)
    assert program.main(["golden", "device", "--dry-run", "--output", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "no such luck" in said.err and "failed: golden" in said.err and "device: 1 rows" in said.out


def test_a_table_is_there_before_its_part_has_ended(program, tmp_path, monkeypatch):
    """A machine that is taken away leaves what was measured; a part that runs out of time says so."""
    import types

    def device(setting):
        yield {"what": "first", "value": 1}
        assert rows(tmp_path, "device") == [{"what": "first", "value": "1"}]
        yield {"what": "second", "value": 2}

    monkeypatch.setitem(sys.modules, "gpu_checks", types.SimpleNamespace(device=device))
    assert program.run_part("device", program.Setting("cpu", deadline=0.0), tmp_path) == 2
    assert len(rows(tmp_path, "device")) == 2


@pytest.mark.parametrize(("arguments", "message"), [
    (["--output", "x"], "no CUDA device is available; --dry-run"),
    (["speed", "warp", "--dry-run", "--output", "x"], "PART: got warp, expected some of device kernel_tests"),
])  # fmt: skip
def test_what_cannot_run(program, arguments, message, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        program.main(arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
