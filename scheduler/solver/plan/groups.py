"""Time buckets, what the fleet has in each, and jobs that the plan need not tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.resources import PowerRow


@dataclass(frozen=True, slots=True)
class Buckets:
    """Time cut into pieces, and the fleet's supply in each.

    Parameters
    ----------
    edges_s : ndarray of float64, shape (buckets + 1,)
        Ascending; after the last comes time without end, in which nothing is priced.
    supply : ndarray of float64, shape (resources, buckets)
        Accelerator-seconds of each type, less declared outages; then joules of power rows.
    """

    edges_s: FloatArray
    supply: FloatArray

    def __len__(self) -> int:
        return len(self.edges_s) - 1


@dataclass(frozen=True, slots=True)
class Groups:
    """Jobs alike in class, release, work and weight, as one row with a count.

    Parameters
    ----------
    class_index : ndarray of int64
        Class.
    ready_s : ndarray of float64
        Release and restart time: no work is done before.
    work, weight : ndarray of float64
        Work of each job, and what a second of its completion counts.
    count : ndarray of int64
        Jobs.
    """

    class_index: IntArray
    ready_s: FloatArray
    work: FloatArray
    weight: FloatArray
    count: IntArray

    def __len__(self) -> int:
        return len(self.count)

    def take(self, index: IntArray) -> Groups:
        """Return the groups at `index`."""
        return Groups(
            self.class_index[index],
            self.ready_s[index],
            self.work[index],
            self.weight[index],
            self.count[index],
        )


def group_jobs(problem: Problem, index: IntArray, work: FloatArray, weight: FloatArray) -> Groups:
    """Return the jobs at `index` as groups, in order of class, release, work and weight."""
    columns = problem.workload.jobs
    release_s = np.array([us_from_s(t) for t in columns.release_s[index].tolist()]) / US_PER_S
    restart_s = np.array([kind.restart_s for kind in problem.workload.classes])
    classes = columns.class_index[index]
    rows = np.stack(
        [classes.astype(np.float64), release_s + restart_s[classes], work[index], weight[index]],
        axis=1,
    )
    alike, count = np.unique(rows, axis=0, return_counts=True)
    return Groups(
        alike[:, 0].astype(np.int64), alike[:, 1], alike[:, 2], alike[:, 3], count.astype(np.int64)
    )


def coarser(groups: Groups, most: int) -> Groups:
    """Return at most about `most` groups, by rounding release and work down to common values.

    Jobs that are ready earlier and have less to do complete no later, so that what bounds the
    coarser groups bounds these. Work is rounded on a geometric grid that widens until it does.
    """
    ratio = FINEST
    found = groups
    while len(found) > most and ratio <= COARSEST:
        steps = max(2, round(64 * FINEST / ratio))
        grid = np.quantile(groups.ready_s, np.linspace(0.0, 1.0, steps), method="lower")
        ready_s = grid[np.searchsorted(grid, groups.ready_s, side="right") - 1]
        work = ratio ** np.floor(np.log(groups.work) / np.log(ratio))
        work = np.minimum(work, groups.work)  # the power may have been rounded up
        rows = np.stack([groups.class_index.astype(np.float64), ready_s, work, groups.weight], 1)
        alike, where = np.unique(rows, axis=0, return_inverse=True)
        count = np.bincount(where, groups.count, len(alike)).astype(np.int64)
        found = Groups(alike[:, 0].astype(np.int64), alike[:, 1], alike[:, 2], alike[:, 3], count)
        ratio = 1.0 + (ratio - 1.0) * 2.0
    return found


FINEST: Final = 1.02
COARSEST: Final = 4.0


def cut_time(
    problem: Problem,
    groups: Groups,
    last_s: float,
    buckets: int,
    power: Sequence[PowerRow] = (),
) -> Buckets:
    """Return buckets that widen geometrically from the first release, cut also at releases.

    Parameters
    ----------
    problem, groups : Problem, Groups
        The fleet, and jobs; where they become ready at many instants, half the cuts are at
        quantiles of these.
    last_s : float
        About when the last job ends.
    buckets : int
        How many, at most.
    power : sequence of PowerRow
        Resources after the types.
    """
    first_s = float(groups.ready_s.min())
    instants = np.unique(groups.ready_s)
    by_release = min(len(instants), buckets // 2)
    span_s = max(last_s - first_s, 1.0)
    steps = np.arange(buckets - by_release + 1) / (buckets - by_release)
    widening = first_s + span_s * (np.exp(WIDENING * steps) - 1.0) / (np.exp(WIDENING) - 1.0)
    cuts = np.quantile(instants, np.linspace(0.0, 1.0, by_release), method="nearest")
    edges = np.unique(np.concatenate([widening, cuts[cuts < widening[-1]]]))
    return Buckets(edges, supply(problem, edges, power))


WIDENING: Final = 2.0
"""Logarithm of the last bucket's width over the first's."""


def supply(problem: Problem, edges_s: FloatArray, power: Sequence[PowerRow]) -> FloatArray:
    """Return accelerator-seconds of each type, then joules of each power row, by bucket."""
    watts = np.array([row.room_w for row in power])
    return np.vstack([supply_of(problem, edges_s), np.outer(watts, np.diff(edges_s))])


def supply_of(problem: Problem, edges: FloatArray) -> FloatArray:
    """Return accelerator-seconds by type and bucket: capacity less nodes switched off."""
    supply = np.outer(np.array(problem.capacity(), dtype=np.float64), np.diff(edges))
    nodes = {node.id: i for i, node in enumerate(problem.cluster.nodes)}
    pool_of = {n: pool for pool in problem.pools for n in pool.nodes}
    down: dict[int, list[tuple[float, float]]] = {}
    for outage in problem.cluster.outages:
        if outage.kind == "down" and nodes[outage.node] in pool_of:
            down.setdefault(nodes[outage.node], []).append((outage.start_s, outage.end_s))
    for node, spans in sorted(down.items()):
        pool = pool_of[node]
        for start_s, end_s in _joined(spans):
            lost = np.clip(np.minimum(edges[1:], end_s) - np.maximum(edges[:-1], start_s), 0, None)
            supply[pool.type_index] -= pool.size * lost
    return np.maximum(supply, 0.0)


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the union of spans as disjoint ones."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined
