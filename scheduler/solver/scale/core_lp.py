"""The LP of the jobs that matter, at prices kept within a box.

Jobs outside the core keep their best option. The box keeps the duals where that stays true:
more of a size than there is may be had at the upper price, and sold at the lower one. An answer
that uses neither is a point of the whole LP.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.rows import JobTable, SizeTable
from scheduler.solver.scale.supply_rows import SupplyRows

_INFINITY = float("inf")
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Core:
    """What the LP decides on.

    Parameters
    ----------
    rows : ndarray of int64
        Rows of the `JobTable` that stay open, ascending.
    weight : float
        Jobs that each of its jobs stands for.
    fixed : ndarray of float64, shape (types times columns,)
        Demand of the jobs that keep their option.
    low, high : ndarray of float64, shape (types times columns,)
        Least and greatest price.
    """

    rows: IntArray
    weight: float
    fixed: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class CoreAnswer:
    """The answer of a core LP.

    Parameters
    ----------
    share : ndarray of float64
        How far each open row is taken, in jobs.
    prices : ndarray of float64, shape (types times columns,)
        Duals, clipped to the box.
    value : float
        Utility of the core's jobs, less the price of what is beyond the fleet.
    over : float
        That price: 0 if the fleet holds it all.
    at_edge : ndarray of bool, shape (types times columns,)
        Prices that the box held back.
    """

    share: FloatArray
    prices: FloatArray
    value: float
    over: float
    at_edge: NDArray[np.bool_]


def solve_core(
    table: SizeTable, jobs: JobTable, supply: SupplyRows, core: Core, share_of_fleet: float = 1.0
) -> CoreAnswer | None:
    """Solve with GLOP; None if it returns no answer (a badly scaled master may do that).

    Parameters
    ----------
    table, jobs, supply
        The round.
    core : Core
        What is open.
    share_of_fleet : float
        The fleet is scaled down to this share, for a sample of the jobs.
    """
    from ortools.linear_solver import linear_solver_pb2, pywraplp

    used = np.flatnonzero(table.used.ravel())
    unit = float(np.median(jobs.exact[core.rows])) if len(core.rows) else 1.0
    layout = _Layout(table, supply, used, len(core.rows))
    model = linear_solver_pb2.MPModelProto(maximize=True)
    variable = linear_solver_pb2.MPVariableProto
    worth = (jobs.exact[core.rows] / unit).tolist()
    steps = [0.0] * (len(used) + len(supply.steps))
    sold = (core.low[used] / unit).tolist()
    bought = (-core.high[used] / unit).tolist()
    model.variable.extend(
        [
            variable(lower_bound=0.0, upper_bound=_INFINITY, objective_coefficient=c)
            for c in [*worth, *steps, *sold, *bought]
        ]
    )
    _job_rows(model, linear_solver_pb2, jobs, core)
    _demand_rows(model, linear_solver_pb2, table, jobs, core, layout)
    row = linear_solver_pb2.MPConstraintProto
    for made in supply.rows:
        model.constraint.append(
            row(
                var_index=[layout.of(v) for v in made.variables],
                coefficient=made.coefficients,
                upper_bound=made.limit * share_of_fleet,
            )
        )
    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.LoadModelFromProto(model)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return None
    response = linear_solver_pb2.MPSolutionResponse()
    solver.FillSolutionResponseProto(response)
    found = np.array(response.variable_value)
    duals = np.array(response.dual_value)
    if len(found) != len(model.variable) or len(duals) != len(model.constraint):
        return None
    return _answer(jobs, core, layout, used, found, duals, unit)


class _Layout:
    """Where each variable stands: open rows, demands, steps, sold, bought."""

    def __init__(
        self, table: SizeTable, supply: SupplyRows, used: IntArray, open_rows: int
    ) -> None:
        self.demand_at = np.full(table.used.size, -1, dtype=np.int64)
        self.demand_at[used] = open_rows + np.arange(len(used))
        self.step_at = open_rows + len(used) - table.used.size
        self.demands = table.used.size
        self.sold = open_rows + len(used) + len(supply.steps)
        self.bought = self.sold + len(used)
        self.jobs = 0

    def of(self, variable: int) -> int:
        """Return the position of a variable of `SupplyRows`."""
        if variable < self.demands:
            return int(self.demand_at[variable])
        return self.step_at + variable


def _job_rows(model: Any, pb: Any, jobs: JobTable, core: Core) -> None:
    """Each job of the core at most once (or as many times as it stands for)."""
    owner = jobs.row_job[core.rows]
    starts = np.append(np.flatnonzero(np.diff(owner, prepend=-1)), len(owner)).tolist()
    for a, b in pairwise(starts):
        model.constraint.append(
            pb.MPConstraintProto(
                var_index=range(a, b), coefficient=[1.0] * (b - a), upper_bound=core.weight
            )
        )


def _demand_rows(
    model: Any, pb: Any, table: SizeTable, jobs: JobTable, core: Core, layout: _Layout
) -> None:
    """Demand of a size covers what the core takes of it and what is fixed."""
    key = jobs.key[core.rows]
    column = jobs.key_column[key]
    slots = jobs.key_slots[key]
    order = np.argsort(column, kind="stable")
    bounds = np.searchsorted(column[order], np.arange(table.used.size + 1))
    used = np.flatnonzero(table.used.ravel()).tolist()
    for i, c in enumerate(used):
        here = order[bounds[c] : bounds[c + 1]]
        model.constraint.append(
            pb.MPConstraintProto(
                var_index=[
                    *here.tolist(),
                    int(layout.demand_at[c]),
                    layout.sold + i,
                    layout.bought + i,
                ],
                coefficient=[*slots[here].tolist(), -1.0, 1.0, -1.0],
                upper_bound=-float(core.fixed[c]),
            )
        )


def _answer(
    jobs: JobTable,
    core: Core,
    layout: _Layout,
    used: IntArray,
    found: FloatArray,
    duals: FloatArray,
    unit: float,
) -> CoreAnswer:
    share = np.clip(found[: len(core.rows)], 0.0, core.weight)
    owners = len(np.unique(jobs.row_job[core.rows]))
    prices = np.zeros(len(core.low))
    prices[used] = duals[owners : owners + len(used)] * unit
    prices = np.clip(prices, core.low, core.high)
    bought = np.maximum(found[layout.bought : layout.bought + len(used)], 0.0)
    sold = found[layout.sold : layout.sold + len(used)]
    over = float(bought @ core.high[used])
    at_edge = np.zeros(len(core.low), dtype=bool)
    at_edge[used] = (bought > _TINY) | ((sold > _TINY) & (core.low[used] > 0.0))
    value = float(share @ jobs.exact[core.rows])
    return CoreAnswer(share, prices, value - over, over, at_edge)
