"""Recorded runs of a real Slurm come out as they were, within the spread of its phases."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bench import slurm

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "peers" / "slurm"


@pytest.mark.parametrize("name", ["backfill", "multifactor"])
def test_recorded_runs(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip("needs the shared reference data beside the checkout")
    parser = argparse.ArgumentParser()
    slurm.add_arguments(parser)
    result = slurm.run(parser.parse_args(["--run", str(SHARED / name), "--phases", "6"]))
    cases = {case["metric"]: case for case in result["cases"]}
    queueing, makespan = cases["mean_queueing_s"], cases["makespan_s"]
    assert queueing["violations"] == 0
    assert abs(queueing["ratio"] - 1) < 0.06
    assert abs(makespan["ratio"] - 1) < 0.03
    assert queueing["low"] < queueing["peer"] < queueing["high"]
    assert cases["busy_points_apart_by_minute"]["ours"] < 5
    assert any(makespan["case"] in line for line in slurm.table(result))
