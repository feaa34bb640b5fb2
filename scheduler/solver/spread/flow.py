"""Tokens per second that a placement carries, and how many stages it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.spread import Interval, SpreadInstance
from scheduler.core.workload import FloatArray

GRAIN = 1e-3
"""Tokens/s of one unit of the integer max-flow."""


class FlowMeter:
    """Max-flow of placements of one instance, by OR-Tools' push-relabel.

    Capacities are rounded down to `GRAIN`, so that the flow told is one that can be carried.
    """

    def __init__(self, instance: SpreadInstance) -> None:
        self.instance = instance
        width = max(map(len, instance.rates))
        self._rates = np.zeros((len(instance), width + 1))
        for i, rates in enumerate(instance.rates):
            self._rates[i, 1 : len(rates) + 1] = rates
        self.evaluations = 0

    def flow(self, intervals: Sequence[Interval]) -> float:
        """Return tokens/s from source to sink."""
        from ortools.graph.python import max_flow

        self.evaluations += 1
        instance = self.instance
        n = len(instance)
        spans = np.asarray(intervals, dtype=np.int64)
        start, end = spans[:, 0], spans[:, 1]
        rate = self._rates[np.arange(n), end - start]
        usable = joined(instance, start, end)
        tails, heads = np.nonzero(usable)
        first = np.nonzero((start == 0) & (end > 0) & (instance.source > 0))[0]
        last = np.nonzero((end == instance.layers) & (instance.sink > 0))[0]
        # machine i is an arc from node 2i to node 2i + 1; source and sink come after them
        used = np.nonzero(end > start)[0]
        tail = np.concatenate([2 * used, 2 * tails + 1, np.full(len(first), 2 * n), 2 * last + 1])
        head = np.concatenate([2 * used + 1, 2 * heads, 2 * first, np.full(len(last), 2 * n + 1)])
        most = [rate[used], instance.links[tails, heads], instance.source[first]]
        capacity = np.concatenate([*most, instance.sink[last]])
        if not len(first) or not len(last):
            return 0.0
        solver = max_flow.SimpleMaxFlow()
        units = np.floor(np.minimum(capacity, 1e12) / GRAIN + 1e-6).astype(np.int64)
        solver.add_arcs_with_capacity(tail, head, units)
        if solver.solve(2 * n, 2 * n + 1) != solver.OPTIMAL:
            return 0.0
        return float(solver.optimal_flow() * GRAIN)

    def depth(self, intervals: Sequence[Interval]) -> int:
        """Return the fewest machines on a path from source to sink (0: there is none)."""
        instance = self.instance
        spans = np.asarray(intervals, dtype=np.int64)
        start, end = spans[:, 0], spans[:, 1]
        usable = joined(instance, start, end)
        reached = (start == 0) & (end > 0) & (instance.source > 0)
        last = (end == instance.layers) & (instance.sink > 0)
        seen = reached.copy()
        for hops in range(1, len(instance) + 1):
            if (reached & last).any():
                return hops
            reached = usable[reached].any(axis=0) & ~seen
            seen |= reached
        return 0


def joined(instance: SpreadInstance, start: np.ndarray, end: np.ndarray) -> FloatArray:
    """Return which links a placement can use, shape (n, n): ``start_b <= end_a < end_b``."""
    at = end[:, None]
    return np.asarray(
        (start[None, :] <= at) & (at < end[None, :]) & (at > start[:, None]) & (instance.links > 0)
    )
