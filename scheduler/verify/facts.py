"""What the rules look up: nodes, sites and outages, read off the declared cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Allocation, Crash, Down, Placement, ReplicaAllocation, Violation
from scheduler.core.units import US_PER_S, s_from_us, us_from_s

Span = tuple[int, int]
"""Half-open interval in microseconds."""

RELATIVE = 1e-9
"""Relative tolerance on sums of floats."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A job or a replica that holds accelerators: an allocation with its look-ups done.

    Parameters
    ----------
    who : str
        Job id, or ``"replica of <service>"``.
    job, service : int
        Position in the workload; -1 for the one it is not.
    mode : Mode
        How it runs.
    start_us, end_us, overhead_us : int
        As recorded.
    least_overhead_us : int
        What a start of its class or service costs.
    placement : Placement
        Where.
    work, lost_work : float
        As recorded (0 for replicas).
    """

    who: str
    job: int
    service: int
    mode: Mode
    start_us: int
    end_us: int
    overhead_us: int
    least_overhead_us: int
    placement: Placement
    work: float = 0.0
    lost_work: float = 0.0

    @property
    def run_us(self) -> int:
        """Time after the overhead."""
        return self.end_us - self.start_us - self.overhead_us

    @property
    def held(self) -> Iterable[tuple[int, int]]:
        """Pairs of node and accelerators held there."""
        return zip(self.placement.nodes, self.placement.counts, strict=True)


@dataclass(frozen=True, slots=True)
class Facts:
    """A problem as the rules need it. Node tables are indexed by node.

    Parameters
    ----------
    problem : Problem
        What is checked against.
    end_us : int
        Last instant that counts.
    node_ids : tuple of str
        Names.
    node_size, node_type, node_pool, node_site : tuple of int
        Accelerators, position in `Problem.types`, `Problem.pools` and `Cluster.sites`.
    downs : tuple of tuple of Span
        Disjoint, ascending, cut at `end_us`.
    release_us : tuple of int
        By job, rounded up.
    partial : tuple of tuple of Down
        By node, accelerators out of use while the node is on, as recorded.
    drains : tuple of tuple of Span
        By node, when it is emptied.
    crashes : frozenset of (int, int)
        Job and instant.
    """

    problem: Problem
    end_us: int
    node_ids: tuple[str, ...]
    node_size: tuple[int, ...]
    node_type: tuple[int, ...]
    node_pool: tuple[int, ...]
    node_site: tuple[int, ...]
    downs: tuple[tuple[Span, ...], ...]
    release_us: tuple[int, ...]
    partial: tuple[tuple[Down, ...], ...] = ()
    drains: tuple[tuple[Span, ...], ...] = ()
    crashes: frozenset[tuple[int, int]] = frozenset()

    def job_id(self, job: int) -> str:
        """Return a job's name, or its number where it has none."""
        ids = self.problem.workload.jobs.ids
        return ids[job] if 0 <= job < len(ids) else f"#{job}"

    def node_id(self, node: int) -> str:
        """Return a node's name, or its number where it has none."""
        return self.node_ids[node] if 0 <= node < len(self.node_ids) else f"#{node}"

    def went_down(self, hold: Hold) -> bool:
        """Return whether a failure or a crash ended the hold."""
        if (hold.job, hold.end_us) in self.crashes:
            return True
        return any(
            start == hold.end_us for node in hold.placement.nodes for start, _ in self.downs[node]
        )


def gather(
    problem: Problem, end_us: int, downs: Sequence[Down], crashes: Iterable[Crash] = ()
) -> Facts:
    """Collect the facts of `problem`, with the failures that happened.

    Parameters
    ----------
    problem : Problem
        Cluster, workload, modes.
    end_us : int
        Horizon.
    downs : sequence of Down
        From the run; declared outages are added. Entries for unknown nodes are left out
        (the rule ``unknown_node`` reports them).
    crashes : iterable of Crash
        From the run.
    """
    cluster = problem.cluster
    nodes = cluster.nodes
    type_of = {name: t for t, name in enumerate(problem.types)}
    site_of = {site.name: s for s, site in enumerate(cluster.sites)}
    node_pool = [-1] * len(nodes)
    for p, pool in enumerate(problem.pools):
        for node in pool.nodes:
            if 0 <= node < len(nodes):
                node_pool[node] = p
    spans: list[list[Span]] = [[] for _ in nodes]
    index = {node.id: i for i, node in enumerate(nodes)}
    drains: list[list[Span]] = [[] for _ in nodes]
    for outage in cluster.outages:
        known = drains if outage.kind == "drain" else spans
        known[index[outage.node]].append(
            (us_from_s(outage.start_s), _us_or_end(outage.end_s, end_us))
        )
    partial: list[list[Down]] = [[] for _ in nodes]
    for down in downs:
        if not 0 <= down.node < len(nodes):
            continue
        if down.count:
            partial[down.node].append(down)
        else:
            spans[down.node].append((down.start_us, down.end_us))
    return Facts(
        problem=problem,
        end_us=end_us,
        node_ids=tuple(node.id for node in nodes),
        node_size=tuple(node.count for node in nodes),
        node_type=tuple(type_of.get(node.accelerator, -1) for node in nodes),
        node_pool=tuple(node_pool),
        node_site=tuple(site_of[pod.site] for pod in cluster.pods for _ in pod.nodes),
        downs=tuple(merged(s, end_us) for s in spans),
        release_us=tuple(us_from_s(r) for r in problem.workload.jobs.release_s.tolist()),
        partial=tuple(tuple(p) for p in partial),
        drains=tuple(merged(s, end_us) for s in drains),
        crashes=frozenset((c.job, c.at_us) for c in crashes),
    )


def merged(spans: Iterable[Span], end_us: int) -> tuple[Span, ...]:
    """Return the union of `spans` within ``[0, end_us)`` as disjoint ascending intervals."""
    out: list[Span] = []
    for start, end in sorted((max(0, a), min(b, end_us)) for a, b in spans):
        if start >= end:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)


def holds_of(
    problem: Problem,
    end_us: int,
    allocations: Sequence[Allocation],
    replicas: Sequence[ReplicaAllocation] = (),
) -> tuple[list[Hold], list[Violation]]:
    """Return what can be looked up, and a violation for everything that cannot.

    Parameters
    ----------
    problem : Problem
        Where to look it up.
    end_us : int
        Horizon; nothing may be held after it.
    allocations, replicas : sequence
        As recorded.

    Returns
    -------
    holds : list of Hold
        In the order given, jobs first; entries that name something unknown, or whose
        placement or interval has no meaning, are left out.
    violations : list of Violation
        Codes ``unknown_job``, ``unknown_service``, ``unknown_mode``, ``unknown_node``,
        ``placement``, ``interval``, ``number``.
    """
    workload = problem.workload
    jobs = workload.jobs
    classes = jobs.class_index.tolist()
    restart = [us_from_s(c.restart_s) for c in workload.classes]
    load = [us_from_s(s.load_s) for s in workload.services]
    node_count = len(problem.cluster.nodes)
    holds: list[Hold] = []
    bad: list[Violation] = []
    for a in allocations:
        at_s = s_from_us(a.start_us)
        if not 0 <= a.job < len(jobs):
            bad.append(Violation("unknown_job", f"no job {a.job}", f"#{a.job}", "", at_s))
            continue
        who, c = jobs.ids[a.job], int(classes[a.job])
        fault = _malformed(problem.modes[c], a, who, node_count, end_us)
        if fault is None and not (math.isfinite(a.work) and math.isfinite(a.lost_work)):
            fault = Violation("number", f"work {a.work!r}, lost {a.lost_work!r}", who, "", at_s)
        if fault is not None:
            bad.append(fault)
            continue
        mode = problem.modes[c][a.mode]
        holds.append(
            Hold(who, a.job, -1, mode, a.start_us, a.end_us, a.overhead_us, restart[c],
                 a.placement, a.work, a.lost_work)
        )  # fmt: skip
    for r in replicas:
        if not 0 <= r.service < len(workload.services):
            text = f"no service {r.service}"
            bad.append(Violation("unknown_service", text, "", "", s_from_us(r.start_us)))
            continue
        who = f"replica of {workload.services[r.service].name}"
        fault = _malformed(problem.service_modes[r.service], r, who, node_count, end_us)
        if fault is not None:
            bad.append(fault)
            continue
        mode = problem.service_modes[r.service][r.mode]
        holds.append(
            Hold(who, -1, r.service, mode, r.start_us, r.end_us, r.overhead_us, load[r.service],
                 r.placement)
        )  # fmt: skip
    return holds, bad


def _malformed(
    modes: Sequence[Mode],
    entry: Allocation | ReplicaAllocation,
    who: str,
    node_count: int,
    end_us: int,
) -> Violation | None:
    """Return why `entry` cannot be looked up, or None."""
    at_s = s_from_us(entry.start_us)
    nodes, counts = entry.placement.nodes, entry.placement.counts
    if not 0 <= entry.mode < len(modes):
        return Violation("unknown_mode", f"mode {entry.mode} of {len(modes)}", who, "", at_s)
    for node in nodes:
        if not 0 <= node < node_count:
            return Violation("unknown_node", f"node {node} of {node_count}", who, f"#{node}", at_s)
    ascending = all(a < b for a, b in pairwise(nodes))
    if not nodes or len(nodes) != len(counts) or not ascending or min(counts) <= 0:
        text = f"nodes {nodes} with counts {counts}: each node once, ascending, positive counts"
        return Violation("placement", text, who, "", at_s)
    if not 0 <= entry.start_us < entry.end_us:
        text = f"[{entry.start_us}, {entry.end_us}) us is not a time interval from 0 on"
        return Violation("interval", text, who, "", at_s)
    if entry.end_us > end_us:
        text = f"ends {entry.end_us - end_us} us after the horizon"
        return Violation("interval", text, who, "", at_s)
    if not 0 <= entry.overhead_us <= entry.end_us - entry.start_us:
        text = f"overhead of {entry.overhead_us} us outside its interval"
        return Violation("interval", text, who, "", at_s)
    return None


def _us_or_end(seconds: float, end_us: int) -> int:
    return us_from_s(seconds) if seconds * US_PER_S < end_us else end_us
