"""Small offline instances, all of their active schedules, and the objectives by definition.

Nothing here is the solver's: schedules are enumerated job by job at the earliest instant that
fits, and each objective is added up from what jobs, nodes and sites do, as the docs define it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from random_problems import random_problem

from scheduler.core.cluster import Outage
from scheduler.core.job_figures import exclusive_rate
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation, Placement
from scheduler.core.units import us_from_s


def tiny_problem(seed: int, jobs: int = 3) -> Problem | None:
    """A random problem of a few jobs with weights, deadlines and needs; None if it is large."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng)
    columns = problem.workload.jobs
    able = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    if len(able) < jobs or len(problem.cluster.nodes) > 4:
        return None
    used = columns.class_index[able[:jobs]].tolist()
    if any(len(g.slots) > 4 for c in used for mode in problem.modes[c] for g in mode.groups):
        return None
    columns = columns.take(np.array(able[:jobs], dtype=np.int64))
    n = len(columns)
    deadline_s = np.where(rng.random(n) < 0.7, np.round(rng.uniform(1, 500, n), 2), np.nan)
    after = tuple((int(rng.integers(j)),) if j and rng.random() < 0.25 else () for j in range(n))
    columns = replace(
        columns, weight=np.round(rng.uniform(0.1, 3, n), 1), deadline_s=deadline_s, after=after
    )
    nodes = problem.cluster.nodes
    drains = tuple(
        Outage(nodes[int(rng.integers(len(nodes)))].id, 10.0, float(rng.integers(20, 90)), "drain")
        for _ in range(int(rng.random() < 0.3))
    )
    cluster = replace(
        problem.cluster,
        sites=tuple(replace(s, power_cap_w=None) for s in problem.cluster.sites),
        outages=problem.cluster.outages + drains,
    )
    workload = replace(problem.workload, jobs=columns, services=())
    return replace(problem, cluster=cluster, workload=workload, service_modes=())


def placements(problem: Problem, mode: Mode) -> list[Placement]:
    """Every legal placement on the empty fleet, by trying each node for each slot."""
    size = [n.count for n in problem.cluster.nodes]
    types = {n: p.type_index for p in problem.pools for n in p.nodes}
    areas = [[n] for n in sorted(types)]
    if mode.level:
        areas = [
            sorted(n for p in d.pools for n in problem.pools[p].nodes)
            for d in problem.domains
            if d.level == mode.level
        ]
    slots = [(g.type_index, k) for g in mode.groups for k in g.slots]
    found = set()
    for nodes in areas:
        for choice in itertools.product(nodes, repeat=len(slots)):
            taken: dict[int, int] = {}
            if all(types[n] == t for n, (t, _) in zip(choice, slots, strict=True)):
                for n, (_, k) in zip(choice, slots, strict=True):
                    taken[n] = taken.get(n, 0) + k
                if all(size[n] >= c for n, c in taken.items()):
                    found.add(tuple(sorted(taken.items())))
    return [Placement(tuple(n for n, _ in f), tuple(c for _, c in f)) for f in sorted(found)]


class Brute:
    """All active schedules: every order, mode and placement, each job as early as it can."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        jobs = problem.workload.jobs
        self.size = [n.count for n in problem.cluster.nodes]
        index = {n.id: i for i, n in enumerate(problem.cluster.nodes)}
        spans = [
            (o.kind, index[o.node], us_from_s(o.start_s), us_from_s(o.end_s))
            for o in problem.cluster.outages
        ]
        self.downs = [s[1:] for s in spans if s[0] == "down"]
        self.drains = [s[1:] for s in spans if s[0] == "drain"]
        self.ways: list[list[tuple[int, int, Placement]]] = []
        for j in range(len(jobs)):
            c = int(jobs.class_index[j])
            restart_us = us_from_s(problem.workload.classes[c].restart_s)
            rows = []
            for m, mode in enumerate(problem.modes[c]):
                run_us = max(1, math.ceil(float(jobs.work[j]) / mode.rate * 1e6 - 1e-6))
                rows += [(m, restart_us + run_us, p) for p in placements(problem, mode)]
            self.ways.append(rows)

    @property
    def leaves(self) -> int:
        return math.prod(len(w) for w in self.ways) * math.factorial(len(self.ways))

    def schedules(self) -> Iterator[list[Allocation]]:
        yield from self._grow([])

    def _grow(self, rows: list[Allocation]) -> Iterator[list[Allocation]]:
        done = {a.job: a.end_us for a in rows}
        jobs = self.problem.workload.jobs
        if len(done) == len(jobs):
            yield rows
            return
        for job in range(len(jobs)):
            needs = jobs.after[job] if jobs.after else ()
            if job in done or any(k not in done for k in needs):
                continue
            first = max([us_from_s(float(jobs.release_s[job])), *(done[k] for k in needs)])
            for mode, length, place in self.ways[job]:
                start = self._earliest(rows, first, length, place)
                c = int(jobs.class_index[job])
                over = us_from_s(self.problem.workload.classes[c].restart_s)
                work = float(jobs.work[job])
                one = Allocation(job, mode, start, start + length, over, work, 0.0, place)
                yield from self._grow([*rows, one])

    def _earliest(self, rows: list[Allocation], first: int, length: int, place: Placement) -> int:
        ends = [a.end_us for a in rows] + [b for _, _, b in self.downs + self.drains]
        for start in sorted({first, *(t for t in ends if t > first)}):
            if self._fits(rows, start, start + length, place):
                return start
        raise AssertionError("every job fits after everything has ended")

    def _fits(self, rows: list[Allocation], start: int, end: int, place: Placement) -> bool:
        for n, count in zip(place.nodes, place.counts, strict=True):
            if any(k == n and a < end and b > start for k, a, b in self.downs):
                return False
            if any(k == n and a <= start < b for k, a, b in self.drains):
                return False
            mine = [
                (a.start_us, a.end_us, c)
                for a in rows
                for k, c in zip(a.placement.nodes, a.placement.counts, strict=True)
                if k == n and a.start_us < end and a.end_us > start
            ]
            for at in {start, *(a for a, _, _ in mine if a > start)}:
                if count + sum(c for a, b, c in mine if a <= at < b) > self.size[n]:
                    return False
        return True


def tiny_problems(first: int, count: int, leaves: int) -> Iterator[tuple[int, Problem, Brute]]:
    seed = first
    while count:
        seed += 1
        problem = tiny_problem(seed, 2 + seed % 2)
        if problem is None:
            continue
        brute = Brute(problem)
        if all(brute.ways) and brute.leaves <= leaves:
            count -= 1
            yield seed, problem, brute


# --- the objectives by definition ---------------------------------------------------------------


def completion_times(problem: Problem, rows: Sequence[Allocation]) -> dict[int, float]:
    """Seconds from release to end, by job."""
    release_s = problem.workload.jobs.release_s
    return {
        a.job: (a.end_us - us_from_s(float(release_s[a.job]))) / 1e6
        for a in sorted(rows, key=lambda a: a.end_us)
    }


def alone_s(problem: Problem, job: int) -> float:
    c = int(problem.workload.jobs.class_index[job])
    rate = max(m.rate for m in problem.modes[c])
    return problem.workload.classes[c].restart_s + float(problem.workload.jobs.work[job]) / rate


def equal_part_lengths(problem: Problem) -> list[float]:
    """Length of each job on a part 1/n of the fleet; n counts jobs while they would be alone."""
    jobs = problem.workload.jobs
    n = len(jobs)
    spans = [
        (float(jobs.release_s[j]), float(jobs.release_s[j]) + alone_s(problem, j)) for j in range(n)
    ]
    found = []
    for j, (start, end) in enumerate(spans):
        shared = sum(max(0.0, min(end, b) - max(start, a)) for a, b in spans)
        c = int(jobs.class_index[j])
        crowd = np.array([max(1.0, shared / (end - start))])
        rate = float(exclusive_rate(problem.modes[c], problem.capacity(), crowd)[0])
        found.append(problem.workload.classes[c].restart_s + float(jobs.work[j]) / rate)
    return found


def closed_spans(problem: Problem, node: int, kinds: tuple[str, ...], last_s: float):
    """Disjoint spans in which a node is out of use."""
    name = problem.cluster.nodes[node].id
    marks = sorted(
        (o.start_s, min(o.end_s, last_s))
        for o in problem.cluster.outages
        if o.node == name and o.kind in kinds and o.start_s < last_s
    )
    joined: list[tuple[float, float]] = []
    for start, end in marks:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def mode_of(problem: Problem, a: Allocation) -> Mode:
    return problem.modes[int(problem.workload.jobs.class_index[a.job])][a.mode]


def unused_s(problem: Problem, rows: Sequence[Allocation], productive: bool) -> float:
    """Accelerator-seconds idle until the last end, or not held productively."""
    last_s = max(a.end_us for a in rows) / 1e6
    total = 0.0
    for n, node in enumerate(problem.cluster.nodes):
        out = closed_spans(problem, n, ("down", "drain"), last_s)
        total += node.count * (last_s - sum(b - a for a, b in out))
        for a in rows:  # what a drain leaves held is in use, and else down
            count = dict(zip(a.placement.nodes, a.placement.counts, strict=True)).get(n, 0)
            inside = sum(
                max(0.0, min(a.end_us / 1e6, end) - max(a.start_us / 1e6, start))
                for start, end in out
            )
            total += count * inside
    for a in rows:
        mode = mode_of(problem, a)
        run_s = (a.end_us - a.start_us - a.overhead_us) / 1e6
        worth = run_s * (1 - mode.straggler) * mode.rate / mode.best_rate
        total -= mode.count * (worth if productive else (a.end_us - a.start_us) / 1e6)
    return total


def bill(problem: Problem, rows: Sequence[Allocation], name: str) -> float:
    """Energy, cost or carbon from 0 to the last end, hour by hour."""
    last_s = max(a.end_us for a in rows) / 1e6
    sites = problem.cluster.sites
    site_of = {n: p.site_index for p in problem.pools for n in p.nodes}
    type_of = {n: problem.types[p.type_index] for p in problem.pools for n in p.nodes}
    draws: list[tuple[int, float, float, float]] = []  # site, watts, from, until
    for n, node in enumerate(problem.cluster.nodes):
        idle_w = node.overhead_w + node.count * problem.cluster.accelerators[type_of[n]].idle_w
        draws.append((site_of[n], idle_w, 0.0, last_s))
        down = closed_spans(problem, n, ("down",), last_s)
        draws += [(site_of[n], -idle_w, start, end) for start, end in down]
    for a in rows:
        mode = mode_of(problem, a)
        for n, count in zip(a.placement.nodes, a.placement.counts, strict=True):
            idle_w = problem.cluster.accelerators[type_of[n]].idle_w
            watts = count * (mode.power_w / mode.count - idle_w)
            draws.append((site_of[n], watts, a.start_us / 1e6, a.end_us / 1e6))
    total = 0.0
    for s, watts, start, end in draws:
        if name == "energy":
            total += watts * (end - start)
            continue
        curve = sites[s].usd_per_kwh if name == "cost" else sites[s].carbon_g_per_kwh
        for hour in range(int(start // 3600), int(end // 3600) + 1):
            part = max(0.0, min(end, 3600.0 * (hour + 1)) - max(start, 3600.0 * hour))
            total += watts * sites[s].pue * part / 3.6e6 * curve[hour % len(curve)]
    return total


def definitions(problem: Problem) -> Mapping[str, Callable[[Sequence[Allocation]], float]]:
    """By objective, its value, to be made small; of what is maximised, the negative."""
    jobs = problem.workload.jobs
    n = len(jobs)
    first_s = min(us_from_s(float(t)) for t in jobs.release_s) / 1e6
    due_s = [float(t) for t in jobs.deadline_s]
    dated = [j for j in range(n) if not math.isnan(due_s[j])]
    fair, ideal = equal_part_lengths(problem), [alone_s(problem, j) for j in range(n)]

    def span_s(rows: Sequence[Allocation]) -> float:
        return max(a.end_us for a in rows) / 1e6 - first_s

    def late_s(rows: Sequence[Allocation]) -> float:
        end_s = {a.job: a.end_us / 1e6 for a in rows}
        return sum(max(0.0, end_s[j] - due_s[j]) for j in dated) / max(1, len(dated))

    def weighted_s(rows: Sequence[Allocation]) -> float:
        spans = completion_times(problem, rows)
        return sum(jobs.weight[j] * t for j, t in spans.items()) / float(jobs.weight.sum())

    return {
        "idle": lambda rows: unused_s(problem, rows, productive=False),
        "waste": lambda rows: unused_s(problem, rows, productive=True),
        "mean_jct": lambda rows: sum(completion_times(problem, rows).values()) / n,
        "weighted_completion": weighted_s,
        "makespan": span_s,
        "tardiness": late_s,
        "max_min_fairness": lambda rows: (
            -min(ideal[j] / t for j, t in completion_times(problem, rows).items())
        ),
        "finish_time_fairness": lambda rows: max(
            t / fair[j] for j, t in completion_times(problem, rows).items()
        ),
        "throughput": lambda rows: -n * 3600.0 / span_s(rows),
        "energy": lambda rows: bill(problem, rows, "energy"),
        "cost": lambda rows: bill(problem, rows, "cost"),
        "carbon": lambda rows: bill(problem, rows, "carbon"),
    }
