"""What is to be executed: gangs with their nodes and times, squeezed by a speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, ReplicaAllocation, Run
from scheduler.core.units import US_PER_S


@dataclass(frozen=True, slots=True)
class Gang:
    """One allocation: a job or a replica on its nodes, for a while.

    Parameters
    ----------
    name : str
        Job or service, for messages.
    nodes, counts : tuple of int
        Positions of its nodes in `Plan.nodes`, and accelerators held on each.
    start_s, end_s : float
        Real time from the start of the execution.
    handover : bool
        Whether it needs accelerators that another gang holds until the very same instant.
    """

    name: str
    nodes: tuple[int, ...]
    counts: tuple[int, ...]
    start_s: float
    end_s: float
    handover: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Gangs on nodes.

    Parameters
    ----------
    nodes : tuple of str
        Node ids.
    sizes : tuple of int
        Accelerators of each node.
    gangs : tuple of Gang
        By start.
    end_s : float
        Real time after which nothing counts.
    """

    nodes: tuple[str, ...]
    sizes: tuple[int, ...]
    gangs: tuple[Gang, ...]
    end_s: float

    def peak(self) -> int:
        """Return the most members (gang times node) that are on at once."""
        changes = [(g.start_s, len(g.nodes)) for g in self.gangs]
        changes += [(g.end_s, -len(g.nodes)) for g in self.gangs]
        most = now = 0
        for _, change in sorted(changes):  # ends before starts: -n sorts first
            now += change
            most = max(most, now)
        return most


def plan_of(problem: Problem, run: Run, speed: float) -> Plan:
    """Return what `run` did in the period of its ledger, `speed` times as fast.

    Raises
    ------
    InputError
        The run holds nothing or shares accelerators, or names nodes or jobs that the problem
        lacks.
    """
    nodes = problem.cluster.nodes
    jobs, services = problem.workload.jobs.ids, problem.workload.services
    scale = US_PER_S * speed
    held: list[tuple[str, Allocation | ReplicaAllocation]] = []
    try:
        held += [(jobs[a.job], a) for a in run.allocations]
        held += [(services[r.service].name, r) for r in run.replicas]
        if any(not 0 <= n < len(nodes) for _, a in held for n in a.placement.nodes):
            raise IndexError
    except IndexError:
        message = "names a job, service or node that the inputs lack"
        raise InputError([Fault(message, "the run")]) from None
    if any(a.placement.device >= 0 for _, a in held):
        message = "shares accelerators, and gangs are played on whole ones"
        raise InputError([Fault(message, "the run", allowed="a run of whole accelerators")])
    gangs = [
        Gang(
            name,
            a.placement.nodes,
            a.placement.counts,
            a.start_us / scale,
            min(a.end_us, run.ledger_end_us) / scale,
        )
        for name, a in held
        if a.start_us < min(a.end_us, run.ledger_end_us)
    ]
    if not gangs:
        raise InputError([Fault("holds no allocation in the period of its ledger", "the run")])
    gangs.sort(key=lambda g: (g.start_s, g.end_s, g.name))
    sizes = tuple(n.count for n in nodes)
    ids = tuple(n.id for n in nodes)
    return Plan(ids, sizes, with_handovers(gangs, sizes), run.ledger_end_us / scale)


def with_handovers(gangs: Sequence[Gang], sizes: Sequence[int]) -> tuple[Gang, ...]:
    """Return `gangs`, given by start, with `handover` set where it applies."""
    ends: list[list[tuple[float, int]]] = [[] for _ in sizes]
    marked = []
    for gang in gangs:
        tight = False
        for node, count in zip(gang.nodes, gang.counts, strict=True):
            # What ends before this start is long gone; what ends just now is still being let go.
            ends[node] = [(end, n) for end, n in ends[node] if end >= gang.start_s]
            tight |= sum(n for _, n in ends[node]) + count > sizes[node]
            ends[node].append((gang.end_s, count))
        marked.append(
            Gang(gang.name, gang.nodes, gang.counts, gang.start_s, gang.end_s, handover=tight)
        )
    return tuple(marked)


def null_plan(plan: Plan, *, nodes: int = 4, links: int = 5, hold_s: float = 0.15) -> Plan:
    """Return chains of short gangs that measure how long Ray takes to start one.

    Each chain takes a whole node over and over: its first gang finds the node free, each
    further one waits for the one before to let go.
    """
    used = range(min(nodes, len(plan.nodes)))
    gangs = [
        Gang("null", (n,), (plan.sizes[n],), (i + 1) * hold_s, (i + 2) * hold_s, handover=i > 0)
        for i in range(links)
        for n in used
    ]
    return Plan(plan.nodes, plan.sizes, tuple(gangs), (links + 1) * hold_s)
