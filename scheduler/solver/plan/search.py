"""Column generation: which prices over time prove most.

Columns are whole schedules of a job: how long in which mode in which bucket, and so when it
completes. Rows are the resources in each bucket, and each job once. Prices are taken between the
best known and the LP's (Wentges 1997), which are wild at first, and the LP's are kept within a
box around the best.

References
----------
P. Wentges, "Weighted Dantzig-Wolfe decomposition for linear mixed-integer programming",
International Transactions in Operational Research 4(2), 1997.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.workload import FloatArray
from scheduler.solver.plan.groups import Buckets, Groups
from scheduler.solver.plan.resources import ClassTable
from scheduler.solver.plan.schedules import (
    Cheapest,
    Served,
    cheapest_schedules,
    cheapest_service,
)
from scheduler.solver.plan.starting import first_prices

CARRIED_REACH: Final = 0.2
CARRIED_SCALES: Final = (1.0, 0.9, 1.1)
"""Room around the prices of a coarser plan, and multiples of them for the first columns."""

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

FROM_LAST_BASIS: Final = "use_preprocessing: false use_scaling: false"
FROM_SCRATCH: Final = "use_preprocessing: true use_scaling: true"
"""GLOP's parameters: columns only come in, so that each LP starts from the last one's basis."""


class Search:
    """The master LP, the best prices so far, and what they prove.

    Parameters
    ----------
    groups, tables, cut : Groups, sequence of ClassTable, Buckets
        What to plan.
    served : sequence of Served
        Requests that are to be served.
    at_most : ndarray of float64 or None, shape (groups,)
        What it costs to leave a job out; None: none may be.

    Attributes
    ----------
    best, best_value
        Prices that prove most so far, and what, in floating point; infinite where some job
        cannot complete by its limit.
    lp_value, latest_value : float
        Of the LP, once the rounds have converged, and in the latest of them.
    """

    def __init__(
        self,
        groups: Groups,
        tables: Sequence[ClassTable],
        cut: Buckets,
        served: Sequence[Served] = (),
        at_most: FloatArray | None = None,
    ) -> None:
        from ortools.linear_solver import pywraplp

        self.groups, self.tables, self.cut, self.served = groups, tables, cut, served
        self.at_most = at_most
        self.best = np.zeros_like(cut.supply)
        self.best_value = -np.inf
        self.lp_value = self.latest_value = np.inf
        self.reach = np.full_like(cut.supply, BOX)
        late_s = np.maximum(groups.ready_s - groups.due_s, 0.0)
        self.ready_value = float((groups.count * groups.weight * late_s).sum())
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
        """Return what each job costs alone after the last bucket, or left out."""
        if self.at_most is not None:
            return self.at_most
        groups = self.groups
        quickest = np.array([t.rates.max(initial=1e-30) for t in self.tables])
        begin = np.maximum(self.cut.edges_s[-1], groups.ready_s)
        late_s = begin + groups.work / quickest[groups.kind] - groups.due_s
        return np.asarray(groups.weight * np.maximum(late_s, 0.0))

    def _column(self, g: int, cost: float, usage: FloatArray) -> None:
        variable = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.solver.Objective().SetCoefficient(variable, cost / self.unit)
        self.once[g].SetCoefficient(variable, 1.0)
        share = (usage / self.width).ravel()
        for r in np.flatnonzero(np.abs(share) > 1e-9).tolist():
            self.rows[r].SetCoefficient(variable, float(share[r]))

    def price(self, prices: FloatArray) -> tuple[FloatArray, Cheapest]:
        """Return prices and the schedules that show what they prove; keep the best prices."""
        found = cheapest_schedules(self.groups, self.tables, self.cut, prices, self.at_most)
        worth = float((self.groups.count * found.cost).sum() - (prices * self.cut.supply).sum())
        for s, service in enumerate(self.served, start=len(self.groups)):
            cost, usage = cheapest_service(service, prices)
            worth += cost
            self._column(s, 0.0, usage)
        if worth > self.best_value:
            self.best, self.best_value = prices, worth
        return prices, found

    def add(self, prices: FloatArray, found: Cheapest) -> None:
        """Add the schedules as columns."""
        held = np.einsum("gtb,tb->g", found.usage, prices)
        for g, cost in enumerate((found.cost - held).tolist()):
            if np.isfinite(cost):
                self._column(g, cost, found.usage[g])

    def _set_floor(self, shapes: list[FloatArray] | None = None) -> list[FloatArray]:
        shapes = shapes or first_prices(self.groups, self.tables, self.cut)
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
        while np.isfinite(self.best_value) and self.step() and done < rounds:
            done += 1
        return done

    def begin(self, start: FloatArray | None, shapes: list[FloatArray] | None = None) -> None:
        """Price at first prices or the last plan's, at a multiple of them, and at nothing."""
        shapes = self._set_floor(shapes)
        for shape in shapes if start is None else [start]:
            for scale in FIRST_SCALES:
                self.add(*self.price(scale * shape))
        self.add(*self.price(np.zeros_like(self.best)))

    def step(self) -> bool:
        """Solve the LP with prices in a box around the best, and price there; whether to go on."""
        self._set_box()
        if self.solver.Solve() != self.optimal and not self._solved_from_scratch():
            return False
        value = self.latest_value = self.solver.Objective().Value() * self.unit
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
