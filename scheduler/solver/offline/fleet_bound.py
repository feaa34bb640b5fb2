"""Bounds on energy, cost, carbon, waste and idle time: thrifty modes hold the fleet for longer.

Each job's thriftiest mode and the least last end bound the energy apart. Together they bound
more: with a price per accelerator-second of each type, a job costs at least what its draw and
its time cost in the cheapest of its modes, and the fleet until the last end E costs what it
draws idle less the worth of its time. That holds for any prices at which no later E is cheaper;
a small LP finds the best ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scheduler.core.problem import Mode, Problem
from scheduler.core.units import DAY_S, HOUR_S, US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.solver.offline.objectives import (
    accelerator_added_w,
    base_draw,
    closed_us,
    up_us,
)

MOST_INSTANTS: Final = 1000
"""Instants at which what the fleet has or draws changes; with more there is no bound here."""

_LESS: Final = 1 - 1e-9
_FIELD: Final = {"energy": "energy_j", "cost": "cost_usd", "carbon": "carbon_g"}


@dataclass(frozen=True, slots=True)
class _Kind:
    """Jobs of one class together.

    Parameters
    ----------
    work, starts_s : float
        Work of all of them, and their restart times.
    held : ndarray of float64, shape (modes, types)
        Accelerators.
    rate, running, starting : ndarray of float64, shape (modes,)
        Work per second; what a second of work adds to the loss, and a second of starting.
    """

    work: float
    starts_s: float
    held: FloatArray
    rate: FloatArray
    running: FloatArray
    starting: FloatArray


def fleet_bound(problem: Problem, name: str, jobs: Sequence[int], end_s: float) -> float:
    """Return a lower bound on the loss of every schedule; 0 where this proves nothing.

    Parameters
    ----------
    problem : Problem
        What was asked.
    name : str
        ``energy``, ``cost``, ``carbon`` or ``waste``; or ``idle``, of schedules that run each
        job once, as held time has no upper limit where jobs may start anew.
    jobs : sequence of int
        Those with a mode.
    end_s : float
        No schedule ends earlier.
    """
    kinds = _kinds(problem, name, jobs)
    if name in _FIELD and any((k.running < 0).any() for k in kinds):
        return 0.0  # to hold more would draw less
    at_s = _instants(problem, name, end_s)
    if at_s is None:
        return 0.0
    base = np.array([_base(problem, name, t) for t in at_s])
    room = np.stack([_room_s(problem, t) for t in at_s])
    prices = _prices(kinds, base, room)
    return max(0.0, _proved(kinds, base, room, prices))


def _kinds(problem: Problem, name: str, jobs: Sequence[int]) -> list[_Kind]:
    columns = problem.workload.jobs
    class_of = columns.class_index[list(jobs)]
    work = np.bincount(class_of, columns.work[list(jobs)], len(problem.modes))
    count = np.bincount(class_of, minlength=len(problem.modes))
    least = _least_rates(problem, name) if name in _FIELD else []
    found = []
    for c in np.flatnonzero(count).tolist():
        modes = problem.modes[c]
        held = np.zeros((len(modes), len(problem.types)))
        for m, mode in enumerate(modes):
            for group in mode.groups:
                held[m, group.type_index] += group.count
        rate = np.array([mode.rate for mode in modes])
        if name == "waste":
            worth = [m.count * (1 - m.straggler) * m.rate / m.best_rate for m in modes]
            running, starting = -np.array(worth), np.zeros(len(modes))
        elif name == "idle":
            running = starting = -held.sum(axis=1)
        else:
            running = np.array([_draw(problem, mode, least) for mode in modes])
            starting = running
        starts_s = float(count[c]) * problem.workload.classes[c].restart_s
        found.append(_Kind(float(work[c]), starts_s, held, rate, running, starting))
    return found


def _draw(problem: Problem, mode: Mode, least: Sequence[float]) -> float:
    """Return what a gang's draw above idle costs a second, at the best tariff there is."""
    return sum(
        g.count * accelerator_added_w(problem, mode, g.type_index) * least[g.type_index]
        for g in mode.groups
    )


def _least_rates(problem: Problem, name: str) -> list[float]:
    """Return, by type, what a joule costs where and when it is cheapest."""
    sites = problem.cluster.sites
    if name == "energy":
        return [1.0] * len(problem.types)
    joule = [
        s.pue * min(s.usd_per_kwh if name == "cost" else s.carbon_g_per_kwh) / 3.6e6 for s in sites
    ]
    return [
        min((joule[p.site_index] for p in problem.pools if p.type_index == t), default=0.0)
        for t in range(len(problem.types))
    ]


def _instants(problem: Problem, name: str, end_s: float) -> list[float] | None:
    """Return the last ends at which the least may lie, and one a day after the last of them.

    What the fleet has and draws grows in straight lines between them, and daily after them.
    """
    edges = [t for o in problem.cluster.outages for t in (o.start_s, o.end_s)]
    marks = {t for t in edges if end_s < t < np.inf} | {end_s}
    last_s = max(marks)
    by_hour = {
        "cost": [s.usd_per_kwh for s in problem.cluster.sites],
        "carbon": [s.carbon_g_per_kwh for s in problem.cluster.sites],
    }
    if any(len(set(curve)) > 1 for curve in by_hour.get(name, [])):
        first, hours = int(end_s // HOUR_S) + 1, int((last_s - end_s) // HOUR_S) + 25
        if hours > MOST_INSTANTS:
            return None
        marks |= {h * HOUR_S for h in range(first, first + hours)}
        last_s = max(marks)
    if len(marks) > MOST_INSTANTS:
        return None
    return [*sorted(marks), last_s + DAY_S]


def _base(problem: Problem, name: str, end_s: float) -> float:
    """Return what the fleet costs until `end_s` with nothing held, or what may be wasted."""
    end_us = int(end_s * US_PER_S)
    if name in ("waste", "idle"):
        return up_us(problem, end_us) / US_PER_S
    return float(getattr(base_draw(problem, end_us), _FIELD[name]))


def _room_s(problem: Problem, end_s: float) -> FloatArray:
    """Return the accelerator-time of each type that is not down until `end_s`."""
    end_us = int(end_s * US_PER_S) + 1
    room = np.array(problem.capacity(), dtype=np.float64) * (end_us / US_PER_S)
    type_of = {n: p.type_index for p in problem.pools for n in p.nodes}
    for node, spans in closed_us(problem, end_us, ("down",)).items():
        down_s = sum(b - a for a, b in spans) / US_PER_S
        room[type_of[node]] -= problem.cluster.nodes[node].count * down_s
    return np.maximum(room, 0.0)


def _prices(kinds: Sequence[_Kind], base: FloatArray, room: FloatArray) -> FloatArray:
    """Return the prices that prove most, shape (types,), or none at all."""
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinity = solver.infinity()
    unit = max(float(np.abs(base).max()), 1e-30)
    scale = np.maximum(room[-1], 1e-9)  # a price is what a type is worth over all the time
    price = [solver.NumVar(0.0, infinity, "") for _ in scale]

    def worth(parts: FloatArray) -> Any:
        shares = zip((parts / scale).tolist(), price, strict=True)
        return sum(share * p for share, p in shares if share)

    terms = []
    for kind in kinds:
        for amount, cost in ((kind.work / kind.rate, kind.running), (None, kind.starting)):
            each = np.full(len(cost), kind.starts_s) if amount is None else amount
            value = solver.NumVar(-infinity, infinity, "")
            for seconds, held, added in zip(each.tolist(), kind.held, cost.tolist(), strict=True):
                solver.Add(value <= worth(seconds * held) + seconds * added / unit)
            terms.append(value)
    left = solver.NumVar(-infinity, infinity, "")
    for at, has in zip(base[:-1].tolist(), room[:-1], strict=True):
        solver.Add(left <= at / unit - worth(has))
    solver.Add(worth(room[-1] - room[-2]) <= float(base[-1] - base[-2]) / unit)
    solver.Maximize(sum(terms) + left)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return np.zeros(len(scale))
    found = np.array([max(0.0, p.solution_value()) for p in price], dtype=np.float64)
    return np.asarray(found / scale * unit)


def _proved(
    kinds: Sequence[_Kind], base: FloatArray, room: FloatArray, prices: FloatArray
) -> float:
    """Return what prices prove, made lower where a later end would be cheaper."""
    later, more = float(base[-1] - base[-2]), float((room[-1] - room[-2]) @ prices)
    if more > later:
        prices = prices * (max(later, 0.0) / more * _LESS)
    terms = [float((base[:-1] - room[:-1] @ prices).min())]
    for kind in kinds:
        per_s = kind.held @ prices
        terms.append(kind.work * float(((kind.running + per_s) / kind.rate).min()))
        terms.append(kind.starts_s * float((kind.starting + per_s).min()))
    return sum(terms) - 1e-9 * sum(abs(term) for term in terms) - 1e-6 * float(prices.max()) * 2
