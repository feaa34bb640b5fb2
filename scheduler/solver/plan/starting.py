"""First prices of a plan: those of one shared machine under Smith's rule.

With a price per accelerator of each type, the fleet is one machine of speed 1 and each job needs
a share of it for a while. Where that machine always serves the job of greatest weight per need,
time is worth at t what serving costs others: the integral of those ratios from t to the end of
the busy period (the dual of the mean-busy-date relaxation, Goemans 1997).

References
----------
M. Goemans, "Improved approximation algorithms for scheduling with release dates", SODA 1997.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.groups import Buckets, Groups
from scheduler.solver.plan.resources import ClassTable

_FREE: Final = 1e-12
_SCARCE: Final = 1e-3


def first_prices(groups: Groups, tables: Sequence[ClassTable], cut: Buckets) -> list[FloatArray]:
    """Return prices per accelerator-second worth trying, shape (resources, buckets) each.

    One machine for all, with the type prices at which all work takes most of it, and with equal
    ones mixed in; and a machine per type, each with the jobs that it is cheapest for.
    """
    capacity = (cut.supply / np.maximum(np.diff(cut.edges_s), _FREE)).max(axis=1)
    capacity = np.maximum(capacity, _SCARCE * capacity.max())  # of what is always down: dear
    dear = type_prices(groups, tables, capacity)
    equal = np.where(capacity > 0, 1.0, 0.0) / max(float(capacity.sum()), _FREE)
    mixed = 0.5 * (dear + equal)
    found = []
    for by_type in (dear, mixed):
        need, _ = _needs(groups, tables, by_type)
        found.append(np.outer(by_type, _worth_of_time(groups, need, cut.edges_s)))
    _, mode_of = _needs(groups, tables, mixed)
    apart = np.zeros_like(cut.supply)
    for t in np.flatnonzero(capacity > 0).tolist():
        held = np.array(
            [
                tables[c].counts[m, t]
                for c, m in zip(groups.kind.tolist(), mode_of.tolist(), strict=True)
            ]
        )
        rate = np.array(
            [
                tables[c].rates[m]
                for c, m in zip(groups.kind.tolist(), mode_of.tolist(), strict=True)
            ]
        )
        mine = np.flatnonzero(held > 0)
        if len(mine):
            some = groups.take(mine)
            need = some.work * held[mine] / rate[mine] / capacity[t]
            apart[t] = _worth_of_time(some, need, cut.edges_s) / capacity[t]
    return [*found, apart]


def _needs(
    groups: Groups, tables: Sequence[ClassTable], by_type: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Return how long each job needs the whole fleet, and in which mode least."""
    per_work = [table.counts @ by_type / table.rates for table in tables]
    least = np.array([x.min(initial=np.inf) for x in per_work])
    mode = np.array([x.argmin() if len(x) else 0 for x in per_work], dtype=np.int64)
    need = np.maximum(groups.work * least[groups.kind], _FREE)
    return need, mode[groups.kind]


def type_prices(groups: Groups, tables: Sequence[ClassTable], capacity: FloatArray) -> FloatArray:
    """Return prices, the fleet's being 1, at which all work takes the greatest share of it."""
    from ortools.linear_solver import pywraplp

    total = np.bincount(groups.kind, groups.work * groups.count, minlength=len(tables))
    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinity = solver.infinity()
    worth = [solver.NumVar(0.0, infinity, "") for _ in capacity]  # of all of a type together
    solver.Add(sum(worth) == 1.0)
    unit = 0.0
    terms = []
    for c, table in enumerate(tables):
        if total[c] <= 0:
            continue
        share = table.counts / np.maximum(capacity, _FREE) / table.rates[:, None] * total[c]
        unit = max(unit, float(share.max()))
        area = solver.NumVar(0.0, infinity, "")
        for row in share:
            used = [(float(s), w) for s, w in zip(row, worth, strict=True) if s > 0]
            solver.Add(area / unit <= sum(s / unit * w for s, w in used))
        terms.append(area / unit)
    solver.Maximize(sum(terms))
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return np.full(len(capacity), 1.0 / max(float(capacity.sum()), _FREE))
    found = np.array([max(0.0, w.solution_value()) for w in worth])
    return np.where(capacity > 0, found / np.maximum(capacity, _FREE), 0.0)


def _worth_of_time(groups: Groups, needed: FloatArray, edges_s: FloatArray) -> FloatArray:
    """Return the mean worth of the machine's second in each bucket."""
    ratio = groups.weight / needed
    left = (needed * groups.count).tolist()
    order = np.argsort(groups.ready_s, kind="stable").tolist()
    waiting: list[tuple[float, int]] = []
    served: list[tuple[float, float, float]] = []  # from, until, ratio
    now, position = 0.0, 0
    while position < len(order) or waiting:
        if not waiting:
            now = max(now, float(groups.ready_s[order[position]]))
        while position < len(order) and groups.ready_s[order[position]] <= now:
            job = order[position]
            heapq.heappush(waiting, (-float(ratio[job]), job))
            position += 1
        until = float(groups.ready_s[order[position]]) if position < len(order) else np.inf
        job = waiting[0][1]
        then = min(now + left[job], until)
        served.append((now, then, float(ratio[job])))
        left[job] -= then - now
        if then < until or left[job] <= _FREE:
            heapq.heappop(waiting)
        now = then
    return _means(served, edges_s)


def _means(served: list[tuple[float, float, float]], edges_s: FloatArray) -> FloatArray:
    """Return bucket means of the integral of the ratios to the end of the busy period."""
    points: list[tuple[float, float]] = []
    worth, later = 0.0, np.inf
    for start, end, ratio in reversed(served):
        if end < later - 1e-9:  # idle until the next is served: time is worth nothing there
            points += [(later, 0.0), (end, 0.0)] if later < np.inf else [(end, 0.0)]
            worth = 0.0
        worth += ratio * (end - start)
        points.append((start, worth))
        later = start
    at = np.array([p for p, _ in reversed(points)])
    value = np.array([v for _, v in reversed(points)])
    fine = np.linspace(edges_s[:-1], edges_s[1:], 9)
    return np.asarray(np.interp(fine, at, value, right=0.0).mean(axis=0))
