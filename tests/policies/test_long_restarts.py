"""Policies in rounds get their work done where jobs take as long to start as a round lasts."""

from __future__ import annotations

import pytest
from random_problems import LEVELS, fleet, workload

from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.workload import JobClass, RunTimePhysics
from scheduler.policies.rounds import LEAST_RESTARTS
from scheduler.simulate import simulate
from scheduler.verify import verify_run

WORK_S = 2000.0


def crowded(restart_s: float) -> Problem:
    """Six equal jobs of two accelerators each, all there at once, on a node of four."""
    cluster, types, domains, pools = fleet([[("A", 4)]])
    kind = JobClass("c", RunTimePhysics(), (2,), restart_s=restart_s)
    jobs = workload((kind,), [0] * 6, [0.0] * 6, [WORK_S] * 6)
    modes = ((Mode((Group(0, 2, 2),), 0, 1.0, 1.0, 1.0),),)
    return Problem(cluster, jobs, types, LEVELS, domains, pools, modes, ())


@pytest.mark.parametrize("name", ["shockwave", "sia", "gavel_max_min_perf", "gandiva_fair"])
@pytest.mark.parametrize("restart_s", [30.0, 120.0, 360.0, 4000.0])
def test_rounds_outlast_restarts(name: str, restart_s: float) -> None:
    problem = crowded(restart_s)
    # of a round of three restarts two are work, whatever takes turns in it; a job's last
    # round may be any part of one
    rounds_s = 3 * WORK_S * LEAST_RESTARTS / (LEAST_RESTARTS - 1)
    last_s = 3 * (WORK_S + max(360.0, LEAST_RESTARTS * restart_s))
    run = simulate(problem, name, horizon_s=rounds_s + last_s)
    assert not verify_run(problem, run)
    assert len(run.finished_us) == 6
