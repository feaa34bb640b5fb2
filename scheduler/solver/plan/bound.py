"""Plan the jobs by column generation; bound what any schedule can reach.

Columns are whole schedules of a job: how long in which mode in which bucket, and so when it
completes. Rows are the accelerator-seconds of each type and bucket, and each job once. For any
prices of the rows, the sum of the jobs' cheapest schedules less the worth of the fleet's time
is a bound on every schedule, preempting, resizing and moving allowed; what the LP adds is which
prices. Prices are taken between the best known and the LP's (Wentges 1997), which are wild at
first.

Completions are inside the columns, whole and in continuous time, so that the plan knows what an
interval-indexed LP does not: that a job half done has not half completed.

References
----------
P. Wentges, "Weighted Dantzig-Wolfe decomposition for linear mixed-integer programming",
International Transactions in Operational Research 4(2), 1997.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.bounds import Bounds, lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.groups import (
    Buckets,
    Groups,
    coarser,
    cut_time,
    group_jobs,
    supply,
    supply_of,
)
from scheduler.solver.plan.proof import proved_value
from scheduler.solver.plan.resources import (
    ClassTable,
    PowerRow,
    class_tables,
    requests,
    service_tables,
    usable_rows,
)
from scheduler.solver.plan.schedules import (
    Cheapest,
    cheapest_schedules,
    cheapest_service,
    least_costs,
)
from scheduler.solver.plan.starting import first_prices

BUCKETS: Final = 48
ROUNDS: Final = 12
"""Rounds of column generation, at most."""

COARSE_BUCKETS: Final = 12
COARSE_ROUNDS: Final = 12
"""A plan of few buckets, whose LPs are small, finds the prices that a finer one starts from."""

STAGED: Final = 32
"""Buckets from which on there is a coarser plan first."""

CARRIED_REACH: Final = 0.2
CARRIED_SCALES: Final = (1.0, 0.9, 1.1)
"""Room around the prices of a coarser plan, and multiples of them for the first columns."""

SLACK: Final = 1.2
"""How much longer than the area of all work the priced time is."""

MOST_GROUPS: Final = 1500
"""Beyond this, jobs that are nearly alike count as alike."""

CONVERGED: Final = 5e-4
"""Share of the LP's waiting and running time that the bound may lack."""

INWARD: Final = 0.3
"""How far from the LP's prices towards the best the next ones are taken."""

BOX: Final = 0.5
"""Prices of the LP stay within this share of the best ones ..."""

FLOOR: Final = 0.2
"""... or of this share of the first ones, where the best are next to nothing."""

GROW: Final = 1.6
SHRINK: Final = 0.75
LEAST: Final = 0.02
"""A price held at an edge of its box gets more room, others get less, down to this."""

EDGE: Final = 1e-6
"""Accelerators."""

FIRST_SCALES: Final = (1.0, 0.8)
"""Multiples of first prices that the first columns come from."""

SCALE_STEPS: Final = (0.2, 0.05)
"""Of the search for the best multiple of a plan's prices for other work."""

MOST_SCALINGS: Final = 4

FROM_LAST_BASIS: Final = "use_preprocessing: false use_scaling: false"
FROM_SCRATCH: Final = "use_preprocessing: true use_scaling: true"
"""GLOP's parameters: columns only come in, so that each LP starts from the last one's basis."""

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
        completion; after the types, a joule of each capped power feed.
    value : Fraction
        Proved: no schedule has a lower sum of weighted completion times, in seconds.
    lp_value : float
        Value of the LP, which `value` is at most about; infinite if the rounds ran out first.
    rounds : int
        Rounds of column generation.
    """

    edges_s: FloatArray
    prices: FloatArray
    value: Fraction
    lp_value: float
    rounds: int


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
    weight = np.ones(len(work_of))
    plan = plan_jobs(
        problem, index, work_of, weight, buckets=buckets, rounds=rounds, serving=serving
    )
    return _better(problem, index, plan.value, least)


def plan_all(problem: Problem, *, buckets: int = BUCKETS, rounds: int = ROUNDS) -> Plan:
    """Return a plan of all jobs that have a mode, with their nominal work, each counting alike."""
    index, work = _counted(problem, None, None)
    return plan_jobs(problem, index, work, np.ones(len(work)), buckets=buckets, rounds=rounds)


def priced_bound(
    problem: Problem,
    plan: Plan,
    work: Sequence[float] | None = None,
    jobs: Sequence[int] | None = None,
) -> Bounds:
    """Return what the prices of a plan prove of other work of the same jobs, or of some of them.

    The work of a replay differs from the nominal work that was planned by its noise, and so do
    the best prices from the plan's. Any prices prove a bound; these are scaled to where they
    prove most.

    Parameters
    ----------
    problem, work, jobs
        As for `lower_bounds`, whose bounds these are never less than.
    plan : Plan
        Of all jobs of the problem, by `plan_all`.
    """
    least = lower_bounds(problem, work, jobs)
    if not least.jobs:
        return least
    index, work_of = _counted(problem, work, jobs)
    groups = group_jobs(problem, index, work_of, np.ones(len(work_of)))
    groups = coarser(groups, MOST_GROUPS)
    power = usable_rows(problem)
    tables = class_tables(problem, power)
    cut = Buckets(plan.edges_s, supply(problem, plan.edges_s, power))
    prices = _scaled(plan.prices, groups, tables, cut)
    return _better(problem, index, proved_value(groups, tables, cut, prices), least)


def _scaled(
    prices: FloatArray, groups: Groups, tables: list[ClassTable], cut: Buckets
) -> FloatArray:
    """Return the multiple of prices that proves most: what they prove is concave along it."""

    def worth(scale: float) -> float:
        cost = least_costs(groups, tables, cut, scale * prices)
        return float((groups.count * cost).sum() - scale * (prices * cut.supply).sum())

    best, most = 1.0, worth(1.0)
    for step in SCALE_STEPS:
        for factor in (1.0 - step, 1.0 + step):
            for _ in range(MOST_SCALINGS):
                found = worth(best * factor)
                if found <= most:
                    break
                best, most = best * factor, found
    return best * prices


def _better(problem: Problem, index: IntArray, value: Fraction, least: Bounds) -> Bounds:
    """Return the bounds, the better one of mean completion time, and say which it is."""
    releases = sum(Fraction(us_from_s(t), US_PER_S) for t in problem.workload.jobs.release_s[index])
    mean_s = float((value - releases) / len(index)) - 1 / US_PER_S
    if mean_s <= least.mean_jct_s:
        return least
    return replace(least, mean_jct_s=mean_s, proof="plan")


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
    weight: FloatArray,
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
    work, weight : ndarray of float64, shape (jobs of the workload,)
        Work, and what a second of completion counts.
    buckets, rounds : int
        Effort.
    start : Plan or None
        An earlier plan, whose prices the search starts from.
    serving : bool
        Plan also what serves every request of every service that can be served at all.
    """
    groups = coarser(group_jobs(problem, index, work, weight), MOST_GROUPS)
    power = usable_rows(problem)
    tables = class_tables(problem, power)
    capacity = np.array([*problem.capacity(), *(row.room_w for row in power)], dtype=np.float64)
    last_s = _about_last(problem, capacity, groups, tables)
    cut = cut_time(problem, groups, last_s, buckets, power)
    served = _served(problem, power, cut) if serving else []
    if start is None and buckets >= STAGED:
        few = cut_time(problem, groups, last_s, COARSE_BUCKETS, power)
        coarse = _Search(groups, tables, few, _served(problem, power, few) if serving else [])
        coarse.begin(None)
        done = coarse.run(min(rounds, COARSE_ROUNDS))
        search = _Search(groups, tables, cut, served)
        search.refine(_smoothed(coarse.best, few, cut))
    else:
        done = 0
        search = _Search(groups, tables, cut, served)
        search.begin(_carried(start, cut) if start is not None else None)
    done += search.run(rounds)
    value = proved_value(groups, tables, cut, search.best, served)
    return Plan(cut.edges_s, search.best, value, search.lp_value, done)


def _served(
    problem: Problem, power: Sequence[PowerRow], cut: Buckets
) -> list[tuple[ClassTable, FloatArray]]:
    """Return replicas and requests of the services that can be served at all."""
    every = zip(service_tables(problem, power), problem.workload.services, strict=True)
    return [(t, requests(problem, s, cut.edges_s)) for t, s in every if len(t.rates)]


def _smoothed(prices: FloatArray, few: Buckets, cut: Buckets) -> FloatArray:
    """Return prices of few buckets on finer ones, as straight lines between their middles."""
    middle = (few.edges_s[1:] + few.edges_s[:-1]) / 2
    fine = np.linspace(cut.edges_s[:-1], cut.edges_s[1:], 9)
    return np.stack([np.interp(fine, middle, row).mean(axis=0) for row in prices])


def _about_last(
    problem: Problem, capacity: FloatArray, groups: Groups, tables: list[ClassTable]
) -> float:
    """Return an instant by which most work can be done: its area on what is up, and alone."""
    capacity = np.maximum(capacity, 1e-9)
    quickest = np.array([t.rates.max(initial=1e-30) for t in tables])
    share = [((t.counts / capacity).mean(axis=1) / t.rates).min(initial=1e30) for t in tables]
    run_s = groups.work / quickest[groups.class_index]
    area_s = SLACK * float((groups.count * groups.work * np.array(share)[groups.class_index]).sum())
    first_s = float(groups.ready_s.min())
    types = len(problem.types)
    step_s = area_s
    for _ in range(_TRIES):
        up = supply_of(problem, np.array([first_s, first_s + step_s]))[:, 0] / capacity[:types]
        if up.mean() >= area_s:
            break
        step_s += area_s - float(up.mean())
    return max(float((groups.ready_s + run_s).max()), first_s + step_s)


def _carried(start: Plan, cut: Buckets) -> FloatArray | None:
    """Return an earlier plan's prices on other buckets; nothing is priced outside it."""
    if len(start.prices) != len(cut.supply):
        return None
    middle = (cut.edges_s[1:] + cut.edges_s[:-1]) / 2
    at = np.searchsorted(start.edges_s, middle, side="right") - 1
    inside = (at >= 0) & (at < start.prices.shape[1])
    return np.where(inside, start.prices[:, np.clip(at, 0, start.prices.shape[1] - 1)], 0.0)


class _Search:
    """Column generation: the master LP, the best prices so far, and what they prove."""

    def __init__(
        self,
        groups: Groups,
        tables: list[ClassTable],
        cut: Buckets,
        served: Sequence[tuple[ClassTable, FloatArray]],
    ) -> None:
        from ortools.linear_solver import pywraplp

        self.groups, self.tables, self.cut, self.served = groups, tables, cut, served
        self.best = np.zeros_like(cut.supply)
        self.best_value = -np.inf
        self.lp_value = np.inf
        self.reach = np.full_like(cut.supply, BOX)
        self.ready_value = float((groups.count * groups.weight * groups.ready_s).sum())
        self.optimal = pywraplp.Solver.OPTIMAL
        self.solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.solver.SetSolverSpecificParametersAsString(FROM_LAST_BASIS)
        self.unit = max(
            1.0, float(np.median(groups.weight)) * float(cut.edges_s[-1] - cut.edges_s[0])
        )
        width = np.maximum(np.diff(cut.edges_s), 1e-9)
        self.width = np.tile(width, (cut.supply.shape[0], 1))
        supply = (cut.supply / self.width).ravel().tolist()
        self.rows = [self.solver.Constraint(-self.solver.infinity(), s) for s in supply]
        self.more: list[Any] = []
        self.less: list[Any] = []
        for row, limit in zip(self.rows, supply, strict=True):
            for variables, sign, most in (
                (self.more, -1.0, self.solver.infinity()),
                (self.less, 1.0, limit),
            ):
                variables.append(self.solver.NumVar(0.0, most, ""))
                row.SetCoefficient(variables[-1], sign)
        each = [*groups.count.tolist(), *[1] * len(served)]
        self.once = [self.solver.Constraint(float(n), float(n)) for n in each]
        self.solver.Objective().SetMinimization()
        for g, cost in enumerate(self._after_all().tolist()):
            self._column(g, cost, np.zeros_like(cut.supply))

    def _after_all(self) -> FloatArray:
        """Return the weighted completion of each job alone after the last bucket."""
        groups = self.groups
        quickest = np.array([t.rates.max(initial=1e-30) for t in self.tables])
        begin = np.maximum(self.cut.edges_s[-1], groups.ready_s)
        return np.asarray(groups.weight * (begin + groups.work / quickest[groups.class_index]))

    def _column(self, g: int, cost: float, usage: FloatArray) -> None:
        variable = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.solver.Objective().SetCoefficient(variable, cost / self.unit)
        self.once[g].SetCoefficient(variable, 1.0)
        share = (usage / self.width).ravel()
        for r in np.flatnonzero(np.abs(share) > 1e-9).tolist():
            self.rows[r].SetCoefficient(variable, float(share[r]))

    def price(self, prices: FloatArray) -> tuple[FloatArray, Cheapest]:
        """Return prices and the schedules that show what they prove; keep the best prices."""
        found = cheapest_schedules(self.groups, self.tables, self.cut, prices)
        worth = float((self.groups.count * found.cost).sum() - (prices * self.cut.supply).sum())
        for s, (table, asked) in enumerate(self.served, start=len(self.groups)):
            cost, usage = cheapest_service(table, asked, prices)
            worth += cost
            self._column(s, 0.0, usage)
        if worth > self.best_value:
            self.best, self.best_value = prices, worth
        return prices, found

    def add(self, prices: FloatArray, found: Cheapest) -> None:
        """Add the schedules as columns."""
        held = np.einsum("gtb,tb->g", found.usage, prices)
        for g, cost in enumerate((found.cost - held).tolist()):
            self._column(g, cost, found.usage[g])

    def _set_floor(self) -> list[FloatArray]:
        shapes = first_prices(self.groups, self.tables, self.cut)
        self.floor = FLOOR * np.max(shapes, axis=0)
        self.floor = np.maximum(self.floor, FLOOR * self.floor.max(axis=0))
        return shapes

    def refine(self, start: FloatArray) -> None:
        """Price at the prices of a coarser plan and near them."""
        self._set_floor()
        self.reach[:] = CARRIED_REACH
        for scale in CARRIED_SCALES:
            self.add(*self.price(scale * start))

    def run(self, rounds: int) -> int:
        """Take steps until the plan has converged; return how many."""
        done = 1
        while self.step() and done < rounds:
            done += 1
        return done

    def begin(self, start: FloatArray | None) -> None:
        """Price at first prices or the last plan's, at a multiple of them, and at nothing."""
        shapes = self._set_floor()
        for shape in shapes if start is None else [start]:
            for scale in FIRST_SCALES:
                self.add(*self.price(scale * shape))
        self.add(*self.price(np.zeros_like(self.best)))

    def step(self) -> bool:
        """Solve the LP with prices in a box around the best, and price there; whether to go on."""
        self._set_box()
        if self.solver.Solve() != self.optimal and not self._solved_from_scratch():
            return False
        value = self.solver.Objective().Value() * self.unit
        duals = np.array([row.dual_value() for row in self.rows]).reshape(self.width.shape)
        at_edge = self._taken(self.more) | (self._taken(self.less) & (self.low > 0.0))
        if value - self.best_value <= CONVERGED * (value - self.ready_value):
            if not at_edge.any():
                self.lp_value = value
                return False
            self.reach = np.where(at_edge, self.reach * GROW, self.reach)
            return True
        out = np.clip(-duals * self.unit / self.width, self.low, self.high)
        before = self.best_value
        self.add(*self.price(INWARD * self.best + (1.0 - INWARD) * out))
        if self.best_value > before:
            self.reach = np.where(
                at_edge, self.reach * GROW, np.maximum(self.reach * SHRINK, LEAST)
            )
        else:
            self.reach *= SHRINK
        return True

    def _solved_from_scratch(self) -> bool:
        self.solver.SetSolverSpecificParametersAsString(FROM_SCRATCH)
        return bool(self.solver.Solve() == self.optimal)

    def _taken(self, variables: list[Any]) -> NDArray[np.bool_]:
        found = np.array([variable.solution_value() for variable in variables])
        return np.asarray(found.reshape(self.width.shape) > EDGE)

    def _set_box(self) -> None:
        """Let the LP have more at the upper prices, and sell what it has at the lower ones."""
        reach = self.reach * np.maximum(self.best, self.floor)
        self.low, self.high = np.maximum(self.best - reach, 0.0), self.best + reach
        objective = self.solver.Objective()
        for variables, price in ((self.more, self.high), (self.less, -self.low)):
            each = (price * self.width / self.unit).ravel().tolist()
            for variable, cost in zip(variables, each, strict=True):
                objective.SetCoefficient(variable, cost)
