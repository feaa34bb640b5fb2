"""What the plan sees of a problem: modes by who uses them, and what there is of what they use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import FloatArray, IntArray, Service
from scheduler.solver.plan.rows import (
    Holder,
    Rows,
    holders,
    room_of,
    rows_of,
    service_holder,
    used,
)

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Modes of a kind of job or of a service without those that another beats.

    Parameters
    ----------
    counts : ndarray of float64, shape (modes, resources)
        Accelerators of each type, then units of each row.
    rates : ndarray of float64, shape (modes,)
        Work per second, ascending.
    """

    counts: FloatArray
    rates: FloatArray


@dataclass(frozen=True, slots=True)
class Fleet:
    """Resources of a problem, and what each kind of job uses of them.

    Parameters
    ----------
    problem : Problem
        Whose.
    rows : Rows
        Resources after the accelerator types.
    tables : tuple of ClassTable
        By kind: a class, and who its jobs are to the rows.
    kind_of : ndarray of int64, shape (jobs,)
        By job of the workload.
    services : tuple of ClassTable
        By service.
    """

    problem: Problem
    rows: Rows
    tables: tuple[ClassTable, ...]
    kind_of: IntArray
    services: tuple[ClassTable, ...]

    def room(self) -> FloatArray:
        """Return what there is of each resource while all of it is up, shape (resources,)."""
        return np.concatenate([self.problem.capacity(), room_of(self.problem, self.rows)])

    def supply(self, edges_s: FloatArray, emptied_s: float = math.inf) -> FloatArray:
        """Return what there is of each resource in each bucket, shape (resources, buckets).

        Accelerator-seconds of types less those of nodes that are down; joules of feeds;
        accelerator-seconds of quotas, those of types less reserved ones, and labelled ones.

        Parameters
        ----------
        edges_s : ndarray of float64, shape (buckets + 1,)
            Ascending.
        emptied_s : float
            By then after a drain has begun its node is empty: no hold is longer.
        """
        problem = self.problem
        width = np.diff(edges_s)
        down = _closed(problem, emptied_s)
        up = _left(problem, edges_s, down)
        fixed = np.outer([*(r.room_w for r in self.rows.power)], width).reshape(-1, len(width))
        quota = np.outer([*(r.most for r in self.rows.quota)], width).reshape(-1, len(width))
        reserved = [
            (node, (r.start_s, r.end_s)) for r in problem.cluster.reservations for node in r.nodes
        ]
        outside = _left(problem, edges_s, [*down, *reserved]) if self.rows.kept_out else up
        inside = [
            _left(problem, edges_s, down, row.nodes)[row.type_index] for row in self.rows.labelled
        ]
        return np.vstack([up, fixed, quota, outside[list(self.rows.kept_out)], *inside])


def fleet_of(problem: Problem) -> Fleet:
    """Return the problem as the plan sees it."""
    rows = rows_of(problem)
    classes = problem.workload.jobs.class_index.tolist()
    keys: dict[tuple[int, Holder], int] = {(c, Holder()): c for c in range(len(problem.modes))}
    kind_of = [
        keys.setdefault((c, holder), len(keys))
        for c, holder in zip(classes, holders(problem, rows), strict=True)
    ]
    tables = tuple(_table(problem, problem.modes[c], rows, holder) for c, holder in keys)
    services = tuple(
        _table(problem, modes, rows, service_holder(problem, rows, s))
        for s, modes in enumerate(problem.service_modes)
    )
    return Fleet(problem, rows, tables, np.array(kind_of, dtype=np.int64), services)


def _table(problem: Problem, modes: Sequence[Mode], rows: Rows, holder: Holder) -> ClassTable:
    fastest: dict[tuple[float, ...], float] = {}
    for mode in modes:
        key = used(problem, rows, mode, holder)
        fastest[key] = max(fastest.get(key, 0.0), mode.rate)
    found = sorted(fastest.items(), key=lambda row: (row[1], row[0]))
    found = [(c, r) for c, r in found if not any(_beats(d, s, c, r) for d, s in found)]
    counts = np.array([c for c, _ in found], dtype=np.float64)
    resources = len(problem.types) + len(rows)
    return ClassTable(counts.reshape(len(found), resources), np.array([r for _, r in found]))


def _beats(usage: Sequence[float], rate: float, other: Sequence[float], other_rate: float) -> bool:
    """Return whether a mode is as fast as another on no more of anything."""
    fewer = all(a <= b for a, b in zip(usage, other, strict=True))
    return fewer and rate >= other_rate and (rate > other_rate or tuple(usage) != tuple(other))


# --- supply ------------------------------------------------------------------------------------


def _closed(problem: Problem, emptied_s: float) -> list[tuple[str, Span]]:
    """Return when nodes hold nothing of the jobs: down, or drained for longer than any hold."""
    found = []
    for outage in problem.cluster.outages:
        start_s = outage.start_s + (emptied_s if outage.kind == "drain" else 0.0)
        if start_s < outage.end_s:
            found.append((outage.node, (start_s, outage.end_s)))
    return found


def _left(
    problem: Problem,
    edges_s: FloatArray,
    closed: Iterable[tuple[str, Span]],
    among: frozenset[int] | None = None,
) -> FloatArray:
    """Return accelerator-seconds by type and bucket: capacity less nodes while they are closed.

    `among` says which nodes; None: all.
    """
    counts = np.zeros(len(problem.types))
    for pool in problem.pools:
        here = len(pool.nodes) if among is None else len(among.intersection(pool.nodes))
        counts[pool.type_index] += pool.size * here
    left = np.outer(counts, np.diff(edges_s))
    nodes = {node.id: i for i, node in enumerate(problem.cluster.nodes)}
    pool_of = {n: pool for pool in problem.pools for n in pool.nodes}
    spans_of: dict[int, list[Span]] = {}
    for node, span in closed:
        if nodes[node] in pool_of and (among is None or nodes[node] in among):
            spans_of.setdefault(nodes[node], []).append(span)
    for node_index, spans in sorted(spans_of.items()):
        pool = pool_of[node_index]
        for start_s, end_s in _joined(spans):
            overlap = np.minimum(edges_s[1:], end_s) - np.maximum(edges_s[:-1], start_s)
            left[pool.type_index] -= pool.size * np.clip(overlap, 0, None)
    return np.maximum(left, 0.0)


def _joined(spans: list[Span]) -> list[Span]:
    """Return the union of spans as disjoint ones."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


# --- services ----------------------------------------------------------------------------------


def requests(
    problem: Problem, service: Service, edges_s: FloatArray, end_s: float = math.inf
) -> FloatArray:
    """Return the requests that arrive at a service in each bucket, while it is surely on.

    Parameters
    ----------
    problem, service : Problem, Service
        Which.
    edges_s : ndarray of float64, shape (buckets + 1,)
        Ascending.
    end_s : float
        None that arrive later are counted.
    """
    release_s = problem.workload.jobs.release_s
    until_s = float(release_s.max(initial=0.0)) if service.end_s is None else service.end_s
    until_s = min(until_s, end_s)
    on = service.times_s < until_s
    if not on.any():
        return np.zeros(len(edges_s) - 1)
    at = np.append(service.times_s[on], until_s)
    total = np.concatenate([[0.0], np.cumsum(service.demand_per_s[on] * np.diff(at))])
    return np.asarray(np.diff(np.interp(edges_s, at, total)))
