"""The plan over time of the whole problem: a bound on every schedule, and an order of the jobs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.offline.objectives import WORST_OF, fair_lengths_s
from scheduler.solver.plan.bound import Plan, plan_jobs
from scheduler.solver.plan.groups import Buckets, Dates, group_jobs
from scheduler.solver.plan.limits import HALVINGS, least_ratio
from scheduler.solver.plan.resources import fleet_of
from scheduler.solver.plan.schedules import cheapest_schedules

PLANNED: Final = ("mean_jct", "weighted_completion", "tardiness")
"""Objectives that a plan minimises."""

LIMITED: Final = (*WORST_OF, "makespan", "throughput")
"""Objectives that are the least ratio by which no job's end exceeds its own time."""

MANY_JOBS: Final = 300
FEWER_HALVINGS: Final = 4
"""Of the search for that ratio, where each step of it takes its time."""

_LESS: Final = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Planning:
    """What the plan says.

    Parameters
    ----------
    bound : float
        On the loss of every schedule, seconds; from prices in whole numbers.
    served_s : mapping of int to float
        By job, the mean instant at which its cheapest schedule at these prices serves it; jobs
        of which nothing counts are left out.
    """

    bound: float
    served_s: Mapping[int, float]


def plan_whole(problem: Problem, name: str, due: Collection[int] = ()) -> Planning | None:
    """Plan all jobs that have a mode; None for objectives that a plan does not know.

    Parameters
    ----------
    problem : Problem
        What was asked.
    name : str
        Objective.
    due : collection of int
        Jobs that have to end by their deadlines.
    """
    if name not in PLANNED:
        return None
    columns = problem.workload.jobs
    index = _able(problem)
    deadline_s = np.nan_to_num(columns.deadline_s, nan=np.inf)
    due_s = None
    if name == "tardiness":
        index = index[np.isfinite(deadline_s[index])]
        if not len(index):
            return Planning(0.0, {})
        due_s = np.where(np.isfinite(deadline_s), deadline_s, 0.0)
    weight = columns.weight if name == "weighted_completion" else np.ones(len(columns))
    limit_s = np.full(len(columns), np.inf)
    limit_s[sorted(due)] = deadline_s[sorted(due)] + 1 / US_PER_S
    dates = Dates(weight, due_s, limit_s)
    plan = plan_jobs(problem, index, columns.work, dates)
    if plan.value is None:  # some job cannot end in time, which is for others to say
        return None
    exact = [Fraction(w) for w in weight[index].tolist()]
    spans = plan.value
    if due_s is None:
        released = [Fraction(us_from_s(t), US_PER_S) for t in columns.release_s[index].tolist()]
        spans -= sum((w * r for w, r in zip(exact, released, strict=True)), Fraction(0))
    bound = float(spans / sum(exact, Fraction(0))) * _LESS - 1 / US_PER_S
    served = _served(problem, plan, index, dates)
    return Planning(max(0.0, bound), dict(zip(index.tolist(), served.tolist(), strict=True)))


def limited_bound(problem: Problem, name: str, low: float, high: float) -> float:
    """Return a loss that no schedule can go below, of an objective that is a least ratio.

    Parameters
    ----------
    problem : Problem
        What was asked.
    name : str
        Objective; for others than `LIMITED` there is no more to say than `low`.
    low, high : float
        A bound, and a loss that was reached.
    """
    index = _able(problem)
    if name not in LIMITED or not len(index):
        return low
    release_s = problem.workload.jobs.release_s
    since_s = np.array([us_from_s(t) for t in release_s.tolist()]) / US_PER_S
    unit_s = np.ones(len(since_s))
    if name in WORST_OF:
        unit_s = fair_lengths_s(problem, name)
    else:
        since_s = np.full(len(since_s), since_s[index].min())
    halvings = HALVINGS if len(index) <= MANY_JOBS else FEWER_HALVINGS
    found = least_ratio(problem, index, since_s, unit_s, low, high, halvings=halvings)
    return max(low, found * _LESS)


def _able(problem: Problem) -> IntArray:
    has_mode = np.array([bool(modes) for modes in problem.modes], dtype=bool)
    return np.flatnonzero(has_mode[problem.workload.jobs.class_index])


def _served(problem: Problem, plan: Plan, index: IntArray, dates: Dates) -> FloatArray:
    columns = problem.workload.jobs
    fleet = fleet_of(problem)
    groups = group_jobs(fleet, index, columns.work, dates)
    edges = plan.edges_s
    cut = Buckets(edges, fleet.supply(edges))
    usage = cheapest_schedules(groups, fleet.tables, cut, plan.prices).usage
    held = usage[:, : len(problem.types)].sum(axis=1)
    total = held.sum(axis=1)
    middle = (edges[1:] + edges[:-1]) / 2
    mean = (held @ middle) / np.where(total > 0, total, 1.0)
    mean = np.where(total > 0, mean, edges[-1] + groups.ready_s)
    at: dict[tuple[float, ...], float] = dict(
        zip(map(tuple, groups.columns().tolist()), mean.tolist(), strict=True)
    )
    found = []
    for job in index.tolist():  # a job alone is the group it falls into
        alone = group_jobs(fleet, np.array([job]), columns.work, dates)
        found.append(at[tuple(alone.columns()[0].tolist())])
    return np.array(found)
