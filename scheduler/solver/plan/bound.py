"""Plan the jobs; bound what any schedule can reach.

For any prices of the resources over time, the sum of the jobs' cheapest schedules less the worth
of the fleet's time is a bound on every schedule, preempting, resizing and moving allowed; what
the LP of `scheduler.solver.plan.search` adds is which prices.

Completions are inside the columns, whole and in continuous time, so that the plan knows what an
interval-indexed LP does not: that a job half done has not half completed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np

from scheduler.core.bounds import AS_MUCH_SERVED, Bounds, lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.groups import Buckets, Dates, Groups, coarser, cut_time, group_jobs
from scheduler.solver.plan.proof import proved_value
from scheduler.solver.plan.resources import Fleet, fleet_of, requests
from scheduler.solver.plan.rows import MOST_GROUPS, longest_hold_s
from scheduler.solver.plan.schedules import Served, cheapest_service, least_costs
from scheduler.solver.plan.search import Search

BUCKETS: Final = 48
ROUNDS: Final = 12
"""Rounds of column generation, at most."""

COARSE_BUCKETS: Final = 12
COARSE_ROUNDS: Final = 12
"""A plan of few buckets, whose LPs are small, finds the prices that a finer one starts from."""

STAGED: Final = 32
"""Buckets from which on there is a coarser plan first."""

SLACK: Final = 1.2
"""How much longer than the area of all work the priced time is."""

SCALE_STEPS: Final = (0.2, 0.05)
"""Of the search for the best multiple of a plan's prices for other work."""

MOST_SCALINGS: Final = 4

_COUNTED: Final = 1e-6
"""Share, and number, of requests by which two sums of them may differ from rounding."""

_TRIES: Final = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """Prices over time and what they prove.

    Parameters
    ----------
    edges_s : ndarray of float64, shape (buckets + 1,)
        Time buckets.
    prices : ndarray of float64, shape (resources, buckets)
        What an accelerator-second of each type is worth then, in weighted seconds of
        completion; after the types, a unit of each row of `Fleet.rows`.
    value : Fraction or None
        Proved: no schedule has a lower sum of weighted times past the due dates, in seconds.
        None: some job cannot complete by its limit.
    lp_value : float
        Value of the LP, which `value` is at most about; infinite if the rounds ran out first.
    rounds : int
        Rounds of column generation.
    """

    edges_s: FloatArray
    prices: FloatArray
    value: Fraction | None
    lp_value: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Requests:
    """What the services of a run were asked and served until it ended.

    Parameters
    ----------
    served, demanded : sequence of float
        Requests, by service.
    until_s : float
        When it ended.
    """

    served: Sequence[float]
    demanded: Sequence[float]
    until_s: float


def plan_bound(
    problem: Problem,
    work: Sequence[float] | None = None,
    jobs: Sequence[int] | None = None,
    *,
    buckets: int = BUCKETS,
    rounds: int = ROUNDS,
    serving: bool = False,
) -> Bounds:
    """Return lower bounds as `core.bounds.lower_bounds` does, and never less than its.

    Parameters
    ----------
    problem, work, jobs
        As for `lower_bounds`.
    buckets, rounds : int
        Effort: time buckets of the plan, and rounds of column generation.
    serving : bool
        Bound only schedules that serve every request of every service: these leave less to
        the jobs. A run that falls short of the demand may be below it, and where the fleet
        cannot serve it all, there is nothing to bound.
    """
    least = lower_bounds(problem, work, jobs)
    if not least.jobs:
        return least
    index, work_of = _counted(problem, work, jobs)
    dates = Dates(np.ones(len(work_of)))
    plan = plan_jobs(
        problem, index, work_of, dates, buckets=buckets, rounds=rounds, serving=serving
    )
    assert plan.value is not None
    return _better(problem, index, plan.value, least, serving=serving)


def plan_all(
    problem: Problem, *, buckets: int = BUCKETS, rounds: int = ROUNDS, serving: bool = False
) -> Plan:
    """Return a plan of all jobs that have a mode, with their nominal work, each counting alike."""
    index, work = _counted(problem, None, None)
    dates = Dates(np.ones(len(work)))
    return plan_jobs(problem, index, work, dates, buckets=buckets, rounds=rounds, serving=serving)


def priced_bound(
    problem: Problem,
    plans: Plan | Sequence[Plan],
    work: Sequence[float] | None = None,
    jobs: Sequence[int] | None = None,
    *,
    asked: Requests | None = None,
) -> Bounds:
    """Return what the prices of plans prove of other work of the same jobs, or of some of them.

    The work of a replay differs from the nominal work that was planned by its noise, and so do
    the best prices from the plan's. Any prices prove a bound; these are scaled to where they
    prove most.

    Parameters
    ----------
    problem, work, jobs
        As for `lower_bounds`, whose bounds these are never less than.
    plans : Plan or sequence of Plan
        Of all jobs of the problem, by `plan_all`; the one that proves most counts.
    asked : Requests or None
        Bound only schedules in which no service goes without more requests than here; None:
        every schedule.
    """
    least = lower_bounds(problem, work, jobs)
    if not least.jobs:
        return least
    index, work_of = _counted(problem, work, jobs)
    fleet = fleet_of(problem)
    groups = group_jobs(fleet, index, work_of, Dates(np.ones(len(work_of))))
    groups = coarser(groups, MOST_GROUPS)
    best = least
    for plan in (plans,) if isinstance(plans, Plan) else plans:
        served = _served_of_run(fleet, plan.edges_s, asked)
        emptied_s = math.inf if served else longest_hold_s(problem, index, work_of)
        cut = Buckets(plan.edges_s, fleet.supply(plan.edges_s, emptied_s))
        prices = _scaled(plan.prices, groups, fleet, cut, served)
        value = proved_value(groups, fleet.tables, cut, prices, served)
        assert value is not None
        best = _better(problem, index, value, best, serving=bool(served))
    return best


def _scaled(
    prices: FloatArray, groups: Groups, fleet: Fleet, cut: Buckets, served: Sequence[Served]
) -> FloatArray:
    """Return the multiple of prices that proves most: what they prove is concave along it."""
    asked = sum(cheapest_service(service, prices)[0] for service in served)
    slope = asked - float((prices * cut.supply).sum())

    def worth(scale: float) -> float:
        cost = least_costs(groups, fleet.tables, cut, scale * prices)
        return float((groups.count * cost).sum()) + scale * slope

    best, most = 1.0, worth(1.0)
    for step in SCALE_STEPS:
        for factor in (1.0 - step, 1.0 + step):
            for _ in range(MOST_SCALINGS):
                found = worth(best * factor)
                if found <= most:
                    break
                best, most = best * factor, found
    return best * prices


def _better(
    problem: Problem, index: IntArray, value: Fraction, least: Bounds, *, serving: bool
) -> Bounds:
    """Return the bounds, the better one of mean completion time, and say which it is."""
    releases = sum(Fraction(us_from_s(t), US_PER_S) for t in problem.workload.jobs.release_s[index])
    mean_s = float((value - releases) / len(index)) - 1 / US_PER_S
    if mean_s <= least.mean_jct_s:
        return least
    better = replace(least, mean_jct_s=mean_s, proof="plan")
    return replace(better, holds_for=AS_MUCH_SERVED) if serving else better


def _counted(
    problem: Problem, work: Sequence[float] | None, jobs: Sequence[int] | None
) -> tuple[IntArray, FloatArray]:
    """Return the jobs that have a mode, among those asked for, and everyone's work."""
    columns = problem.workload.jobs
    index = np.arange(len(columns)) if jobs is None else np.array(sorted(jobs), dtype=np.int64)
    has_mode = np.array([bool(modes) for modes in problem.modes], dtype=bool)
    work_of = np.asarray(columns.work if work is None else work, dtype=np.float64)
    return index[has_mode[columns.class_index[index]]], work_of


def plan_jobs(
    problem: Problem,
    index: IntArray,
    work: FloatArray,
    dates: Dates,
    *,
    buckets: int = BUCKETS,
    rounds: int = ROUNDS,
    start: Plan | None = None,
    serving: bool = False,
) -> Plan:
    """Return a plan of the jobs at `index`.

    Parameters
    ----------
    problem : Problem
        Fleet, jobs, modes.
    index : ndarray of int64
        Jobs to plan, each with a mode.
    work : ndarray of float64, shape (jobs of the workload,)
        Work.
    dates : Dates
        What counts of their completions.
    buckets, rounds : int
        Effort.
    start : Plan or None
        An earlier plan, whose prices the search starts from.
    serving : bool
        Plan also what serves every request of every service that can be served at all.
    """
    fleet = fleet_of(problem)
    groups = coarser(group_jobs(fleet, index, work, dates), MOST_GROUPS)
    last_s = about_last(fleet, groups)
    emptied_s = math.inf if serving else longest_hold_s(problem, index, work)
    cut = cut_time(fleet, groups, last_s, buckets, emptied_s=emptied_s)
    served = _served(fleet, cut.edges_s) if serving else []
    if start is None and buckets >= STAGED:
        few = cut_time(fleet, groups, last_s, COARSE_BUCKETS, emptied_s=emptied_s)
        also = _served(fleet, few.edges_s) if serving else []
        coarse = Search(groups, fleet.tables, few, also)
        coarse.begin(None)
        done = coarse.run(min(rounds, COARSE_ROUNDS))
        search = Search(groups, fleet.tables, cut, served)
        search.refine(_smoothed(coarse.best, few, cut))
    else:
        done = 0
        search = Search(groups, fleet.tables, cut, served)
        search.begin(carried(start, cut) if start is not None else None)
    done += search.run(rounds)
    value = proved_value(groups, fleet.tables, cut, search.best, served)
    return Plan(cut.edges_s, search.best, value, search.lp_value, done)


def _served(fleet: Fleet, edges_s: FloatArray) -> list[Served]:
    """Return what services that can be served at all ask, all of it."""
    every = zip(fleet.services, fleet.problem.workload.services, strict=True)
    return [Served(t, requests(fleet.problem, s, edges_s)) for t, s in every if len(t.rates)]


def _served_of_run(fleet: Fleet, edges_s: FloatArray, asked: Requests | None) -> list[Served]:
    """Return what services ask in the buckets, and how much of it may go without, as it did.

    What a run left of all requests is at least what it left of these.
    """
    if asked is None:
        return []
    found = []
    services = fleet.problem.workload.services
    for s, (table, service) in enumerate(zip(fleet.services, services, strict=True)):
        spared = max(0.0, asked.demanded[s] - asked.served[s])
        spared += _COUNTED * (1.0 + asked.demanded[s])
        inside = requests(fleet.problem, service, edges_s, asked.until_s)
        if len(table.rates) and float(inside.sum()) > spared:
            found.append(Served(table, inside, spared))
    return found


def _smoothed(prices: FloatArray, few: Buckets, cut: Buckets) -> FloatArray:
    """Return prices of few buckets on finer ones, as straight lines between their middles."""
    middle = (few.edges_s[1:] + few.edges_s[:-1]) / 2
    fine = np.linspace(cut.edges_s[:-1], cut.edges_s[1:], 9)
    return np.stack([np.interp(fine, middle, row).mean(axis=0) for row in prices])


def about_last(fleet: Fleet, groups: Groups) -> float:
    """Return an instant by which most work can be done: its area on what is up, and alone."""
    tables = fleet.tables
    capacity = np.maximum(fleet.room(), 1e-9)
    types = len(fleet.problem.types)
    shared = types + len(fleet.rows.power)
    quickest = np.array([t.rates.max(initial=1e-30) for t in tables])
    work = np.bincount(groups.kind, groups.count * groups.work, len(tables))
    parts = [t.counts / capacity / t.rates[:, None] for t in tables]
    every = [(w, p) for w, p in zip(work, parts, strict=True) if w > 0 and len(p)]
    whole_s = sum(w * p[:, :shared].mean(axis=1).min() for w, p in every)
    each_s = sum(w * p[:, shared:].min(axis=0) for w, p in every)
    run_s = groups.work / quickest[groups.kind]
    area_s = SLACK * max(float(whole_s), float(np.max(each_s, initial=0.0)))
    first_s = float(groups.ready_s.min())
    step_s = area_s
    for _ in range(_TRIES):
        up = fleet.supply(np.array([first_s, first_s + step_s]))[:types, 0] / capacity[:types]
        if up.mean() >= area_s:
            break
        step_s += area_s - float(up.mean())
    return max(float((groups.ready_s + run_s).max()), first_s + step_s)


def carried(start: Plan, cut: Buckets) -> FloatArray | None:
    """Return an earlier plan's prices on other buckets; nothing is priced outside it."""
    if len(start.prices) != len(cut.supply):
        return None
    middle = (cut.edges_s[1:] + cut.edges_s[:-1]) / 2
    at = np.searchsorted(start.edges_s, middle, side="right") - 1
    inside = (at >= 0) & (at < start.prices.shape[1])
    return np.where(inside, start.prices[:, np.clip(at, 0, start.prices.shape[1] - 1)], 0.0)
