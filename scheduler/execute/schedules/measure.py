"""What the workers' clocks say: idle time by type, Ray's own share of it, gangs whole or not."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.core.ledger import IDLE_CAUSES, Cause, Ledger
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute.schedules.plan import Plan

POINTS: Final = 2.0
"""Difference between measured and simulated idle share, in points, that is accepted."""


@dataclass(frozen=True, slots=True)
class Member:
    """One gang on one node, as its worker saw it.

    Parameters
    ----------
    gang : int
        Position in `Plan.gangs`.
    node, count : int
        Position of the node, and accelerators held on it.
    start_s, end_s : float
        From the start of the execution, by the worker's monotonic clock.
    process : int
        Id of the worker process.
    """

    gang: int
    node: int
    count: int
    start_s: float
    end_s: float
    process: int


@dataclass(frozen=True, slots=True)
class Latency:
    """What Ray takes to start a gang, in seconds, measured by gangs that do nothing.

    Parameters
    ----------
    free_s, handover_s : float
        Median on free accelerators, and where another gang lets go at that very instant.
    worst_s : float
        Longest of both.
    samples : int
        How many were measured.
    """

    free_s: float
    handover_s: float
    worst_s: float
    samples: int


@dataclass(frozen=True, slots=True)
class TypeIdle:
    """Idle share of one accelerator type, all as shares of its time in the period.

    Parameters
    ----------
    name : str
        Type, or ``fleet`` for all.
    simulated : float
        By the run's ledger.
    raw : float
        Measured: all but held and down time.
    latency : float
        Part of `raw` in which gangs waited for Ray, as its null gangs measure it.
    """

    name: str
    simulated: float
    raw: float
    latency: float

    @property
    def measured(self) -> float:
        """Measured idle share less Ray's own latency."""
        return self.raw - self.latency

    @property
    def points(self) -> float:
        """Measured less simulated, in points."""
        return 100 * (self.measured - self.simulated)


@dataclass(frozen=True, slots=True)
class Execution:
    """An executed schedule.

    Parameters
    ----------
    speed : float
        Simulated over real time.
    seconds : float
        Real time played.
    idle : tuple of TypeIdle
        By accelerator type; the whole fleet last.
    latency : Latency
        Ray's own.
    lateness_s : tuple of float
        Median, 99th percentile and maximum of actual less planned start.
    spread_s : float
        Longest time between the starts of two members of one gang.
    gangs, handovers : int
        How many, and how many of them took over from another at once.
    short : int
        Gangs shorter than Ray takes to start one, at this speed.
    members : tuple of Member
        The workers' log.
    faults : tuple of str
        Gangs that were not whole, accelerators held twice; empty if all is well.
    leaked : int
        Placement groups that Ray still held afterwards.
    """

    speed: float
    seconds: float
    idle: tuple[TypeIdle, ...]
    latency: Latency
    lateness_s: tuple[float, float, float]
    spread_s: float
    gangs: int
    handovers: int
    short: int
    members: tuple[Member, ...]
    faults: tuple[str, ...]
    leaked: int

    @property
    def agrees(self) -> bool:
        """Whether gangs were whole, nothing leaked, and idle time is that of the simulator."""
        close = all(abs(row.points) <= POINTS for row in self.idle)
        return close and not self.faults and not self.leaked


def latency_of(plan: Plan, members: Sequence[Member]) -> tuple[list[float], list[float]]:
    """Return how late each gang's last member started: those on free nodes, and handovers."""
    free: list[float] = []
    handed: list[float] = []
    for index, start_s in enumerate(_starts(plan, members)):
        gang = plan.gangs[index]
        (handed if gang.handover else free).append(max(0.0, start_s - gang.start_s))
    return free, handed


def drawn_together(free: Sequence[float], handed: Sequence[float]) -> Latency:
    """Return the medians of null gangs' latencies."""
    return Latency(
        statistics.median(free),
        statistics.median(handed),
        max(*free, *handed),
        len(free) + len(handed),
    )


def idle_by_type(
    problem: Problem, run: Run, plan: Plan, members: Sequence[Member], latency: Latency
) -> tuple[TypeIdle, ...]:
    """Return simulated and measured idle shares by type, and of the fleet."""
    types = [node.accelerator for node in problem.cluster.nodes]
    held = dict.fromkeys(problem.types, 0.0)
    waits = dict.fromkeys(problem.types, 0.0)
    for m in members:
        held[types[m.node]] += m.count * max(0.0, min(m.end_s, plan.end_s) - m.start_s)
    for gang in plan.gangs:
        ray_s = latency.handover_s if gang.handover else latency.free_s
        for node, count in zip(gang.nodes, gang.counts, strict=True):
            waits[types[node]] += count * min(ray_s, gang.end_s - gang.start_s)
    rows = []
    whole = {"capacity": 0.0, "idle": 0.0, "raw": 0.0, "waits": 0.0}
    for name, accelerators in zip(problem.types, problem.capacity(), strict=True):
        capacity = accelerators * plan.end_s
        if not capacity:
            continue
        idle_share, down_share = _shares(run.ledger, name)
        raw = capacity - held[name] - down_share * capacity
        rows.append(TypeIdle(name, idle_share, raw / capacity, waits[name] / capacity))
        parts = (capacity, idle_share * capacity, raw, waits[name])
        whole = {k: v + part for (k, v), part in zip(whole.items(), parts, strict=True)}
    total = whole["capacity"]
    fleet = TypeIdle("fleet", whole["idle"] / total, whole["raw"] / total, whole["waits"] / total)
    return (*rows, fleet)


def _shares(ledger: Ledger, name: str) -> tuple[float, float]:
    """Return the idle and the down share of a type in the simulator's ledger."""
    row = ledger.by_type()[name]
    total = math.fsum(row.values())
    idle = math.fsum(row[c.label] for c in IDLE_CAUSES)
    return (idle / total, row[Cause.DOWN.label] / total) if total else (0.0, 0.0)


def lateness_of(plan: Plan, members: Sequence[Member]) -> list[float]:
    """Return by gang, ascending, how late its last member started."""
    starts = _starts(plan, members)
    return sorted(s - g.start_s for s, g in zip(starts, plan.gangs, strict=True))


def spread_of(plan: Plan, members: Sequence[Member]) -> float:
    """Return the longest time between the first and the last start within one gang."""
    first = [math.inf] * len(plan.gangs)
    for m in members:
        first[m.gang] = min(first[m.gang], m.start_s)
    return max(
        (last - s for s, last in zip(first, _starts(plan, members), strict=True)), default=0.0
    )


def faults_of(plan: Plan, members: Sequence[Member]) -> list[str]:
    """Check the workers' log: every gang whole, no accelerator held twice."""
    faults = []
    by_gang: list[list[Member]] = [[] for _ in plan.gangs]
    for m in members:
        by_gang[m.gang].append(m)
    for gang, found in zip(plan.gangs, by_gang, strict=True):
        wanted = sorted(zip(gang.nodes, gang.counts, strict=True))
        if sorted((m.node, m.count) for m in found) != wanted:
            faults.append(f"gang {gang.name}: {len(found)} of {len(wanted)} members ran")
            continue
        last_start_s = max(m.start_s for m in found)
        # One that its latency has outlived has nothing left to be on for.
        if last_start_s >= min(m.end_s for m in found) and last_start_s < gang.end_s:
            faults.append(f"gang {gang.name}: its members were not on at the same time")
    for node, size in enumerate(plan.sizes):
        changes = [(m.start_s, m.count) for m in members if m.node == node]
        changes += [(m.end_s, -m.count) for m in members if m.node == node]
        now = 0
        for at_s, change in sorted(changes):
            now += change
            if now > size:
                faults.append(f"node {plan.nodes[node]}: {now} of {size} held at {at_s:.3f} s")
                break
    return faults


def _starts(plan: Plan, members: Sequence[Member]) -> list[float]:
    """Return by gang when its last member started."""
    last = [-math.inf] * len(plan.gangs)
    for m in members:
        last[m.gang] = max(last[m.gang], m.start_s)
    return last
