"""The kernels compile for GPUs that are not there; the script says what they need."""

import csv
import os
import subprocess
import sys

import pytest

from openvocab.kernels.dispatch import TRITON_INSTALLED


def run(repository, *arguments, **environment):
    script = [sys.executable, str(repository / "benchmarks" / "kernel_resources.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(repository), **environment}
    return subprocess.run(script, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not TRITON_INSTALLED, reason="needs triton")
def test_every_kernel_compiles_for_both_targets(repository, tmp_path):
    result = run(repository, "--dtypes", "bfloat16", "--output", str(tmp_path / "new.csv"), TRITON_INTERPRET="0")
    assert not result.returncode, result.stderr
    rows = list(csv.DictReader((tmp_path / "new.csv").read_text().splitlines()))
    kernels = {
        "class_attention.forward_kernel",
        "class_attention.backward_kernel",
        "window_attention.forward_kernel",
        "window_attention.query_backward_kernel",
        "window_attention.key_backward_kernel",
        "group_norm_relu.forward_kernel",
        "group_norm_relu.backward_kernel",
        "label_map.blend_kernel",
        "label_map.argmax_kernel",
    }
    assert {(row["kernel"], row["target"]) for row in rows} == {(k, t) for k in kernels for t in ("sm_80", "sm_90")}
    # 255 registers per thread is all there is; a few spilled bytes cost nothing, hundreds mean a block too large.
    assert all(0 < int(row["registers"]) <= 255 and int(row["spill_bytes"]) <= 64 for row in rows)
    assert all(int(row["shared_bytes"]) <= 99 * 1024 and int(row["cubin_bytes"]) > 0 for row in rows)


def test_the_script_refuses_the_interpreter(repository, script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    monkeypatch.setattr(sys, "argv", ["kernel_resources.py"])
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(SystemExit) as end:
        script("benchmarks/kernel_resources.py").main()
    assert end.value.code == 2 and "TRITON_INTERPRET: got 1" in capsys.readouterr().err
