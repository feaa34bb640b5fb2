"""What an offline schedule may minimise or maximise, each as the metrics and the ledger define it.

All count every job that has a mode. The search minimises a *loss*, which is the objective
itself or falls as it rises:

================== ==== ================= ====================================================
name               goal unit              what it is in a run
================== ==== ================= ====================================================
idle               min  accelerator s     the ledger's idle causes, from 0 to the last end
waste              min  accelerator s     the ledger's waste: idle, or held and not productive
mean_jct           min  s                 mean completion time
weighted_completion min s                 the same weighted by the jobs' weights
makespan           min  s                 last end less first release
tardiness          min  s                 mean time past the deadline of jobs that have one
max_min_fairness   max  (none)            least pace of a job: ideal over completion time
finish_time_fairness min (none)           worst ratio of a job's completion time to that on its
                                          equal part of the fleet (`equal_part_s`)
throughput         max  jobs/h            jobs over makespan
energy             min  J                 of accelerators and hosts, from 0 to the last end
cost, carbon       min  USD, g            of that energy with PUE, at the hour's tariff and carbon
================== ==== ================= ====================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.job_figures import exclusive_rate
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation
from scheduler.core.units import HOUR_S, US_PER_S, us_from_s
from scheduler.core.workload import FloatArray
from scheduler.physics.power import EnergyCost, energy_cost


@dataclass(frozen=True, slots=True)
class Objective:
    """A figure to optimise.

    Parameters
    ----------
    name, unit : str
        As in the module's table.
    maximised : bool
        Whether more is better.
    """

    name: str
    unit: str
    maximised: bool = False


_ALL: Final = (
    Objective("idle", "accelerator s"),
    Objective("waste", "accelerator s"),
    Objective("mean_jct", "s"),
    Objective("weighted_completion", "s"),
    Objective("makespan", "s"),
    Objective("tardiness", "s"),
    Objective("max_min_fairness", "", True),
    Objective("finish_time_fairness", ""),
    Objective("throughput", "jobs/h", True),
    Objective("energy", "J"),
    Objective("cost", "USD"),
    Objective("carbon", "g"),
)

OBJECTIVES: Final[Mapping[str, Objective]] = MappingProxyType({o.name: o for o in _ALL})

WORST_OF: Final = ("max_min_fairness", "finish_time_fairness")
"""Objectives whose loss is the worst ratio over jobs."""

POWERED: Final = ("energy", "cost", "carbon")
"""Objectives that integrate the draw."""


def value_of(problem: Problem, name: str, loss: float) -> float:
    """Return the objective's value at a loss; a bound on the one gives a bound on the other."""
    if name == "throughput":
        return counted_jobs(problem) * HOUR_S / loss if loss > 0 else math.inf
    if name == "max_min_fairness":
        return 1.0 / loss if loss > 0 else math.inf
    return loss


def loosened(name: str, loss: float, tolerance: float) -> float:
    """Return the most loss at which the objective is within a relative tolerance of its value."""
    more = 1.0 / (1.0 - tolerance) if OBJECTIVES[name].maximised else 1.0 + tolerance
    return loss * more + 1e-9 * max(1.0, abs(loss))


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
    return value_of(problem, name, loss_of(problem, name, allocations))


def loss_of(problem: Problem, name: str, allocations: Sequence[Allocation]) -> float:
    """Return what the search minimises for `name`."""
    columns = problem.workload.jobs
    end_us: dict[int, int] = {}
    for a in allocations:
        end_us[a.job] = max(a.end_us, end_us.get(a.job, 0))
    jobs = sorted(end_us)
    last_us = max(end_us.values(), default=0)
    if name in POWERED:
        return float(getattr(_drawn(problem, allocations, last_us), _FIELD[name]))
    if name in ("idle", "waste"):
        return _unused_us(problem, name, allocations, last_us) / US_PER_S
    if not jobs:
        return 0.0
    release_us = {j: us_from_s(float(columns.release_s[j])) for j in jobs}
    if name in ("makespan", "throughput"):
        return (last_us - min(release_us.values())) / US_PER_S
    if name == "tardiness":
        due_s = {j: float(columns.deadline_s[j]) for j in jobs}
        late = [max(0.0, end_us[j] / US_PER_S - t) for j, t in due_s.items() if not math.isnan(t)]
        return math.fsum(late) / len(late) if late else 0.0
    spans_s = {j: (end_us[j] - release_us[j]) / US_PER_S for j in jobs}
    if name in WORST_OF:
        fair_s = fair_lengths_s(problem, name)
        return max(spans_s[j] / float(fair_s[j]) for j in jobs)
    weights = [1.0 if name == "mean_jct" else float(columns.weight[j]) for j in jobs]
    total = math.fsum(w * s for w, s in zip(weights, spans_s.values(), strict=True))
    return total / math.fsum(weights)


_FIELD: Final = {"energy": "energy_j", "cost": "cost_usd", "carbon": "carbon_g"}


def counted_jobs(problem: Problem) -> int:
    """Return how many jobs have a mode."""
    return sum(bool(problem.modes[c]) for c in problem.workload.jobs.class_index.tolist())


# --- fairness -------------------------------------------------------------------------------


def fair_lengths_s(problem: Problem, name: str) -> FloatArray:
    """Return what each job's completion time is compared with; NaN without a mode."""
    return equal_part_s(problem) if name == "finish_time_fairness" else ideal_s(problem)


def ideal_s(problem: Problem) -> FloatArray:
    """Return each job's length alone: restart time and work at the rate of the fastest mode."""
    kinds = problem.workload.jobs.class_index
    rate = np.array([max((m.rate for m in ms), default=math.nan) for ms in problem.modes])
    restart_s = np.array([c.restart_s for c in problem.workload.classes])
    return np.asarray(restart_s[kinds] + problem.workload.jobs.work / rate[kinds])


def equal_part_s(problem: Problem) -> FloatArray:
    """Return each job's length on its equal part of the fleet, as fixed by the problem alone.

    The part is 1/n of every type as in `core.job_figures.exclusive_s`, which takes for n the
    mean number of jobs in the system while the job was there. That depends on the schedule: to
    keep others waiting would look fair. Here n counts each job from its release for as long as
    it takes alone.
    """
    columns = problem.workload.jobs
    alone_s = ideal_s(problem)
    able = np.flatnonzero(~np.isnan(alone_s))
    start = columns.release_s[able]
    end = start + alone_s[able]
    at_s = np.concatenate([start, end])
    order = np.argsort(at_s, kind="stable")
    times = at_s[order]
    here = np.cumsum(np.repeat([1, -1], len(able))[order])
    area = np.concatenate([[0.0], np.cumsum(here[:-1] * np.diff(times))]) if len(able) else times
    inside = area[np.searchsorted(times, end)] - area[np.searchsorted(times, start)]
    contention = np.maximum(1.0, inside / (end - start))
    out = np.full(len(columns), np.nan)
    kinds = columns.class_index[able]
    for c in np.unique(kinds).tolist():
        mine = kinds == c
        rate = exclusive_rate(problem.modes[c], problem.capacity(), contention[mine])
        restart_s = problem.workload.classes[c].restart_s
        out[able[mine]] = restart_s + columns.work[able[mine]] / rate
    return out


# --- accelerator-time and power ------------------------------------------------------------


def productive_us(mode: Mode, run_us: int) -> int:
    """Return, of the time a gang runs, what the ledger books as productive, per accelerator."""
    return math.floor((run_us - math.floor(run_us * mode.straggler)) * (mode.rate / mode.best_rate))


def up_us(problem: Problem, last_us: int, among: Set[int] | None = None) -> int:
    """Return the accelerator-time until `last_us` of nodes neither down nor drained.

    `among` says which nodes; None: all.
    """
    nodes = problem.cluster.nodes
    some = range(len(nodes)) if among is None else sorted(among)
    closed = closed_us(problem, last_us, ("down", "drain"))
    return sum(nodes[n].count * (last_us - sum(b - a for a, b in closed.get(n, []))) for n in some)


def _unused_us(problem: Problem, name: str, allocations: Sequence[Allocation], last_us: int) -> int:
    """Return accelerator-time that is idle, or wasted, as the ledger books it.

    What a drain leaves unheld is down; what goes on there is held.
    """
    total = up_us(problem, last_us)
    down = closed_us(problem, last_us, ("down",))
    both = closed_us(problem, last_us, ("down", "drain"))
    for a in allocations:
        mode = problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]
        length = a.end_us - a.start_us
        if name == "idle":
            total -= mode.count * length
        else:
            run_us = length - a.overhead_us
            if a.lost_work > 0:
                run_us -= min(run_us, round(run_us * a.lost_work / a.work))
            total -= mode.count * productive_us(mode, run_us)
        for n, count in zip(a.placement.nodes, a.placement.counts, strict=True):
            if n in both:
                kept = _inside(both[n], a) - _inside(down.get(n, []), a)
                total += count * kept
    return total


def _inside(spans: Sequence[tuple[int, int]], a: Allocation) -> int:
    return sum(max(0, min(end, a.end_us) - max(start, a.start_us)) for start, end in spans)


def added_w(problem: Problem, mode: Mode) -> float:
    """Return what a gang draws above the idle power of the accelerators it holds."""
    return math.fsum(
        g.count * accelerator_added_w(problem, mode, g.type_index) for g in mode.groups
    )


def accelerator_added_w(problem: Problem, mode: Mode, type_index: int) -> float:
    """Return what one accelerator of a gang draws above its idle power."""
    idle_w = problem.cluster.accelerators[problem.types[type_index]].idle_w
    return mode.power_w / mode.count - idle_w


def idle_w(problem: Problem) -> list[float]:
    """Return the draw of each node while it is up and nothing is held on it."""
    accelerators = problem.cluster.accelerators
    nodes = problem.cluster.nodes
    return [n.overhead_w + n.count * accelerators[n.accelerator].idle_w for n in nodes]


def sites_of(problem: Problem) -> list[int]:
    """Return the site index of every node."""
    found = [0] * len(problem.cluster.nodes)
    for pool in problem.pools:
        for node in pool.nodes:
            found[node] = pool.site_index
    return found


def base_draw(problem: Problem, last_us: int) -> EnergyCost:
    """Return what the fleet draws from 0 to `last_us` with nothing held on it."""
    idle, where = idle_w(problem), sites_of(problem)
    sites = problem.cluster.sites
    by_site = [
        math.fsum(w for w, s in zip(idle, where, strict=True) if s == i) for i in range(len(sites))
    ]
    parts = [
        energy_cost(w, 0.0, last_us / US_PER_S, site)
        for w, site in zip(by_site, sites, strict=True)
    ]
    for n, spans in closed_us(problem, last_us, ("down",)).items():
        parts += [
            energy_cost(-idle[n], a / US_PER_S, b / US_PER_S, sites[where[n]]) for a, b in spans
        ]
    return _sum(parts)


def _drawn(problem: Problem, allocations: Sequence[Allocation], last_us: int) -> EnergyCost:
    sites, where = problem.cluster.sites, sites_of(problem)
    types = [0] * len(where)
    for pool in problem.pools:
        for node in pool.nodes:
            types[node] = pool.type_index
    parts = [base_draw(problem, last_us)]
    for a in allocations:
        mode = problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]
        extra_w: dict[int, float] = {}
        for n, count in zip(a.placement.nodes, a.placement.counts, strict=True):
            more_w = count * accelerator_added_w(problem, mode, types[n])
            extra_w[where[n]] = extra_w.get(where[n], 0.0) + more_w
        start_s, end_s = a.start_us / US_PER_S, a.end_us / US_PER_S
        parts += [energy_cost(w, start_s, end_s, sites[s]) for s, w in extra_w.items()]
    return _sum(parts)


def _sum(parts: Sequence[EnergyCost]) -> EnergyCost:
    return EnergyCost(
        math.fsum(p.energy_j for p in parts),
        math.fsum(p.cost_usd for p in parts),
        math.fsum(p.carbon_g for p in parts),
    )


def closed_us(
    problem: Problem, last_us: int, kinds: tuple[str, ...]
) -> dict[int, list[tuple[int, int]]]:
    """Return when nodes are down, or drained, before `last_us`, by node, disjoint."""
    index = {node.id: n for n, node in enumerate(problem.cluster.nodes)}
    found: dict[int, list[tuple[int, int]]] = {}
    for o in sorted(problem.cluster.outages, key=lambda o: o.start_s):
        if o.kind not in kinds:
            continue
        last = last_us if math.isinf(o.end_s) else min(last_us, us_from_s(o.end_s))
        spans = found.setdefault(index[o.node], [])
        first = max(us_from_s(o.start_s), spans[-1][1] if spans else 0)
        if first < last:
            spans.append((first, last))
    return found
