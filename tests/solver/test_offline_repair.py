"""Search over large cases: what it keeps to, what it gains, and that bytes repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exhaustive import tiny_problems
from random_problems import random_problem

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.run import Schedule, Status
from scheduler.simulate import simulate
from scheduler.solver.offline import OBJECTIVES, search, solve_offline, whole
from scheduler.solver.offline.greedy import greedy_plan
from scheduler.solver.offline.instance import Instance, Planned, build_instance
from scheduler.solver.offline.judge import Goal
from scheduler.solver.offline.model import Limits
from scheduler.solver.offline.neighbourhoods import NEIGHBOURHOODS
from scheduler.solver.offline.parts import in_parts
from scheduler.solver.offline.repair import repair
from scheduler.solver.offline.timetable import Timetable
from scheduler.verify import verify_schedule


def crowded(seed: int, jobs: int = 24) -> Problem:
    """Many jobs at once on a small random fleet, no rule that the search does not know."""
    rng = np.random.default_rng(seed)
    while True:
        problem = random_problem(rng)
        able = [c for c, modes in enumerate(problem.modes) if modes]
        if not able or len(problem.cluster.nodes) < 3:
            continue
        columns = problem.workload.jobs.take(np.zeros(jobs, dtype=np.int64))
        columns = replace(
            columns,
            ids=tuple(f"job{i}" for i in range(jobs)),
            class_index=np.array([able[int(rng.integers(len(able)))] for _ in range(jobs)]),
            release_s=np.sort(np.round(rng.uniform(0, 200, jobs), 1)),
            work=np.round(rng.uniform(5, 400, jobs), 1),
            weight=np.round(rng.uniform(0.5, 2, jobs), 1),
            deadline_s=np.round(rng.uniform(200, 2000, jobs)),
        )
        sites = tuple(replace(s, power_cap_w=None) for s in problem.cluster.sites)
        cluster = replace(problem.cluster, sites=sites, outages=())
        classes = tuple(replace(k, preemptible=True) for k in problem.workload.classes)
        workload = replace(problem.workload, jobs=columns, services=(), classes=classes)
        found = replace(problem, cluster=cluster, workload=workload, service_modes=())
        try:
            build_instance(found)
        except InfeasibleError:  # a gang that is too large for the fleet
            continue
        return found


def schedule_of(instance: Instance, plan: dict[int, Planned]) -> Schedule:
    return Schedule(instance.allocations(plan), "plan", 0.0, 0.0, Status.FEASIBLE)


def first_plan(instance: Instance) -> dict[int, Planned]:
    plan, _ = greedy_plan(instance, instance.jobs)
    assert plan is not None
    return plan


@pytest.mark.parametrize("name", OBJECTIVES)
def test_repair_improves_what_it_begins_with(name: str) -> None:
    """Every kind of objective; the plan stays one that the verifier accepts."""
    gained = 0
    for seed in range(2):
        problem = crowded(seed)
        instance = build_instance(problem)
        plan = first_plan(instance)
        begun = repair(instance, Goal(name), plan, Limits(1e-9), lambda _: True, -np.inf)
        found = repair(instance, Goal(name), plan, Limits(0.15), lambda _: True, -np.inf)
        assert found.loss <= begun.loss
        gained += found.loss < begun.loss
        assert not verify_schedule(problem, schedule_of(instance, dict(found.plan)))
    assert gained or name in ("max_min_fairness", "finish_time_fairness")


def test_the_same_seed_gives_the_same_plan() -> None:
    problem = crowded(5)
    instance = build_instance(problem)
    plan = first_plan(instance)
    one, two, other = (
        repair(instance, Goal("mean_jct"), plan, Limits(0.15, 1, s), lambda _: True, 0.0)
        for s in (0, 0, 1)
    )
    assert one == two
    assert one.gains != other.gains


def test_what_leads_is_not_worsened() -> None:
    problem = crowded(7)
    instance = build_instance(problem)
    plan = first_plan(instance)
    lead = repair(instance, Goal("makespan"), plan, Limits(0.15), lambda _: True, 0.0)
    kept = (("makespan", lead.loss * 1.02),)
    found = repair(instance, Goal("mean_jct", kept), lead.plan, Limits(0.15), lambda _: True, 0.0)
    again = repair(instance, Goal("makespan"), found.plan, Limits(1e-9), lambda _: True, 0.0)
    assert again.loss <= lead.loss * 1.02


def test_plans_that_are_refused_are_not_kept() -> None:
    """Rules that the search does not know are somebody else's to judge."""
    problem = crowded(3)
    instance = build_instance(problem)
    plan = first_plan(instance)
    found = repair(instance, Goal("mean_jct"), plan, Limits(0.2), lambda _: False, 0.0)
    assert dict(found.plan) == plan


@pytest.mark.parametrize("hood", NEIGHBOURHOODS)
def test_neighbourhoods_are_jobs_of_the_plan(hood: str) -> None:
    problem = crowded(2)
    instance = build_instance(problem)
    plan = first_plan(instance)
    draws = np.random.default_rng(0)
    for size in (1, 5, 40):
        freed = NEIGHBOURHOODS[hood](instance, plan, size, draws)
        assert len(set(freed)) == len(freed) <= size
        assert set(freed) <= set(plan)
        assert freed


def test_the_timetable_gives_back_what_it_lent() -> None:
    """And no earlier end is free: tried against all that the plan holds, tick by tick of change."""
    for seed in range(4):
        problem = crowded(seed, 10)
        instance = build_instance(problem)
        plan = first_plan(instance)
        table = Timetable(instance, plan)
        assert (table.free >= 0).all()
        for unit, planned in plan.items():
            table.remove(planned)
            again = table.soonest(unit, instance.release[unit])
            assert again is not None
            assert again.end <= planned.end
            table.add(planned)
        for planned in plan.values():
            table.remove(planned)
        table.tidy()
        assert len(table.times) == 1
        assert (table.free == table.size).all()


def test_parts_of_a_preemptive_run_are_a_plan_that_can_be_searched() -> None:
    cut = 0
    for seed in range(8):
        problem = crowded(seed)
        run = simulate(problem, "srtf")
        parts = in_parts(build_instance(problem), run.allocations)
        if parts is None:
            assert len({a.job for a in run.allocations if a.work > 0}) == len(
                [a for a in run.allocations if a.work > 0]
            )
            continue
        cut += 1
        instance, plan = parts
        assert not verify_schedule(problem, schedule_of(instance, plan))
        found = repair(instance, Goal("mean_jct"), plan, Limits(0.2), lambda _: True, 0.0)
        assert not verify_schedule(problem, schedule_of(instance, dict(found.plan)))
        begun = repair(instance, Goal("mean_jct"), plan, Limits(1e-9), lambda _: True, 0.0)
        assert found.loss <= begun.loss
    assert cut >= 3


def test_the_answer_is_no_worse_than_any_schedule_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preempting ones too, unless each job has to run once."""
    monkeypatch.setattr(whole, "MODEL_JOBS", 0)
    for seed in range(2):
        problem = crowded(seed)
        runs = [(p, simulate(problem, p).allocations) for p in ("fifo", "srtf", "easy_backfill")]
        values = [search.loss_of(problem, "mean_jct", rows) for _, rows in runs]
        answer = solve_offline(problem, "mean_jct", known=runs, limits=Limits(0.15))
        assert answer.schedule.objective <= min(values)
        assert answer.schedule.bound <= answer.schedule.objective
        assert not verify_schedule(problem, answer.schedule)
        once = solve_offline(problem, "mean_jct", known=runs, limits=Limits(0.15), preempt=False)
        assert len(once.schedule.allocations) == len(problem.workload.jobs)
        assert not once.preempts


def test_drains_and_needs_are_kept_by_greedy_steps() -> None:
    for _, problem, _ in tiny_problems(170_000, 8, 10**6):
        instance = build_instance(problem)
        plan = first_plan(instance)
        assert not verify_schedule(problem, schedule_of(instance, plan))
        found = repair(instance, Goal("makespan"), plan, Limits(0.05), lambda _: True, 0.0)
        assert not verify_schedule(problem, schedule_of(instance, dict(found.plan)))
