"""A packing of all that arrived, with a proved bound: relaxation, patterns, rounding, rest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import Packing, PackingProblem
from scheduler.core.random import stream
from scheduler.core.workload import IntArray
from scheduler.solver.packing.bound import proved_bound, quick_bound
from scheduler.solver.packing.cluster import Cluster
from scheduler.solver.packing.columns import ColumnGeneration, Filling
from scheduler.solver.packing.pooled import solve_pooled
from scheduler.solver.packing.table import PackingTable, tabulate

POLICY: Final = "patterns"


@dataclass(frozen=True, slots=True)
class PackingAnswer:
    """A packing and what is known about the best one.

    Parameters
    ----------
    packing : Packing
        Legal; every arrival answered.
    placed_milli : int
        Accelerators it allocates, in thousandths.
    bound_milli : int
        No packing that places all of `kept` allocates more; where `kept` could not all be
        placed, no packing at all.
    free_bound_milli : int
        No packing at all allocates more.
    quick_bound_milli : int
        The same from sums per type and CPU alone.
    lp_milli : float
        Value of the master over patterns: beyond it, better patterns would be needed.
    kept : int
        Pods that were to be placed in any case.
    dropped : int
        Those of them that are not.
    columns : int
        Patterns made.
    stopped : bool
        Whether the time limit ended the search, so that another run may differ.
    """

    packing: Packing
    placed_milli: int
    bound_milli: int
    free_bound_milli: int
    quick_bound_milli: int
    lp_milli: float
    kept: int
    dropped: int
    columns: int
    stopped: bool

    @property
    def gap(self) -> float:
        """Share of the bound that is not reached."""
        return 1 - self.placed_milli / self.bound_milli if self.bound_milli else 0.0


def pack_by_patterns(
    problem: PackingProblem,
    arrivals: IntArray,
    *,
    keep: NDArray[np.bool_] | None = None,
    seed: int = 0,
    time_limit_s: float | None = None,
) -> PackingAnswer:
    """Return a packing of pods that are all known, which allocates as much as it can find.

    Parameters
    ----------
    problem : PackingProblem
        Nodes and pods.
    arrivals : ndarray of int64, shape (arrivals,)
        Positions in `problem.pods`.
    keep : ndarray of bool, shape (arrivals,), or None
        Arrivals of which as many per class are to be placed in any case; None: those that ask
        for no accelerator, so that these do not pay for what the others gain.
    seed : int
        Of the orders in which nodes are filled.
    time_limit_s : float or None
        None: as long as it takes; the answer then depends on the other arguments alone.

    References
    ----------
    P. C. Gilmore, R. E. Gomory, "A linear programming approach to the cutting-stock problem",
    Operations Research 9, 1961, for patterns priced by knapsacks.
    """
    late = _Clock(time_limit_s)
    table = tabulate(problem, arrivals)
    quick = quick_bound(table, *_types(problem, arrivals))
    cluster = Cluster(table)
    if not len(arrivals):
        return PackingAnswer(cluster.packing(arrivals, POLICY), 0, 0, 0, quick, 0.0, 0, 0, 0, False)
    least = table.without_accelerators()
    if keep is not None:
        least = np.bincount(table.class_of[keep], minlength=len(table.count)).astype(np.int64)
    pooled = solve_pooled(table, least)
    bound = int(proved_bound(table, pooled.prices, least))
    nobody = np.zeros_like(least)
    free = min(quick, int(proved_bound(table, pooled.prices, nobody)))
    if bound < free:
        free = min(free, int(proved_bound(table, solve_pooled(table, nobody).prices, nobody)))
    rng = stream(seed, "packing-patterns")
    search = ColumnGeneration(table, least, pooled, float(bound), rng, late)
    _lay_out(cluster, search.fillings())
    cluster.put_where_it_fits(cluster.refused().tolist())
    if keep is None:
        cluster.put_instead(cluster.refused().tolist())
        cluster.put_where_it_fits(cluster.refused().tolist())
    placed = np.bincount(table.class_of[cluster.node >= 0], minlength=len(least))
    dropped = int(np.maximum(least - placed, 0).sum())
    return PackingAnswer(
        packing=cluster.packing(arrivals, POLICY),
        placed_milli=int(placed @ table.demand_milli),
        bound_milli=free if dropped else min(bound, free),
        free_bound_milli=free,
        quick_bound_milli=quick,
        lp_milli=search.value_milli,
        kept=int(least.sum()),
        dropped=dropped,
        columns=search.patterns_made,
        stopped=late.was_late,
    )


def bound_of_keeping(problem: PackingProblem, arrivals: IntArray, keep: NDArray[np.bool_]) -> int:
    """Return thousandths that no packing exceeds which places all pods of `keep`.

    Parameters
    ----------
    problem, arrivals
        As for `pack_by_patterns`.
    keep : ndarray of bool, shape (arrivals,)
        Arrivals that stay, such as those running now.
    """
    table = tabulate(problem, arrivals)
    least = np.bincount(table.class_of[keep], minlength=len(table.count)).astype(np.int64)
    return int(proved_bound(table, solve_pooled(table, least).prices, least))


class _Clock:
    """Tells whether a share of the time has passed, and remembers having said so."""

    def __init__(self, limit_s: float | None) -> None:
        self._start, self._limit_s = time.monotonic(), limit_s
        self.was_late = False

    def __call__(self, share: float) -> bool:
        if self._limit_s is not None:
            late = time.monotonic() > self._start + share * self._limit_s
            self.was_late = self.was_late or late
            return late
        return False


def _types(problem: PackingProblem, arrivals: IntArray) -> tuple[Any, Any]:
    """Return allowed types by class, and the type by shape, in the order of the table."""
    all_classes, first = problem.pods.classes()
    present = np.unique(all_classes[arrivals])
    _, one = problem.nodes.shapes()
    return problem.pods.allowed[first[present]], problem.nodes.type_index[one]


def _lay_out(cluster: Cluster, fillings: list[Filling]) -> None:
    """Put pods on nodes as the patterns say: the first of each class, nodes in their order."""
    table: PackingTable = cluster.table
    order = np.argsort(table.class_of, kind="stable")
    starts = np.cumsum(table.count) - table.count
    queues = [iter(order[a : a + n].tolist()) for a, n in zip(starts, table.count, strict=True)]
    nodes = [iter(np.flatnonzero(table.shape_of == s).tolist()) for s in range(len(table.nodes))]
    for filling in fillings:
        for _ in range(filling.nodes):
            node = next(nodes[filling.shape])
            slot = 0
            for group in filling.pattern:
                wide = int(table.accelerators[group[0]])
                held = ((1 << wide) - 1) << slot
                for c in group:
                    cluster.put(next(queues[c]), node, held)
                slot += wide
