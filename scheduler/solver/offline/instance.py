"""A problem on ticks: for each job the ways to run it once, from start to end.

A tick is the greatest common divisor of every length and instant that matters, in whole
microseconds, so that nothing is rounded: an optimum on ticks is an optimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Allocation, Placement
from scheduler.core.units import US_PER_S, us_from_s

Span = tuple[int, int]
"""Half-open interval in ticks."""

_SHOWN = 20
"""Jobs named in one message."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a job: a mode within one domain.

    Parameters
    ----------
    mode : int
        Position in `Problem.modes` of the job's class.
    nodes : tuple of int
        Nodes it may use; a gang of level 0 has one.
    duration : int
        Ticks from start to end, the restart included.
    """

    mode: int
    nodes: tuple[int, ...]
    duration: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A job's one allocation, in ticks."""

    mode: int
    start: int
    end: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class Instance:
    """What an offline schedule decides on.

    Parameters
    ----------
    problem : Problem
        What it was made from.
    tick_us : int
        Length of a tick.
    jobs : tuple of int
        Jobs to plan: those with a mode.
    release : mapping of int to int
        First tick at which a job may start.
    ways : mapping of int to tuple of (int, tuple of int)
        By class, (mode, nodes of one domain) that could hold a gang of it.
    lengths : mapping of int to mapping of int to int
        By job, ticks from start to end by mode; never empty.
    downs, drains : mapping of int to tuple of Span
        By node, when it is down, and when nothing new starts there.
    after : mapping of int to tuple of int
        By job, those that end before it starts.
    horizon : int
        By then some best schedule has ended, whatever the objective.
    due : mapping of int to int
        By job, the last tick at which it may end; jobs that are missing may end at any time.
    owner : mapping of int to int
        Where a job was cut into parts that run one after another: the job of each part. A
        part is planned like a job of its own; one that is missing here is a job.
    share : mapping of int to float
        Work of each part.
    inner : set of int
        Parts that are not the last of their job.
    """

    problem: Problem
    tick_us: int
    jobs: tuple[int, ...]
    release: Mapping[int, int]
    ways: Mapping[int, tuple[tuple[int, tuple[int, ...]], ...]]
    lengths: Mapping[int, Mapping[int, int]]
    downs: Mapping[int, tuple[Span, ...]]
    drains: Mapping[int, tuple[Span, ...]]
    after: Mapping[int, tuple[int, ...]]
    horizon: int
    due: Mapping[int, int] = field(default_factory=dict)
    owner: Mapping[int, int] = field(default_factory=dict)
    share: Mapping[int, float] = field(default_factory=dict)
    inner: Set[int] = frozenset()

    def job_of(self, unit: int) -> int:
        """Return the job that a part belongs to; a job is its own."""
        return self.owner.get(unit, unit)

    def class_of(self, unit: int) -> int:
        """Return the class of a job or part."""
        return int(self.problem.workload.jobs.class_index[self.job_of(unit)])

    def finals(self) -> tuple[int, ...]:
        """Return the jobs, or their last parts: those whose end completes a job."""
        return tuple(unit for unit in self.jobs if unit not in self.inner)

    def mode(self, job: int, index: int) -> Mode:
        """Return a mode of a job."""
        return self.problem.modes[self.class_of(job)][index]

    def choices(self, job: int, among: Set[int] | None = None) -> list[Choice]:
        """Return the ways to run a job, on all nodes or only on those of `among`."""
        lengths = self.lengths[job]
        found = []
        for m, nodes in self.ways[self.class_of(job)]:
            if m in lengths:
                some = nodes if among is None else tuple(n for n in nodes if n in among)
                if some:
                    found.append(Choice(m, some, lengths[m]))
        return found

    def allocations(self, plan: Mapping[int, Planned]) -> tuple[Allocation, ...]:
        """Return a plan as allocations in whole microseconds, by (end, job).

        Of a job in parts, each but the last runs at full rate to its end, and the last does
        what is left, so that it may end a microsecond or so before its tick.
        """
        left = dict(enumerate(self.problem.workload.jobs.work.tolist()))
        rows = []
        for unit, planned in sorted(plan.items(), key=lambda item: (item[1].start, item[0])):
            job, mode = self.job_of(unit), self.mode(unit, planned.mode)
            restart_us = us_from_s(self.problem.workload.classes[self.class_of(unit)].restart_s)
            start_us, end_us = planned.start * self.tick_us, planned.end * self.tick_us
            done = left[job]
            if unit in self.owner:
                run_us = end_us - start_us - restart_us
                done = min(done, mode.rate * run_us / US_PER_S)
                need_us = math.ceil(done / mode.rate * US_PER_S - 1e-6)
                end_us = min(end_us, start_us + restart_us + max(1, need_us))
            left[job] -= done
            place = planned.placement
            rows.append(
                Allocation(job, planned.mode, start_us, end_us, restart_us, done, 0.0, place)
            )
        return tuple(sorted(rows, key=lambda a: (a.end_us, a.job)))

    def plan_of(self, allocations: Iterable[Allocation]) -> dict[int, Planned] | None:
        """Return allocations as a plan; None unless each job runs once, and at its own length."""
        plan: dict[int, Planned] = {}
        for a in allocations:
            start, left = divmod(a.start_us, self.tick_us)
            length, more = divmod(a.end_us - a.start_us, self.tick_us)
            due = self.lengths.get(a.job, {}).get(a.mode)
            if left or more or a.job in plan or length != due:
                return None
            plan[a.job] = Planned(a.mode, start, start + length, a.placement)
        return plan if len(plan) == len(self.jobs) else None


def build_instance(problem: Problem, *, meet_deadlines: bool = False) -> Instance:
    """Put a problem on ticks.

    Parameters
    ----------
    problem : Problem
        Without services; its random failures are left out.
    meet_deadlines : bool
        Whether no job may end after its deadline.

    Raises
    ------
    InfeasibleError
        Naming the jobs that can never run, and why, where their classes have a mode.
    """
    workload = problem.workload
    columns = workload.jobs
    jobs = [j for j, c in enumerate(columns.class_index.tolist()) if problem.modes[c]]
    ways = {c: _ways(problem, c) for c in sorted({int(columns.class_index[j]) for j in jobs})}
    limits_s = columns.limit_s.tolist()
    lengths_us: dict[int, dict[int, int]] = {}
    reasons: dict[int, str] = {}
    for job in jobs:
        c = int(columns.class_index[job])
        limit_us = math.inf if math.isnan(limits_s[job]) else us_from_s(limits_s[job])
        alone_us = {m: duration_us(problem, job, m) for m, _ in ways[c]}
        lengths_us[job] = {m: length for m, length in alone_us.items() if length <= limit_us}
        if not alone_us:
            reasons[job] = "no mode of its class fits the nodes that carry its labels"
        elif not lengths_us[job]:
            least_s = min(alone_us.values()) / US_PER_S
            reasons[job] = f"runs for {least_s:g} s at best, its time limit is {limits_s[job]:g} s"
    after = {j: columns.after[j] for j in jobs if columns.after and columns.after[j]}
    for job in jobs:
        lost = [k for k in after.get(job, ()) if k not in lengths_us or k in reasons]
        if lost and job not in reasons:
            reasons[job] = f"needs {columns.ids[lost[0]]}, which can never run here"
    if reasons:
        lines = [f"job {columns.ids[job]} {reasons[job]}" for job in list(reasons)[:_SHOWN]]
        if len(reasons) > _SHOWN:
            lines.append(f"... and {len(reasons) - _SHOWN} more jobs that can never run")
        raise InfeasibleError("\n".join(lines))
    return _on_ticks(problem, jobs, ways, lengths_us, after, meet_deadlines)


def duration_us(problem: Problem, job: int, mode: int) -> int:
    """Return how long a job holds its accelerators if it runs once, in one mode."""
    c = int(problem.workload.jobs.class_index[job])
    work = float(problem.workload.jobs.work[job])
    run_us = math.ceil(work / problem.modes[c][mode].rate * US_PER_S - 1e-6)
    return us_from_s(problem.workload.classes[c].restart_s) + max(1, run_us)


def lay_out(mode: Mode, nodes: Sequence[int], types: Sequence[int], free: Mapping[int, int]) -> (
    Placement | None
):  # fmt: skip
    """Return a legal placement of a gang on `nodes` with `free` accelerators, or None.

    Parameters
    ----------
    mode : Mode
        What to place.
    nodes : sequence of int
        Those of one domain; one for a gang of level 0.
    types : sequence of int
        Type index by node.
    free : mapping of int to int
        Free accelerators by node.
    """
    taken: dict[int, int] = {}
    for group in mode.groups:
        mine = [n for n in nodes if types[n] == group.type_index]
        if mode.level == 0:
            if len(mine) != 1 or free[mine[0]] < group.count:
                return None
            taken[mine[0]] = group.count
        elif not _lay_group(group, mine, free, taken):
            return None
    held = tuple(sorted(taken))
    return Placement(held, tuple(taken[n] for n in held))


def _lay_group(
    group: Group, nodes: Sequence[int], free: Mapping[int, int], taken: dict[int, int]
) -> bool:
    whole, rest = divmod(group.count, group.per_node)
    left = {n: free[n] for n in nodes}
    if rest:  # into what whole slots leave over, else the smallest room there is
        fits = [n for n in nodes if left[n] >= rest]
        fits.sort(key=lambda n: (left[n] % group.per_node < rest, left[n], n))
        if not fits:
            return False
        left[fits[0]] -= rest
        taken[fits[0]] = rest
    for n in sorted(nodes, key=lambda n: (left[n], n)):
        slots = min(whole, left[n] // group.per_node)
        if slots:
            taken[n] = taken.get(n, 0) + slots * group.per_node
            whole -= slots
    return not whole


def node_types(problem: Problem) -> list[int]:
    """Return the type index of every node."""
    types = [0] * len(problem.cluster.nodes)
    for pool in problem.pools:
        for node in pool.nodes:
            types[node] = pool.type_index
    return types


def _ways(problem: Problem, class_index: int) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return every (mode, nodes of one domain) that could hold a gang of the class."""
    nodes = problem.cluster.nodes
    asked = set(problem.workload.classes[class_index].labels)
    types = node_types(problem)
    room = {n: node.count for n, node in enumerate(nodes) if asked <= set(node.labels)}
    found = []
    for m, mode in enumerate(problem.modes[class_index]):
        used = {g.type_index for g in mode.groups}
        areas: dict[int, list[int]] = {}
        for pool in problem.pools:
            if pool.type_index in used:
                for n in pool.nodes:
                    if n in room:
                        where = n if mode.level == 0 else pool.domains[mode.level - 1]
                        areas.setdefault(where, []).append(n)
        for where in sorted(areas):
            area = tuple(sorted(areas[where]))
            if lay_out(mode, area, types, room) is not None:
                found.append((m, area))
    return tuple(found)


def _on_ticks(
    problem: Problem,
    jobs: Sequence[int],
    ways: Mapping[int, tuple[tuple[int, tuple[int, ...]], ...]],
    lengths_us: Mapping[int, Mapping[int, int]],
    after: Mapping[int, tuple[int, ...]],
    meet_deadlines: bool,
) -> Instance:
    columns = problem.workload.jobs
    release_us = {j: us_from_s(float(columns.release_s[j])) for j in jobs}
    index = {node.id: n for n, node in enumerate(problem.cluster.nodes)}
    windows: dict[str, dict[int, list[tuple[int, int]]]] = {"down": {}, "drain": {}}
    for outage in problem.cluster.outages:
        end_us = -1 if math.isinf(outage.end_s) else us_from_s(outage.end_s)
        span = (us_from_s(outage.start_s), end_us)
        if span[0] != span[1]:
            windows[outage.kind].setdefault(index[outage.node], []).append(span)
    ends = [t for of in windows.values() for spans in of.values() for s in spans for t in s]
    deadlines_us = {
        j: us_from_s(float(columns.deadline_s[j]))
        for j in jobs
        if not math.isnan(columns.deadline_s[j])
    }
    lengths = [length for of in lengths_us.values() for length in of.values()]
    whole = [*release_us.values(), *(t for t in ends if t >= 0), *deadlines_us.values(), *lengths]
    tick_us = int(np.gcd.reduce(np.array(whole, dtype=np.int64))) if whole else 1
    longest = sum(max(of.values()) for of in lengths_us.values())
    horizon = (max([0, *release_us.values(), *ends]) + longest) // tick_us

    def on_ticks(kind: str) -> dict[int, tuple[Span, ...]]:
        return {
            n: tuple((a // tick_us, horizon + 1 if b < 0 else b // tick_us) for a, b in spans)
            for n, spans in sorted(windows[kind].items())
        }

    return Instance(
        problem,
        tick_us,
        tuple(jobs),
        {j: at // tick_us for j, at in release_us.items()},
        ways,
        {j: {m: us // tick_us for m, us in of.items()} for j, of in lengths_us.items()},
        on_ticks("down"),
        on_ticks("drain"),
        after,
        horizon,
        {j: at // tick_us for j, at in deadlines_us.items()} if meet_deadlines else {},
    )
