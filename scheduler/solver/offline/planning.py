"""The plan over time of the whole problem: a bound on every schedule, and an order of the jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.bound import Plan, plan_jobs
from scheduler.solver.plan.groups import Buckets, group_jobs, supply_of
from scheduler.solver.plan.resources import class_tables, usable_rows
from scheduler.solver.plan.schedules import cheapest_schedules

PLANNED: Final = ("mean_jct", "weighted_completion")
"""Objectives that a plan minimises."""

_LESS: Final = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Planning:
    """What the plan says.

    Parameters
    ----------
    bound : float
        On the loss of every schedule, seconds; from prices in whole numbers.
    served_s : mapping of int to float
        By job, the mean instant at which its cheapest schedule at these prices serves it.
    """

    bound: float
    served_s: Mapping[int, float]


def plan_whole(problem: Problem, name: str) -> Planning | None:
    """Plan all jobs that have a mode; None for objectives that a plan does not know."""
    if name not in PLANNED:
        return None
    columns = problem.workload.jobs
    able = np.array([bool(modes) for modes in problem.modes], dtype=bool)
    index = np.flatnonzero(able[columns.class_index])
    weight = np.ones(len(columns)) if name == "mean_jct" else columns.weight
    plan = plan_jobs(problem, index, columns.work, weight)
    exact = [Fraction(w) for w in weight[index].tolist()]
    released = [Fraction(us_from_s(t), US_PER_S) for t in columns.release_s[index].tolist()]
    spans = plan.value - sum((w * r for w, r in zip(exact, released, strict=True)), Fraction(0))
    bound = float(spans / sum(exact, Fraction(0))) * _LESS - 1 / US_PER_S
    served = _served(problem, plan, index, weight)
    return Planning(max(0.0, bound), dict(zip(index.tolist(), served.tolist(), strict=True)))


def _served(problem: Problem, plan: Plan, index: IntArray, weight: FloatArray) -> FloatArray:
    columns = problem.workload.jobs
    groups = group_jobs(problem, index, columns.work, weight)
    power = usable_rows(problem)
    watts = np.array([row.room_w for row in power])
    edges = plan.edges_s
    cut = Buckets(edges, np.vstack([supply_of(problem, edges), np.outer(watts, np.diff(edges))]))
    usage = cheapest_schedules(groups, class_tables(problem, power), cut, plan.prices).usage
    held = usage[:, : len(problem.types)].sum(axis=1)
    total = held.sum(axis=1)
    middle = (edges[1:] + edges[:-1]) / 2
    mean = (held @ middle) / np.where(total > 0, total, 1.0)
    mean = np.where(total > 0, mean, edges[-1] + groups.ready_s)
    rows = zip(
        groups.class_index.tolist(),
        groups.ready_s.tolist(),
        groups.work.tolist(),
        groups.weight.tolist(),
        strict=True,
    )
    at: dict[tuple[float, ...], float] = dict(zip(rows, mean.tolist(), strict=True))
    found = []
    for job in index.tolist():  # a job alone is the group it falls into
        alone = group_jobs(problem, np.array([job]), columns.work, weight)
        columns_of_one = (alone.class_index, alone.ready_s, alone.work, alone.weight)
        found.append(at[tuple(column.tolist()[0] for column in columns_of_one)])
    return np.array(found)
