"""Dates that no schedule can keep: the least ratio by which jobs must exceed their times.

Prices over time prove that not every job can be done by its limit where each job's cheapest way
to be done by then, or a fixed penalty if that is less, costs more together than all the time that
there is is worth. A ratio of the limits is found by halving; what was proved before is kept.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.bound import Plan, carried
from scheduler.solver.plan.groups import Dates, Groups, coarser, cut_time, group_jobs
from scheduler.solver.plan.proof import proved_value
from scheduler.solver.plan.resources import Fleet, fleet_of
from scheduler.solver.plan.rows import MOST_GROUPS, longest_hold_s
from scheduler.solver.plan.search import Search
from scheduler.solver.plan.starting import type_prices

BUCKETS: Final = 24
ROUNDS: Final = 12
HALVINGS: Final = 7
CLOSE: Final = 1.01
"""Ratio of what was reached over what was proved at which there is no more to find."""

_CLOCK_S: Final = 2e-6
_SURE: Final = 1e-6
"""Share of all penalties that has to be left for the exact proof to be worth its while."""


def least_ratio(
    problem: Problem,
    index: IntArray,
    since_s: FloatArray,
    unit_s: FloatArray,
    low: float,
    high: float,
    *,
    buckets: int = BUCKETS,
    rounds: int = ROUNDS,
    halvings: int = HALVINGS,
) -> float:
    """Return a ratio such that some job ends after `since_s` + ratio * `unit_s` in any schedule.

    Parameters
    ----------
    problem : Problem
        Fleet, jobs, modes.
    index : ndarray of int64
        Jobs, each with a mode.
    since_s, unit_s : ndarray of float64, shape (jobs of the workload,)
        From when on, and by what, each job's time is measured.
    low : float
        Known to be one.
    high : float
        Reached by some schedule; infinite: none is known.
    buckets, rounds, halvings : int
        Effort.
    """
    fleet = fleet_of(problem)
    work = problem.workload.jobs.work
    emptied_s = longest_hold_s(problem, index, work)
    weight = np.zeros(len(work))
    start: Plan | None = None
    for _ in range(halvings):
        if high <= low * CLOSE:
            break
        if np.isinf(high):
            ratio = 2.0 * max(low, 1e-9)
        else:
            ratio = (low * high) ** 0.5 if low > 0 else high / 2
        limit_s = np.where(np.isfinite(unit_s), since_s + ratio * unit_s, np.inf) + _CLOCK_S
        groups = group_jobs(fleet, index, work, Dates(weight, None, limit_s))
        groups = coarser(groups, MOST_GROUPS)
        beyond, start = _cannot_be_kept(fleet, groups, emptied_s, buckets, rounds, start)
        if beyond:
            low = ratio
        else:
            high = ratio
    return low


def _cannot_be_kept(
    fleet: Fleet, groups: Groups, emptied_s: float, buckets: int, rounds: int, start: Plan | None
) -> tuple[bool, Plan | None]:
    """Return whether some limit cannot be kept, proved, and the prices that came nearest to it."""
    last_s = float(groups.limit_s.max()) * (1 + 1e-9) + 1e-3  # what comes after is not priced
    cut = cut_time(fleet, groups, last_s, buckets, emptied_s=emptied_s)
    by_type = type_prices(groups, fleet.tables, fleet.room())
    cheapest = np.array([(t.counts @ by_type / t.rates).min(initial=np.inf) for t in fleet.tables])
    at_most = np.maximum(groups.work * cheapest[groups.kind], 1e-9)
    search = Search(groups, fleet.tables, cut, at_most=at_most)
    shape = np.repeat(by_type[:, None], len(cut), axis=1)
    search.begin(carried(start, cut) if start is not None else None, [shape])
    enough = _SURE * float((groups.count * at_most).sum())
    for _ in range(rounds):
        if search.best_value > enough or not search.step() or search.latest_value <= enough:
            break  # proved, or every job can be done in time in parts
    plan = Plan(cut.edges_s, search.best, None, search.lp_value, 0)
    if search.best_value <= enough:
        return False, start
    value = proved_value(groups, fleet.tables, cut, search.best, at_most=at_most)
    return value is None or value > 0, plan
