"""The comparison of adaptations, at a toy length."""

import csv
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_row_for_each_way_that_is_made_once(repository, tmp_path):
    options = "--scenes 2 --pictures 2 --styles openmoji --ways qv low_rank --keep 1".split()
    command = [sys.executable, str(repository / "benchmarks" / "adapt.py"), "--output", str(tmp_path), *options,
               "--opts", "SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2"]  # fmt: skip
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900,
                              env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader((tmp_path / "adapt.csv").read_text().splitlines()))
        assert [(row["way"], row["keep"], row["iterations"]) for row in rows] == [
            ("qv", "1.0", "1"),
            ("low_rank", "1.0", "1"),
        ]
        for row in rows:
            change = float(row["own_after"]) - float(row["own_before"])
            assert float(row["own_change"]) == pytest.approx(change, abs=0.02)
    assert "run 1 of" not in done.stdout + done.stderr, "the second time there is nothing to do"
