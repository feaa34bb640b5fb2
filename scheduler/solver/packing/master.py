"""The master program over patterns: how many nodes of each shape are filled in which way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.node_fill import Pattern
from scheduler.solver.packing.pooled import MISSING
from scheduler.solver.packing.table import PackingTable


@dataclass(frozen=True, slots=True)
class MasterAnswer:
    """An optimum of the master over the patterns there are.

    Parameters
    ----------
    value : float
        Thousandths of accelerators, less `MISSING` accelerators for each pod that must be
        placed and is not.
    pod_prices : ndarray of float64, shape (classes,)
        Thousandths of an accelerator.
    node_prices : ndarray of float64, shape (shapes,)
        Thousandths of an accelerator.
    used : dict of (int, Pattern) to float
        Nodes of a shape that each pattern fills, where above 0.
    """

    value: float
    pod_prices: FloatArray
    node_prices: FloatArray
    used: dict[tuple[int, Pattern], float]


class Master:
    """GLOP, warm from one call to the next.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    least, most : ndarray of int64, shape (classes,)
        Pods that must, and that may, be placed.
    nodes : ndarray of int64, shape (shapes,)
        Nodes to fill.
    """

    def __init__(
        self, table: PackingTable, least: IntArray, most: IntArray, nodes: IntArray
    ) -> None:
        self.table = table
        self.demand = table.demand_milli
        self._least, self._most, self._node_count = least, most, nodes
        self._patterns: dict[tuple[int, Pattern], IntArray] = {}
        self._build()

    def _build(self) -> None:
        """Begin a solver afresh, with every pattern so far."""
        from ortools.linear_solver import pywraplp

        self._optimal = pywraplp.Solver.OPTIMAL
        self._solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self._objective = self._solver.Objective()
        self._objective.SetMaximization()
        row = self._solver.Constraint
        bounds = zip(self._least.tolist(), self._most.tolist(), strict=True)
        self._pods = [row(low, high) for low, high in bounds]
        self._nodes = [row(0, n) for n in self._node_count.tolist()]
        self._columns: dict[tuple[int, Pattern], Any] = {}
        for c in np.flatnonzero(self._least).tolist():
            self._pods[c].SetCoefficient(self._column(-MISSING), 1)
        for (shape, pattern), counts in self._patterns.items():
            self._add_column(shape, pattern, counts)

    def _column(self, value: float) -> Any:
        variable = self._solver.NumVar(0, self._solver.infinity(), "")
        self._objective.SetCoefficient(variable, value)
        return variable

    def __len__(self) -> int:
        return len(self._patterns)

    @property
    def patterns(self) -> dict[tuple[int, Pattern], IntArray]:
        """Shape and pattern, with its pods of each class."""
        return self._patterns

    def add(self, shape: int, pattern: Pattern) -> bool:
        """Add a pattern; False if it is there, or empty."""
        if not pattern or (shape, pattern) in self._patterns:
            return False
        counts = self._patterns[shape, pattern] = pattern_counts(pattern, len(self.demand))
        self._add_column(shape, pattern, counts)
        return True

    def _add_column(self, shape: int, pattern: Pattern, counts: IntArray) -> None:
        variable = self._column(float(counts @ self.demand) / WHOLE_MILLI)
        self._columns[shape, pattern] = variable
        self._nodes[shape].SetCoefficient(variable, 1)
        for c in np.flatnonzero(counts).tolist():
            self._pods[c].SetCoefficient(variable, int(counts[c]))

    def solve(self) -> MasterAnswer:
        """Return an optimum over the patterns added so far."""
        if self._solver.Solve() != self._optimal:
            self._build()  # a warm start may end in numbers that GLOP gives up on
            if self._solver.Solve() != self._optimal:
                raise RuntimeError("GLOP found no optimum of the pattern master")
        used = {
            key: variable.solution_value()
            for key, variable in self._columns.items()
            if variable.solution_value() > 1e-9
        }
        return MasterAnswer(
            WHOLE_MILLI * self._objective.Value(),
            WHOLE_MILLI * np.array([row.dual_value() for row in self._pods]),
            WHOLE_MILLI * np.array([row.dual_value() for row in self._nodes]),
            used,
        )


def pattern_counts(pattern: Pattern, classes: int) -> IntArray:
    """Return how many pods of each class a pattern places."""
    members = [c for group in pattern for c in group]
    return np.bincount(np.array(members, dtype=np.int64), minlength=classes).astype(np.int64)
