"""Whole answers by counts in CP-SAT.

Jobs of a core choose among their options; every other job keeps what it has. Nodes and pods
enter through the supply rows, as counts. Reduced costs say which choices can be part of a
better answer at all: one that forgoes more surplus than the gap cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.prices import demand_of
from scheduler.solver.scale.rows import JobTable, SizeTable
from scheduler.solver.scale.stock import Stock
from scheduler.solver.scale.supply_rows import SupplyRows

CORES: Final = (40, 100, 250)
"""Jobs in the core, at most: few jobs are searched through sooner, more reach further."""

NEAR_OPTIONS: Final = 4
"""Options of each of them, where there are too many jobs to open all that matter."""

_UNITS: Final = 10**9
"""Units of the objective in the greatest utility; the rest is rounding."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer in whole jobs.

    Parameters
    ----------
    rows : ndarray of int64, shape (jobs kept,)
        Row of each job placed; -1 elsewhere.
    stock : Stock
        Cuts for all of them, and what is left.
    proved : bool
        Whether no choice is better, up to the rounding of utilities to a billionth of the
        greatest.
    """

    rows: IntArray
    stock: Stock
    proved: bool


def improve(
    table: SizeTable,
    jobs: JobTable,
    supply: SupplyRows,
    now: Whole,
    surplus: FloatArray,
    gap: float,
    *,
    enough: float,
    most_jobs: int,
    deterministic_time: float,
) -> Whole | None:
    """Return an answer at least as good, or None if CP-SAT found none in its time.

    Parameters
    ----------
    table, jobs, supply : SizeTable, JobTable, SupplyRows
        The round.
    now : Whole
        The answer to start from.
    surplus : ndarray of float64, shape (rows,)
        Of every option at the prices that prove the bound.
    gap : float
        Bound less the utility of `now`.
    enough : float
        Gap, in utility, at which the search ends.
    most_jobs : int
        Jobs in the core; all that a better answer may change, where they are no more.
    deterministic_time : float
        CP-SAT's limit in its own repeatable unit (about a second).
    """
    from ortools.sat.python import cp_model

    may = _by_stake(jobs, now.rows, surplus, gap)
    core, exhaustive = np.sort(may[:most_jobs]), len(may) <= most_jobs
    open_rows = _viable(jobs, core, now.rows, surplus, gap, exhaustive)
    kept = now.rows.copy()
    kept[core] = -1
    fixed = demand_of(table, jobs, kept[kept >= 0]).astype(np.int64)
    model = cp_model.CpModel()
    picks = [model.new_bool_var("") for _ in range(len(open_rows))]
    _once(model, picks, jobs.row_job[open_rows])
    demands = _demands(model, table, jobs, open_rows, picks, fixed)
    steps = [model.new_int_var(0, step.most, "") for step in supply.steps]
    every = [*demands, *steps]
    for row in supply.rows:
        total = sum(a * every[v] for v, a in zip(row.variables, row.coefficients, strict=True))
        model.add(total == row.limit if row.covers else total <= row.limit)
    unit = float(jobs.exact.max()) / _UNITS
    gains = np.floor(jobs.exact[open_rows] / unit).astype(np.int64).tolist()
    model.maximize(sum(g * pick for g, pick in zip(gains, picks, strict=True)))
    _hint(model, table, jobs, now, open_rows, picks, demands, supply, steps)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = deterministic_time
    solver.parameters.linearization_level = 2  # knapsacks: without the LP, 20 times slower
    solver.parameters.cp_model_probing_level = 0
    has = float(jobs.exact[now.rows[core[now.rows[core] >= 0]]].sum())
    goal = (has + gap - enough) / unit if enough > 0 else np.inf

    class StopAtGoal(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            if self.objective_value >= goal:
                self.stop_search()

    status = solver.solve(model, StopAtGoal())
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    rows = kept
    for row, pick in zip(open_rows.tolist(), picks, strict=True):
        if solver.boolean_value(pick):
            rows[jobs.row_job[row]] = row
    stock = _stock(table, jobs, rows, supply, [solver.value(v) for v in steps])
    return Whole(rows, stock, exhaustive and status == cp_model.OPTIMAL)


def open_jobs(jobs: JobTable, rows: IntArray, surplus: FloatArray, gap: float) -> int:
    """Return how many jobs may choose otherwise in a better answer."""
    return len(_by_stake(jobs, rows, surplus, gap))


def _by_stake(jobs: JobTable, rows: IntArray, surplus: FloatArray, gap: float) -> IntArray:
    """Return the jobs whose choice may change, those that forgo least by it first."""
    best = np.maximum(np.maximum.reduceat(surplus, jobs.first), 0.0)
    has = np.where(rows >= 0, surplus[rows], 0.0)
    others = surplus.copy()
    others[rows[rows >= 0]] = -np.inf
    other = np.maximum.reduceat(others, jobs.first)
    other = np.where(rows >= 0, np.maximum(other, 0.0), other)
    forgone = best - other  # by the best change of its choice
    stake = np.maximum.reduceat(jobs.exact, jobs.first)  # else the core were all small jobs
    order = np.argsort(np.where(has < best, -1.0, forgone / stake), kind="stable")
    return np.asarray(order[forgone[order] <= gap * (1 + 1e-9)])


def _viable(
    jobs: JobTable,
    core: IntArray,
    rows: IntArray,
    surplus: FloatArray,
    gap: float,
    exhaustive: bool,
) -> IntArray:
    """Return the options of the core's jobs that a better answer may take."""
    mine = jobs.rows_of(core)
    best = np.maximum(np.maximum.reduceat(surplus, jobs.first), 0.0)
    forgone = best[jobs.row_job[mine]] - surplus[mine]
    keeps = rows[jobs.row_job[mine]] == mine
    viable = (forgone <= gap * (1 + 1e-9)) | keeps
    if not exhaustive:  # the few nearest options of each job, so that the core can hold more jobs
        order = np.lexsort((forgone, jobs.row_job[mine]))
        owner = jobs.row_job[mine][order]
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        rank = np.arange(len(owner)) - np.repeat(starts, np.diff(np.append(starts, len(owner))))
        near = np.zeros(len(mine), dtype=bool)
        near[order] = rank < NEAR_OPTIONS
        viable &= near | keeps
    return np.asarray(mine[viable])


def _once(model: Any, picks: list[Any], owner: IntArray) -> None:
    starts = [*np.flatnonzero(np.diff(owner, prepend=-1)).tolist(), len(owner)]
    for a, b in pairwise(starts):
        model.add_at_most_one(picks[a:b])


def _demands(
    model: Any,
    table: SizeTable,
    jobs: JobTable,
    open_rows: IntArray,
    picks: list[Any],
    fixed: IntArray,
) -> list[Any]:
    """Return demand by type and size: what is fixed and what the core picks."""
    key = jobs.key[open_rows]
    column, slots = jobs.key_column[key].tolist(), jobs.key_slots[key].astype(np.int64).tolist()
    terms: list[Any] = fixed.tolist()
    for pick, c, n in zip(picks, column, slots, strict=True):
        terms[c] = terms[c] + n * pick
    most = fixed + np.bincount(jobs.key_column[key], jobs.key_slots[key], minlength=len(fixed))
    demands = []
    for c, term in enumerate(terms):
        if most[c] == fixed[c]:
            demands.append(int(fixed[c]))
            continue
        demand = model.new_int_var(int(fixed[c]), int(most[c]), "")
        model.add(demand == term)
        demands.append(demand)
    return demands


def _hint(
    model: Any,
    table: SizeTable,
    jobs: JobTable,
    now: Whole,
    open_rows: IntArray,
    picks: list[Any],
    demands: list[Any],
    supply: SupplyRows,
    steps: list[Any],
) -> None:
    has = now.rows[jobs.row_job[open_rows]] == open_rows
    for pick, value in zip(picks, has.tolist(), strict=True):
        model.add_hint(pick, value)
    total = demand_of(table, jobs, now.rows[now.rows >= 0]).astype(np.int64).tolist()
    for demand, count in zip(demands, total, strict=True):
        if not isinstance(demand, int):
            model.add_hint(demand, count)
    sizes = [*table.slots, *table.gangs]
    for step, variable in zip(supply.steps, steps, strict=True):
        cuts = now.stock.gang_cuts if step.column >= len(table.slots) else now.stock.slot_cuts
        count = cuts.get((step.type_index, step.left, sizes[step.column]), 0)
        model.add_hint(variable, count)


def _stock(
    table: SizeTable, jobs: JobTable, rows: IntArray, supply: SupplyRows, counts: list[int]
) -> Stock:
    """Return the cuts: those of the steps, and of the sizes that need none the largest first."""
    stock = Stock(table)
    stepped = set()
    for step, count in sorted(
        zip(supply.steps, counts, strict=True),
        key=lambda s: (s[0].column < len(table.slots), -s[0].left),
    ):
        stepped.add((step.type_index, step.column))
        if count:
            stock.repeat(step, count)
    demand = demand_of(table, jobs, rows[rows >= 0]).reshape(table.used.shape)
    order = [*range(len(table.slots), table.columns)][::-1] + [*range(len(table.slots))][::-1]
    for t in range(table.types):
        for column in order:
            wanted = int(demand[t, column])
            if wanted and (t, column) not in stepped and stock.take(t, column, wanted) < wanted:
                raise AssertionError("counted slots that divide one another always fit")
    return stock
