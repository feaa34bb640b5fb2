"""Requests that cannot be met name constraints in conflict, of which none can be left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from exhaustive import Brute, tiny_problems
from random_problems import LEVELS, fleet, workload

from scheduler.core.cluster import Outage
from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Allocation
from scheduler.core.units import us_from_s
from scheduler.core.workload import JobClass, RunTimePhysics, Tenancy
from scheduler.solver.offline import solve_offline
from scheduler.solver.offline.conflicts import Constraint, can_hold, constraints_of, find_conflict
from scheduler.solver.offline.model import Limits

LIMITS = Limits(2.0)


def rows_of_one(
    deadlines_s: Sequence[float], work: Sequence[float], outages: tuple[Outage, ...] = ()
) -> Problem:
    """Jobs of one accelerator each on a node that has one."""
    cluster, names, domains, pools = fleet([[("A", 1)]], outages=outages)
    kind = JobClass("one", RunTimePhysics(), (1,), restart_s=0.0)
    mode = Mode((Group(0, 1, 1),), 0, 1.0, 1.0, 100.0)
    n = len(work)
    jobs = workload((kind,), [0] * n, [0.0] * n, list(work))
    columns = replace(jobs.jobs, deadline_s=np.array(deadlines_s))
    return Problem(cluster, replace(jobs, jobs=columns), names, LEVELS, domains, pools, ((mode,),))


def kinds(found: Sequence[Constraint]) -> list[tuple[str, int]]:
    return [(c.kind, c.index) for c in found]


def is_minimal(problem: Problem, found: Sequence[Constraint]) -> bool:
    """Whether the set cannot hold, and can without any one of its constraints."""
    if can_hold(problem, found, LIMITS) is not False:
        return False
    return all(
        can_hold(problem, [c for c in found if c is not left], LIMITS) is True for left in found
    )


def test_two_deadlines_on_one_accelerator() -> None:
    """The third job has time, and no part in it."""
    problem = rows_of_one([10.0, 11.0, 100.0], [6.0, 6.0, 6.0])
    conflict = find_conflict(problem, LIMITS, meet_deadlines=True)
    assert conflict is not None
    assert conflict.minimal
    assert kinds(conflict.constraints) == [
        ("job", 0), ("job", 1), ("deadline", 0), ("deadline", 1), ("capacity", 0)
    ]  # fmt: skip
    assert is_minimal(problem, conflict.constraints)
    with pytest.raises(InfeasibleError, match=r"deadline of job job0 \(10 s\); deadline of job"):
        solve_offline(problem, "mean_jct", limits=LIMITS, meet_deadlines=True)
    late = solve_offline(problem, "mean_jct", limits=LIMITS)  # which soft deadlines allow
    assert len(late.schedule.allocations) == 3


def test_an_outage_in_the_way() -> None:
    problem = rows_of_one([10.0], [6.0], (Outage("n0", 3.0, 8.0), Outage("n0", 500.0, 600.0)))
    conflict = find_conflict(problem, LIMITS, meet_deadlines=True)
    assert conflict is not None
    found = [("job", 0), ("deadline", 0), ("outage", 0), ("capacity", 0)]
    assert kinds(conflict.constraints) == found
    assert is_minimal(problem, conflict.constraints)


def test_a_job_that_is_needed_too_late() -> None:
    problem = rows_of_one([math.nan, 9.0], [6.0, 6.0])
    cluster, names, domains, pools = fleet([[("A", 2)]])
    jobs = replace(problem.workload.jobs, after=((), (0,)))
    problem = Problem(
        cluster, replace(problem.workload, jobs=jobs), names, LEVELS, domains, pools, problem.modes
    )
    conflict = find_conflict(problem, LIMITS, meet_deadlines=True)
    assert conflict is not None
    assert kinds(conflict.constraints) == [("job", 0), ("job", 1), ("deadline", 1), ("needs", 1)]
    assert is_minimal(problem, conflict.constraints)


def test_a_quota_that_leaves_no_time() -> None:
    problem = rows_of_one([10.0, 10.0], [6.0, 6.0])
    cluster, names, domains, pools = fleet([[("A", 2)]])
    rule = Tenancy(problem.workload.tenants[0], quota={"A": 1})
    problem = Problem(
        cluster,
        replace(problem.workload, tenancies=(rule,)),
        names,
        LEVELS,
        domains,
        pools,
        problem.modes,
    )
    conflict = find_conflict(problem, LIMITS, meet_deadlines=True)
    assert conflict is not None
    found = [("job", 0), ("job", 1), ("deadline", 0), ("deadline", 1), ("quota", 0)]
    assert kinds(conflict.constraints) == found
    assert is_minimal(problem, conflict.constraints)


def test_labels_that_leave_no_node() -> None:
    problem = rows_of_one([math.nan], [6.0])
    kind = replace(problem.workload.classes[0], labels=(("region", "eu"),))
    problem = replace(problem, workload=replace(problem.workload, classes=(kind,)))
    conflict = find_conflict(problem, LIMITS, meet_deadlines=False)
    assert conflict is not None
    assert kinds(conflict.constraints) == [("job", 0), ("label", 0)]
    assert is_minimal(problem, conflict.constraints)


def test_what_can_be_done_is_no_conflict() -> None:
    problem = rows_of_one([100.0, 100.0], [6.0, 6.0])
    assert find_conflict(problem, LIMITS, meet_deadlines=True) is None


def in_time(problem: Problem, rows: Sequence[Allocation]) -> bool:
    due_s = problem.workload.jobs.deadline_s
    ends = {a.job: a.end_us for a in rows}
    return all(math.isnan(due_s[j]) or end <= us_from_s(float(due_s[j])) for j, end in ends.items())


@pytest.mark.parametrize("block", range(2))
def test_deadlines_can_be_met_exactly_where_brute_force_meets_them(block: int) -> None:
    """Ends are as early as can be in active schedules, so that these decide it."""
    met = 0
    for seed, problem, _ in tiny_problems(130_000 + 10_000 * block, 14, 120):
        able = any(in_time(problem, rows) for rows in Brute(problem).schedules())
        met += able
        if able:
            answer = solve_offline(problem, "mean_jct", limits=LIMITS, meet_deadlines=True)
            assert in_time(problem, answer.schedule.allocations), seed
            continue
        conflict = find_conflict(problem, LIMITS, meet_deadlines=True)
        assert conflict is not None, seed
        assert conflict.minimal, seed
        assert is_minimal(problem, conflict.constraints), seed
        assert set(conflict.constraints) <= set(constraints_of(problem, meet_deadlines=True))
    assert 0 < met < 14
