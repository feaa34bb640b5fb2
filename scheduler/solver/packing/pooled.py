"""The relaxation in which equal nodes are one: their CPU and memory pooled, shares kept whole.

Pods of a class on a shape are counted, and so are accelerators filled in a certain way. Fills
are priced in by a knapsack, so few of them are ever written down. The prices prove a bound;
the counts tell how to begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.bound import Prices
from scheduler.solver.packing.fills import ShareKnapsack
from scheduler.solver.packing.table import PackingTable

MISSING: Final = 2.0
"""Accelerators that a pod is worth beyond what it takes, where it must be placed."""

_MOST_ROUNDS: Final = 200
_TINY: Final = 1e-7
_CORE: Final = 1000.0  # milli-cores, to keep the matrix well scaled
_GIB: Final = float(2**30)


@dataclass(frozen=True, slots=True)
class Pooled:
    """An optimum of the pooled relaxation.

    Parameters
    ----------
    prices : Prices
        Its duals.
    taken : ndarray of float64, shape (shapes, classes)
        Pods of each class on nodes of each shape.
    missing : float
        Pods that must be placed and are not.
    """

    prices: Prices
    taken: FloatArray
    missing: float


def solve_pooled(table: PackingTable, least: IntArray, room: FloatArray | None = None) -> Pooled:
    """Solve the relaxation with GLOP, pricing fills in until none is missing.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    least : ndarray of int64, shape (classes,)
        Pods of each class that must be placed.
    room : ndarray of float64, shape (shapes,), or None
        Share of CPU and memory that may be used; None: all.
    """
    model = _Model(table, least, np.ones(len(table.nodes)) if room is None else room)
    for _ in range(_MOST_ROUNDS):
        model.solve()
        if not model.add_fills():
            break
    return model.answer()


class _Model:
    """Rows and columns. Demand is in accelerators, CPU in cores, memory in GiB."""

    def __init__(self, table: PackingTable, least: IntArray, room: FloatArray) -> None:
        from ortools.linear_solver import pywraplp

        self.table = table
        self.optimal = pywraplp.Solver.OPTIMAL
        self.solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.objective = self.solver.Objective()
        self.objective.SetMaximization()
        infinity = self.solver.infinity()
        row = self.solver.Constraint
        self.pods = [row(int(low), int(high)) for low, high in zip(least, table.count, strict=True)]
        shapes = range(len(table.nodes))
        whole = (table.nodes * table.shape_accelerators).tolist()
        self.accelerators = [row(0, float(n)) for n in whole]
        cores = table.nodes * table.shape_cpu_milli / _CORE * room
        gibs = table.nodes * table.shape_memory_bytes / _GIB * room
        self.cpu = [row(0, float(c)) for c in cores]
        self.memory = [row(0, float(m)) for m in gibs]
        self.sizes = np.unique(table.share_milli[table.shares])
        self.knapsack = ShareKnapsack(self.sizes)
        self.linked = [[row(-infinity, 0) for _ in self.sizes] for _ in shapes]
        self.fills: set[tuple[int, tuple[int, ...]]] = set()
        self.counts = self._add_counts()
        self.short = []
        for c in np.flatnonzero(least).tolist():
            variable = self._column(-MISSING)
            self.pods[c].SetCoefficient(variable, 1)
            self.short.append(variable)
        for s in shapes:
            if whole[s]:
                for z, size in enumerate(self.sizes.tolist()):
                    self._add_fill(s, (z,) * (WHOLE_MILLI // size))

    def _column(self, value: float) -> Any:
        variable = self.solver.NumVar(0, self.solver.infinity(), "")
        self.objective.SetCoefficient(variable, value)
        return variable

    def _add_counts(self) -> dict[tuple[int, int], Any]:
        """Add one column for each class of pods on each shape."""
        table, counts = self.table, {}
        demand = table.demand_milli / WHOLE_MILLI
        size_of = np.searchsorted(self.sizes, table.share_milli)
        for s, c in np.argwhere(table.fits).tolist():
            variable = counts[s, c] = self._column(float(demand[c]))
            self.pods[c].SetCoefficient(variable, 1)
            self.cpu[s].SetCoefficient(variable, float(table.cpu_milli[c] / _CORE))
            self.memory[s].SetCoefficient(variable, float(table.memory_bytes[c] / _GIB))
            if table.shares[c]:
                self.linked[s][int(size_of[c])].SetCoefficient(variable, 1)
            elif table.accelerators[c]:
                self.accelerators[s].SetCoefficient(variable, float(table.accelerators[c]))
        return counts

    def _add_fill(self, shape: int, sizes: tuple[int, ...]) -> bool:
        if (shape, sizes) in self.fills:
            return False
        self.fills.add((shape, sizes))
        variable = self._column(0.0)
        self.accelerators[shape].SetCoefficient(variable, 1)
        for z in dict.fromkeys(sizes):
            self.linked[shape][z].SetCoefficient(variable, -float(sizes.count(z)))
        return True

    def solve(self) -> None:
        """Solve what there is."""
        if self.solver.Solve() != self.optimal:
            raise RuntimeError("GLOP found no optimum of the pooled packing relaxation")
        self.pays = np.array([row.dual_value() for row in self.accelerators])

    def add_fills(self) -> int:
        """Add the best fill of each shape where it pays, and return how many were added."""
        if not len(self.sizes):
            return 0
        worth = np.array([[row.dual_value() for row in rows] for rows in self.linked])
        best, last = self.knapsack.best(worth)
        found = [
            (s, self.knapsack.sizes_of(last[:, s], self.knapsack.cells))
            for s in np.flatnonzero(best[-1] > self.pays + _TINY).tolist()
            if self.table.shape_accelerators[s]
        ]
        return sum(self._add_fill(s, sizes) for s, sizes in found)

    def answer(self) -> Pooled:
        """Return duals and counts of the last solution."""
        taken = np.zeros(self.table.fits.shape)
        for (s, c), variable in self.counts.items():
            taken[s, c] = max(variable.solution_value(), 0.0)
        prices = Prices(
            WHOLE_MILLI * np.array([row.dual_value() for row in self.pods]),
            WHOLE_MILLI * np.array([max(row.dual_value(), 0.0) for row in self.cpu]) / _CORE,
            WHOLE_MILLI * np.array([max(row.dual_value(), 0.0) for row in self.memory]) / _GIB,
        )
        return Pooled(prices, taken, sum(v.solution_value() for v in self.short))
