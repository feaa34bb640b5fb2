"""Recorded runs of a real Slurm come out as they were, within the spread of its phases."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from bench import slurm
from scheduler.io.slurm import read_record

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
    busy = cases["busy_points_apart_by_minute"]
    assert busy["ours"] < 5
    assert 0 < busy["one_of_ours"] < 5, "no two replays are alike"
    assert all(0 <= case["as_far"] <= 1 for case in result["cases"])
    assert result["not_played"] == {name: []}
    assert any(makespan["case"] in line for line in slurm.table(result))


@pytest.mark.parametrize("name", ["backfill", "multifactor"])
def test_one_of_ours_in_place_of_slurm_is_told_from_none(name: str) -> None:
    """A replay in place of the record is met to the second by the replay of its own phase."""
    if not (SHARED / name).is_dir():
        pytest.skip("needs the shared reference data beside the checkout")
    record = read_record(SHARED / name)
    phase = slurm.phases_of(record, 1, seed=3)[0]
    first, again = slurm.replay(record, phase), slurm.replay(record, phase)
    assert first == again
    assert first.violations == 0
    took = [end - start for start, end, _ in first.holds]
    recorded = [row.end_s - row.start_s for row in record.rows]
    assert np.isclose(np.mean(took), np.mean(recorded), rtol=0.02)
    assert 0.01 < slurm.launch_s(record) < 0.1, "tens of milliseconds, as in a log of our own"


def test_a_run_cut_short_and_a_job_past_its_limit(tmp_path: Path) -> None:
    """Jobs that Slurm never started are left out of the means; limits end jobs."""
    conf = (
        "NodeName=n[1-2] CPUs=8 Gres=gpu:h100:8\nPartitionName=p Nodes=ALL\n"
        "SchedulerParameters=sched_interval=2,batch_sched_delay=1,bf_interval=2,bf_yield_sleep=5\n"
        "TopologyPlugin=topology/tree\nSelectTypeParameters=CR_LLN\n"
    )
    (tmp_path / "slurm.conf").write_text(conf)
    (tmp_path / "jobs.csv").write_text(
        "job_id,submit_s,nodes,gres_type,gpus_per_node,run_s,time_limit_min,partition\n"
        "1,0.5,2,h100,8,500,1,p\n2,1.5,1,h100,8,20,1,p\n3,2.5,2,h100,8,20,1,p\n"
    )
    (tmp_path / "completed.csv").write_text(
        "job_id,state,submit_s,start_s,end_s\n1,TIMEOUT,0,1,80\n2,COMPLETED,1,81,101\n"
    )
    parser = argparse.ArgumentParser()
    slurm.add_arguments(parser)
    result = slurm.run(parser.parse_args(["--run", str(tmp_path), "--phases", "3"]))
    cases = {case["metric"]: case for case in result["cases"]}
    assert cases["mean_queueing_s"]["peer"] == pytest.approx((0.5 + 79.5) / 2)
    assert cases["mean_queueing_s"]["ours"] == pytest.approx(38, abs=3)
    assert cases["mean_queueing_s"]["violations"] == 0
    assert result["not_played"] == {tmp_path.name: ["SelectTypeParameters=CR_LLN"]}
    assert any("CR_LLN" in line for line in slurm.table(result))
