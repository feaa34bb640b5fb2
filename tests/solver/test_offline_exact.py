"""Offline schedules equal brute force, whatever the objective; bounds hold; bytes repeat."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from exhaustive import tiny_problems
from offline_trials import QUICK, against_every_schedule
from random_problems import random_problem

from scheduler.core.cluster import Outage
from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.simulate import simulate
from scheduler.solver.offline import (
    OBJECTIVES,
    general_bound,
    objective_value,
    search,
    solve_offline,
    whole,
)
from scheduler.solver.offline.model import Limits
from scheduler.solver.offline.objectives import loss_of
from scheduler.verify import verify_schedule


def check_block(first: int, count: int, leaves: int) -> None:
    """Every objective `count` times: proved, verified, equal to the least of all schedules."""
    tally = against_every_schedule(first, count, leaves)
    assert tally.wrong == []
    assert tally.compared == dict.fromkeys(OBJECTIVES, count)
    assert tally.accepted == tally.solved >= count * len(OBJECTIVES)
    # ratios that nearly tie and hours that may be cheaper can take longer to prove than this
    assert sum(tally.proved.values()) >= 0.98 * count * len(OBJECTIVES)


@pytest.mark.parametrize("block", range(3))
def test_optimum_equals_brute_force(block: int) -> None:
    check_block(10_000 * block, 6, 120)


BLOCKS = range(4, 12)
EACH = 63


def test_there_are_more_than_five_hundred_instances_of_each_objective() -> None:
    assert len(BLOCKS) * EACH > 500


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_optimum_equals_brute_force_on_many(block: int) -> None:
    """More than 500 instances of each objective."""
    check_block(10_000 * block, EACH, 60)


def test_bounds_hold_for_what_policies_reach() -> None:
    """The general bound for every run; the proved one for those that do not preempt."""
    for _, problem, _ in tiny_problems(90_000, 4, 10**6):
        for name in OBJECTIVES:
            proved = solve_offline(problem, name, limits=QUICK).schedule
            maximised = OBJECTIVES[name].maximised
            for policy in ("fifo", "srtf", "optimizer"):
                run = simulate(problem, policy)
                if len(run.finished_us) < len(problem.workload.jobs):
                    continue
                value = loss_of(problem, name, run.allocations)
                assert general_bound(problem, name) <= value * (1 + 1e-9)
                if len(run.allocations) == len(run.finished_us):
                    value = objective_value(problem, name, run.allocations)
                    assert proved.bound <= (-value if maximised else value) + 1e-9 * abs(value)


def middling_problem(seed: int) -> Problem:
    """Power caps and ten jobs or so: more than the model knows of and proves at once."""
    rng = np.random.default_rng(seed)
    while True:
        problem = random_problem(rng)
        able = [bool(problem.modes[c]) for c in problem.workload.jobs.class_index.tolist()]
        if sum(able) >= 8 and any(s.power_cap_w for s in problem.cluster.sites):
            workload = replace(problem.workload, services=())
            cluster = replace(problem.cluster, outages=())
            return replace(problem, cluster=cluster, workload=workload, service_modes=())


@pytest.mark.parametrize("seed", range(3))
def test_rules_outside_the_model_are_kept(seed: int) -> None:
    problem = middling_problem(seed)
    run = simulate(problem, "fifo")
    able = [bool(problem.modes[c]) for c in problem.workload.jobs.class_index.tolist()]
    if len(run.finished_us) < sum(able):
        pytest.skip("a job that the power cap forbids for ever")
    known = [("fifo", run.allocations)]
    answer = solve_offline(problem, "mean_jct", known=known, limits=Limits(0.15))
    assert not verify_schedule(problem, answer.schedule)
    assert answer.schedule.bound <= answer.schedule.objective
    assert answer.schedule.objective <= answer.first_objective
    assert solve_offline(problem, "mean_jct", known=known, limits=Limits(0.15)) == answer


def test_windows_of_repair_improve_a_poor_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the whole model and the greedy plans out of reach, repair alone lowers FIFO's."""
    monkeypatch.setattr(whole, "MODEL_SLOTS", 0)
    monkeypatch.setattr(search._Solver, "_orders", lambda *_: [])
    better = 0
    for _, problem, _ in tiny_problems(70_000, 12, 10**6):
        run = simulate(problem, "fifo")
        jobs = len(problem.workload.jobs)
        if len(run.finished_us) < jobs or len(run.allocations) > jobs:  # cut by an outage
            continue
        known = [("fifo", run.allocations)]
        answer = solve_offline(problem, "mean_jct", known=known, limits=Limits(0.2))
        assert not verify_schedule(problem, answer.schedule)
        better += answer.schedule.objective < answer.first_objective
    assert better


def one_job(**changes: object) -> Problem:
    problem = next(p for _, p, _ in tiny_problems(0, 1, 120))
    jobs = replace(problem.workload.jobs, **changes)  # type: ignore[arg-type]
    return replace(problem, workload=replace(problem.workload, jobs=jobs))


def test_jobs_that_can_never_run_are_named() -> None:
    n = len(one_job().workload.jobs)
    short = one_job(limit_s=np.full(n, 1e-3), after=())
    with pytest.raises(InfeasibleError, match=r"job job\d+ runs for .* its time limit is 0.001 s"):
        solve_offline(short, "mean_jct", limits=QUICK)
    problem = one_job(after=())
    down = tuple(Outage(n.id, 0.0, math.inf) for n in problem.cluster.nodes)
    dark = replace(problem, cluster=replace(problem.cluster, outages=down))
    with pytest.raises(
        InfeasibleError, match=r"\(a minimal set\): job job\d+ is done; node n0 down"
    ):
        solve_offline(dark, "makespan", limits=QUICK)


def test_what_cuts_have_proved_wrongly_is_refuted() -> None:
    """Of this instance CP-SAT 9.15 cuts off the optimum: its cuts overflow on microseconds."""
    tally = against_every_schedule(1_001_308, 1, 60, ("tardiness",))
    assert not tally.wrong
    assert tally.proved["tardiness"] == 1
