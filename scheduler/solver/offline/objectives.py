"""What an offline schedule may minimise: as the metrics define it, and as a bound for all.

``mean_jct`` seconds, end less release; ``weighted_completion`` the same weighted by the jobs'
weights; ``makespan`` seconds from the first release to the last end; ``tardiness`` mean
seconds past the deadline over the jobs that have one; ``energy`` joules of accelerators and
hosts from 0 to the last end. All count every job that has a mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.bounds import lower_bounds
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation
from scheduler.core.units import US_PER_S, us_from_s

OBJECTIVES: Final = ("mean_jct", "weighted_completion", "makespan", "tardiness", "energy")

_LESS: Final = 1 - 1e-9
"""Taken off a bound for the rounding of its sums."""


def objective_value(problem: Problem, name: str, allocations: Sequence[Allocation]) -> float:
    """Return the objective of allocations that complete every job that has a mode.

    Parameters
    ----------
    problem : Problem
        What was asked.
    name : str
        One of `OBJECTIVES`.
    allocations : sequence of Allocation
        Planned or held.
    """
    columns = problem.workload.jobs
    end_us: dict[int, int] = {}
    for a in allocations:
        end_us[a.job] = max(a.end_us, end_us.get(a.job, 0))
    jobs = sorted(end_us)
    release_us = {j: us_from_s(float(columns.release_s[j])) for j in jobs}
    if name == "energy":
        return _energy_j(problem, allocations, max(end_us.values(), default=0))
    if not jobs:
        return 0.0
    if name == "makespan":
        return (max(end_us.values()) - min(release_us.values())) / US_PER_S
    if name == "tardiness":
        due_s = {j: float(columns.deadline_s[j]) for j in jobs}
        late = [max(0.0, end_us[j] / US_PER_S - t) for j, t in due_s.items() if not math.isnan(t)]
        return math.fsum(late) / len(late) if late else 0.0
    weights = [1.0 if name == "mean_jct" else float(columns.weight[j]) for j in jobs]
    spans = [(end_us[j] - release_us[j]) / US_PER_S for j in jobs]
    return math.fsum(w * s for w, s in zip(weights, spans, strict=True)) / math.fsum(weights)


def added_w(problem: Problem, mode: Mode) -> float:
    """Return what a gang draws above the idle power of the accelerators it holds."""
    accelerators = problem.cluster.accelerators
    each_w = mode.power_w / mode.count
    return math.fsum(
        g.count * (each_w - accelerators[problem.types[g.type_index]].idle_w) for g in mode.groups
    )


def idle_w(problem: Problem) -> list[float]:
    """Return the draw of each node while it is up and nothing is held on it."""
    accelerators = problem.cluster.accelerators
    nodes = problem.cluster.nodes
    return [n.overhead_w + n.count * accelerators[n.accelerator].idle_w for n in nodes]


def _energy_j(problem: Problem, allocations: Sequence[Allocation], end_us: int) -> float:
    index = {node.id: n for n, node in enumerate(problem.cluster.nodes)}
    idle = idle_w(problem)
    parts = [w * end_us / US_PER_S for w in idle]
    for n, spans in _down_us(problem, index, end_us).items():
        parts += [-idle[n] * (b - a) / US_PER_S for a, b in spans]
    for a in allocations:
        mode = problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]
        parts.append(added_w(problem, mode) * (a.end_us - a.start_us) / US_PER_S)
    return math.fsum(parts)


def _down_us(
    problem: Problem, index: dict[str, int], end_us: int
) -> dict[int, list[tuple[int, int]]]:
    """Return when nodes are down before `end_us`, by node, disjoint."""
    found: dict[int, list[tuple[int, int]]] = {}
    for o in sorted(problem.cluster.outages, key=lambda o: o.start_s):
        if o.kind != "down":
            continue
        last = end_us if math.isinf(o.end_s) else min(end_us, us_from_s(o.end_s))
        spans = found.setdefault(index[o.node], [])
        first = max(us_from_s(o.start_s), spans[-1][1] if spans else 0)
        if first < last:
            spans.append((first, last))
    return found


def general_bound(problem: Problem, name: str) -> float:
    """Return what no schedule at all can better: preempting, resizing and moving allowed.

    Mean completion time and makespan by `scheduler.core.bounds`; the others as if each job
    were alone on the fleet.
    """
    columns = problem.workload.jobs
    jobs = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    if not jobs:
        return 0.0
    release_s = np.array([us_from_s(t) / US_PER_S for t in columns.release_s.tolist()])
    kinds = columns.class_index[jobs]
    restart_s = np.array([c.restart_s for c in problem.workload.classes])[kinds]
    rate = np.array([max((m.rate for m in ms), default=1.0) for ms in problem.modes])[kinds]
    alone_s = (release_s[jobs] + restart_s + columns.work[jobs] / rate) * _LESS
    bounds = lower_bounds(problem)
    first_s = float(release_s.min())
    if name == "mean_jct":
        return bounds.mean_jct_s * _LESS
    if name == "makespan":  # which counts from the first release of a job that can run
        late_s = float(release_s[jobs].min()) - first_s
        return max(0.0, bounds.makespan_s * _LESS - late_s)
    if name == "weighted_completion":
        weight = columns.weight[jobs]
        total = float((weight * np.maximum(0.0, alone_s - release_s[jobs])).sum())
        return total / float(weight.sum()) * _LESS
    if name == "tardiness":
        due_s = columns.deadline_s[jobs]
        late = np.maximum(0.0, alone_s - due_s)[~np.isnan(due_s)]
        return float(late.mean()) * _LESS if len(late) else 0.0
    return _energy_bound(problem, jobs, (bounds.makespan_s + first_s) * _LESS)


def _energy_bound(problem: Problem, jobs: Sequence[int], end_s: float) -> float:
    """Bound the energy: idle fleet until the last end, and each job's thriftiest mode."""
    index = {node.id: n for n, node in enumerate(problem.cluster.nodes)}
    end_us = int(end_s * US_PER_S)
    idle = idle_w(problem)
    base_j = math.fsum(idle) * end_us / US_PER_S
    for n, spans in _down_us(problem, index, end_us).items():
        base_j -= math.fsum(idle[n] * (b - a) / US_PER_S for a, b in spans)
    total_j = 0.0
    for j in jobs:
        c = int(problem.workload.jobs.class_index[j])
        extra = [(added_w(problem, m), m.rate) for m in problem.modes[c]]
        if min(w for w, _ in extra) < 0:  # holding more would draw less: nothing is proved
            return 0.0
        total_j += float(problem.workload.jobs.work[j]) * min(w / r for w, r in extra)
        total_j += problem.workload.classes[c].restart_s * min(w for w, _ in extra)
    return max(0.0, base_j + total_j) * _LESS
