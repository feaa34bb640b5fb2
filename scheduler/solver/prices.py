"""Prices per accelerator type: a bound on any round, and a guide to good ones.

For prices p >= 0 per accelerator of each type,
``bound(p) = sum_j max(0, max_o(u_jo - p . use_jo)) + p . capacity`` is at least the utility of
every round (Lagrangian duality), whatever the prices are, so a cheap search suffices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.round_types import Candidate

_STEPS = (0.0, 0.5, 0.8, 0.95, 1.05, 1.25, 2.0)
_SWEEPS = 3


class Prices:
    """Prices that carry over from one round to the next.

    Attributes
    ----------
    value : ndarray of float64, shape (types,)
        Utility per accelerator.
    """

    def __init__(self, types: int) -> None:
        self.value = np.zeros(types)

    def search(
        self, layout: Layout, occupancy: Occupancy, candidates: Sequence[Candidate]
    ) -> float:
        """Lower the bound by coordinate steps from the last prices; return it.

        Parameters
        ----------
        layout, occupancy, candidates
            As for `solve_round`.
        """
        utility, use, first, capacity = _table(layout, occupancy, candidates)
        if not len(utility):
            return 0.0
        density = utility / use.sum(axis=1)

        def bound(prices: FloatArray) -> float:
            surplus = np.maximum.reduceat(utility - use @ prices, first)
            return float(np.maximum(surplus, 0.0).sum() + prices @ capacity)

        best = bound(self.value)
        for _ in range(_SWEEPS):
            before = best
            for t in range(len(capacity)):
                start = self.value[t] or float(np.median(density))
                for step in _STEPS:
                    trial = self.value.copy()
                    trial[t] = start * step
                    found = bound(trial)
                    if found < best:
                        best, self.value = found, trial
            if before - best <= 1e-4 * abs(best):
                break
        return best


def _table(
    layout: Layout, occupancy: Occupancy, candidates: Sequence[Candidate]
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    """Return utilities, use per type, first row of each candidate, and capacity per type."""
    capacity = np.array(occupancy.type_free, dtype=np.float64)
    utility: list[float] = []
    use: list[list[float]] = []
    first: list[int] = []
    types = len(capacity)
    for candidate in candidates:
        if not candidate.options and candidate.held is None:
            continue
        first.append(len(utility))
        for option in candidate.options:
            row = [0.0] * types
            for group in option.shape.groups:
                row[group.type_index] += group.count
            utility.append(option.utility)
            use.append(row)
        if candidate.held is not None:
            row = [0.0] * types
            placement = candidate.held.placement
            for node, count in zip(placement.nodes, placement.counts, strict=True):
                row[layout.pool_type[layout.node_pool[node]]] += count
            capacity += row
            utility.append(candidate.held.utility)
            use.append(row)
    return (
        np.array(utility),
        np.array(use).reshape(len(use), types),
        np.array(first, dtype=np.int64),
        capacity,
    )
