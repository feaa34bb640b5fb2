"""What a mode uses: accelerators by type, and watts where every site it may be on is capped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import FloatArray, Service

_ROUNDING = 1e-6
"""Share by which the verifier lets a cap be passed, and more."""


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Sites that share accelerator types, all of them capped.

    Parameters
    ----------
    types : tuple of int
        Types that are nowhere else.
    room_w : float
        Watts that gangs may add to what idle nodes draw.
    """

    types: tuple[int, ...]
    room_w: float


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Modes of a class or service without those that another beats.

    Parameters
    ----------
    counts : ndarray of float64, shape (modes, resources)
        Whole accelerators of each type, then whole watts in each power row.
    rates : ndarray of float64, shape (modes,)
        Work per second, ascending.
    """

    counts: FloatArray
    rates: FloatArray


def power_rows(problem: Problem) -> tuple[PowerRow, ...]:
    """Return a row per set of sites connected by types, where all of its sites are capped.

    A node that is down draws nothing and so makes room: nodes with a declared outage count as
    drawing nothing, and where nodes may fail at random there are no rows.
    """
    cluster = problem.cluster
    if all(site.power_cap_w is None for site in cluster.sites) or _may_fail(problem):
        return ()
    sites_of: dict[int, set[int]] = {}
    for pool in problem.pools:
        sites_of.setdefault(pool.type_index, set()).add(pool.site_index)
    root = list(range(len(cluster.sites)))

    def find(site: int) -> int:
        while root[site] != site:
            site = root[site]
        return site

    for sites in sites_of.values():
        first, *others = sorted(sites)
        for other in others:
            root[find(other)] = find(first)
    idle_w = _steady_idle_w(problem)
    rows = []
    for top in sorted({find(s) for sites in sites_of.values() for s in sites}):
        members = [s for s in range(len(cluster.sites)) if find(s) == top]
        caps = [cluster.sites[s].power_cap_w for s in members]
        room_w = 0.0
        for s, cap_w in zip(members, caps, strict=True):
            room_w += max(0.0, (cap_w or 0.0) * (1 + _ROUNDING) + 1.0 - idle_w[s])
        if all(cap is not None for cap in caps):
            types = sorted(t for t, sites in sites_of.items() if find(min(sites)) == top)
            rows.append(PowerRow(tuple(types), room_w))
    return tuple(rows)


def _may_fail(problem: Problem) -> bool:
    failures = problem.cluster.failures
    every = (failures.node_mtbf_s, failures.accelerator_mtbf_s, failures.switch_mtbf_s)
    return any(mtbf_s < math.inf for mtbf_s in every)


def _steady_idle_w(problem: Problem) -> list[float]:
    """Return what the nodes of each site draw idle, without those that are ever down."""
    cluster = problem.cluster
    down = {outage.node for outage in cluster.outages}
    idle_w = [0.0] * len(cluster.sites)
    for pool in problem.pools:
        for n in pool.nodes:
            node = cluster.nodes[n]
            if node.id not in down:
                kind = cluster.accelerators[node.accelerator]
                idle_w[pool.site_index] += node.overhead_w + node.count * kind.idle_w
    return idle_w


def class_tables(problem: Problem, rows: Sequence[PowerRow] = ()) -> list[ClassTable]:
    """Return the modes of every class."""
    return [_table(problem, modes, rows) for modes in problem.modes]


def service_tables(problem: Problem, rows: Sequence[PowerRow] = ()) -> list[ClassTable]:
    """Return the modes of every service's replicas."""
    return [_table(problem, modes, rows) for modes in problem.service_modes]


def _table(problem: Problem, modes: Sequence[Mode], rows: Sequence[PowerRow]) -> ClassTable:
    fastest: dict[tuple[int, ...], float] = {}
    for mode in modes:
        key = _usage(problem, mode, rows)
        fastest[key] = max(fastest.get(key, 0.0), mode.rate)
    found = sorted(fastest.items(), key=lambda row: (row[1], row[0]))
    found = [(c, r) for c, r in found if not any(_beats(d, s, c, r) for d, s in found)]
    counts = np.array([c for c, _ in found], dtype=np.float64)
    resources = len(problem.types) + len(rows)
    return ClassTable(counts.reshape(len(found), resources), np.array([r for _, r in found]))


def _usage(problem: Problem, mode: Mode, rows: Sequence[PowerRow]) -> tuple[int, ...]:
    """Return accelerators by type, then watts above idle in each row, rounded down."""
    counts = [0] * len(problem.types)
    for group in mode.groups:
        counts[group.type_index] += group.count
    watts = []
    for row in rows:
        added_w = 0.0
        for t in row.types:
            idle_w = problem.cluster.accelerators[problem.types[t]].idle_w
            added_w += counts[t] * (mode.power_w / mode.count - idle_w)
        watts.append(math.floor(added_w))
    return (*counts, *watts)


def _beats(usage: Sequence[int], rate: float, other: Sequence[int], other_rate: float) -> bool:
    """Return whether a mode is as fast as another on no more of anything."""
    fewer = all(a <= b for a, b in zip(usage, other, strict=True))
    return fewer and rate >= other_rate and (rate > other_rate or tuple(usage) != tuple(other))


def usable_rows(problem: Problem) -> tuple[PowerRow, ...]:
    """Return the power rows that no mode relieves: a gang may draw less than it does idle."""
    rows = power_rows(problem)
    every = [m for modes in (*problem.modes, *problem.service_modes) for m in modes]
    first = len(problem.types)
    drawn = [_usage(problem, mode, rows)[first:] for mode in every]
    return tuple(row for i, row in enumerate(rows) if all(usage[i] >= 0 for usage in drawn))


def requests(problem: Problem, service: Service, edges_s: FloatArray) -> FloatArray:
    """Return the requests that arrive at a service in each bucket, while it is surely on."""
    release_s = problem.workload.jobs.release_s
    until_s = float(release_s.max(initial=0.0)) if service.end_s is None else service.end_s
    starts = service.times_s
    ends = np.minimum(np.append(starts[1:], np.inf), until_s)
    total = np.concatenate([[0.0], np.cumsum(service.demand_per_s * np.maximum(ends - starts, 0))])
    at = np.append(starts, max(until_s, float(starts[-1])))
    return np.asarray(np.diff(np.interp(edges_s, at, total)))
