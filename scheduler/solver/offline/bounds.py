"""What no schedule at all can better: preempting, resizing and moving allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.bounds import Bounds, lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray
from scheduler.solver.offline.fleet_bound import fleet_bound
from scheduler.solver.offline.objectives import (
    POWERED,
    WORST_OF,
    added_w,
    base_draw,
    fair_lengths_s,
    up_us,
)

_LESS: Final = 1 - 1e-9
"""Taken off a bound for the rounding of its sums."""


def general_bound(problem: Problem, name: str, base: Bounds | None = None) -> float:
    """Return a lower bound on the loss of every schedule that completes every job.

    Mean completion time and makespan by `scheduler.core.bounds`; the others from the
    makespan's, from each job alone on the fleet, and from what modes use for how long.

    Parameters
    ----------
    problem : Problem
        What was asked.
    name : str
        One of `OBJECTIVES`.
    base : Bounds or None
        What `lower_bounds(problem)` says, where that is known.
    """
    columns = problem.workload.jobs
    jobs = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    if not jobs:
        return 0.0
    release_s = np.array([us_from_s(t) / US_PER_S for t in columns.release_s.tolist()])
    bounds = base or lower_bounds(problem)
    first_s = float(release_s.min())
    if name == "mean_jct":
        return bounds.mean_jct_s * _LESS
    if name in ("makespan", "throughput"):  # from the first release of a job that can run
        late_s = float(release_s[jobs].min()) - first_s
        return max(0.0, bounds.makespan_s * _LESS - late_s)
    end_s = (bounds.makespan_s + first_s) * _LESS
    if name in POWERED:
        apart = _energy_bound(problem, name, jobs, end_s)
        return max(apart, fleet_bound(problem, name, jobs, end_s))
    if name in ("idle", "waste"):
        apart = _unused_bound(problem, name, jobs, end_s)
        together = fleet_bound(problem, name, jobs, end_s) if name == "waste" else 0.0
        return max(apart, together - _rounding_s(problem, jobs))
    alone_s = _alone_s(problem)[jobs]
    spans_s = np.maximum(0.0, alone_s - release_s[jobs]) * _LESS
    if name in WORST_OF:
        return float((spans_s / fair_lengths_s(problem, name)[jobs]).max()) * _LESS
    if name == "weighted_completion":
        weight = columns.weight[jobs]
        return float((weight * spans_s).sum()) / float(weight.sum()) * _LESS
    due_s = columns.deadline_s[jobs]
    late = np.maximum(0.0, alone_s * _LESS - due_s)[~np.isnan(due_s)]
    return float(late.mean()) * _LESS if len(late) else 0.0


def undivided_bound(problem: Problem, name: str) -> float:
    """Return a lower bound on the loss of schedules that run each job once; 0: nothing more.

    Such a job holds its accelerators for as long as its mode says, and no longer.
    """
    kinds = problem.workload.jobs.class_index.tolist()
    jobs = [j for j, c in enumerate(kinds) if problem.modes[c]]
    if name != "idle" or not jobs:
        return 0.0
    bounds = lower_bounds(problem)
    first_s = min(us_from_s(t) for t in problem.workload.jobs.release_s.tolist()) / US_PER_S
    end_s = (bounds.makespan_s + first_s) * _LESS
    least = fleet_bound(problem, name, jobs, end_s)
    return max(0.0, least - _rounding_s(problem, jobs))


def _rounding_s(problem: Problem, jobs: Sequence[int]) -> float:
    """Return how much accelerator-time the clock's rounding of every job may make up."""
    return 2e-6 * sum(n.count for n in problem.cluster.nodes) * len(jobs)


def bound_beyond(problem: Problem, name: str, end_us: int) -> float:
    """Return a lower bound on the loss of schedules that end after `end_us`.

    Where tariffs change by the hour, it may pay to wait; how long the model need look ahead
    follows from what the fleet draws meanwhile. Infinite for objectives that waiting never
    helps.
    """
    hourly = {
        "cost": [s.usd_per_kwh for s in problem.cluster.sites],
        "carbon": [s.carbon_g_per_kwh for s in problem.cluster.sites],
    }
    if all(len(set(tariff)) == 1 for tariff in hourly.get(name, ())):
        return math.inf
    kinds = problem.workload.jobs.class_index.tolist()
    jobs = [j for j, c in enumerate(kinds) if problem.modes[c]]
    return _energy_bound(problem, name, jobs, end_us / US_PER_S)


def _alone_s(problem: Problem) -> FloatArray:
    """Return when each job would end alone; NaN without a mode."""
    columns = problem.workload.jobs
    kinds = columns.class_index
    restart_s = np.array([c.restart_s for c in problem.workload.classes])[kinds]
    rate = np.array([max((m.rate for m in ms), default=math.nan) for ms in problem.modes])[kinds]
    release_s = np.array([us_from_s(t) / US_PER_S for t in columns.release_s.tolist()])
    return np.asarray(release_s + restart_s + columns.work / rate)


def _unused_bound(problem: Problem, name: str, jobs: Sequence[int], end_s: float) -> float:
    """Bound idle or wasted accelerator-time.

    Held time has no upper limit, so idle is what jobs may never use. Productive time has: a
    unit of work is worth at most that of the mode that holds most for it.
    """
    columns = problem.workload.jobs
    end_us = int(end_s * US_PER_S)
    kinds = columns.class_index[list(jobs)].tolist()
    if name == "idle":
        used = {
            g.type_index for c in sorted(set(kinds)) for m in problem.modes[c] for g in m.groups
        }
        nodes = {n for p in problem.pools if p.type_index not in used for n in p.nodes}
        return up_us(problem, end_us, nodes) / US_PER_S * _LESS
    most = {
        c: max(m.count * (1 - m.straggler) / m.best_rate for m in problem.modes[c])
        for c in sorted(set(kinds))
    }
    productive_s = math.fsum(
        most[c] * float(columns.work[j]) for c, j in zip(kinds, jobs, strict=True)
    )
    unused_s = up_us(problem, end_us) / US_PER_S - productive_s - _rounding_s(problem, jobs)
    return max(0.0, unused_s * _LESS)


def _energy_bound(problem: Problem, name: str, jobs: Sequence[int], end_s: float) -> float:
    """Bound the energy: idle fleet until the last end, and each job's thriftiest mode."""
    base = base_draw(problem, int(end_s * US_PER_S))
    sites = problem.cluster.sites
    base_j, least = base.energy_j, 1.0
    if name == "cost":
        base_j, least = base.cost_usd, min(s.pue * min(s.usd_per_kwh) for s in sites) / 3.6e6
    elif name == "carbon":
        base_j, least = base.carbon_g, min(s.pue * min(s.carbon_g_per_kwh) for s in sites) / 3.6e6
    total = 0.0
    for j in jobs:
        c = int(problem.workload.jobs.class_index[j])
        extra = [(added_w(problem, m), m.rate) for m in problem.modes[c]]
        if min(w for w, _ in extra) < 0:  # holding more would draw less: nothing is proved
            return 0.0
        total += float(problem.workload.jobs.work[j]) * min(w / r for w, r in extra) * least
        total += problem.workload.classes[c].restart_s * min(w for w, _ in extra) * least
    return max(0.0, base_j + total) * _LESS
