"""What takes nodes out of use: failures of node, accelerator and switch, outages, drains.

A node is *closed* while anything takes it down or drains it. While it is open, the
accelerators that failed on it are withheld one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.run import Crash, Down
from scheduler.core.units import us_from_s
from scheduler.simulate.clock import Clock, Kind
from scheduler.simulate.ground import Ground
from scheduler.simulate.jobs import JobBook
from scheduler.simulate.replicas import ReplicaBook


class Reason:
    """Why something is out of use: the detail of an event; its subject is in brackets."""

    OUTAGE: Final = 0  # known in advance (node)
    NODE: Final = 1  # (node)
    DRAIN: Final = 2  # known in advance (node)
    ACCELERATOR: Final = 3  # (node)
    SWITCH: Final = 4  # (position in the list of switches)


@dataclass(slots=True)
class _NodeState:
    """Overlapping reasons are counted; `since_us` is meant for what they began."""

    downs: int = 0
    down_since_us: int = 0
    drains: int = 0
    drained: int = 0  # accelerators that nothing holds any more on a node being emptied
    drained_since_us: int = 0
    failed_since_us: list[int] = field(default_factory=list)  # by failed accelerator


@dataclass(frozen=True, slots=True)
class _Unit:
    """Accelerators of a node that are held together, and by whom."""

    count: int
    jobs: list[int]
    replicas: list[int]


class NodeBook:
    """Failures and repairs, and the log of what was out of use.

    Parameters
    ----------
    problem : Problem
        Known outages and the law of failures.
    ground, clock, jobs, replicas
        What a failure changes.
    seed : int
        Seed of the failures.
    """

    def __init__(
        self,
        problem: Problem,
        ground: Ground,
        clock: Clock,
        jobs: JobBook,
        replicas: ReplicaBook,
        seed: int,
    ) -> None:
        cluster = problem.cluster
        self._model = cluster.failures
        self._outages = cluster.outages
        self._reservations = cluster.reservations
        self._index = {node.id: i for i, node in enumerate(cluster.nodes)}
        self._size = [node.count for node in cluster.nodes]
        self._switches = [
            sorted(node for p in domain.pools for node in problem.pools[p].nodes)
            for domain in problem.domains
            if domain.level == 1
        ]
        self._ground = ground
        self._clock = clock
        self._jobs = jobs
        self._replicas = replicas
        self._draws = {
            Reason.NODE: stream(seed, "failures"),
            Reason.ACCELERATOR: stream(seed, "accelerator-failures"),
            Reason.SWITCH: stream(seed, "switch-failures"),
        }
        self._states: dict[int, _NodeState] = {}
        self.log: list[Down] = []

    def schedule(self) -> None:
        """Push what is known in advance, and the first failure of everything that may fail."""
        push = self._clock.push
        for outage in self._outages:
            node = self._index[outage.node]
            reason = Reason.DRAIN if outage.kind == "drain" else Reason.OUTAGE
            push(us_from_s(outage.start_s), Kind.FAIL, node, reason)
            push(us_from_s(outage.end_s), Kind.REPAIR, node, reason)
        for number, reservation in enumerate(self._reservations):
            push(us_from_s(reservation.start_s), Kind.RESERVE, number, 1)
            push(us_from_s(reservation.end_s), Kind.RESERVE, number, 0)
        for node in range(len(self._size)):
            self._schedule_failure(Reason.NODE, node)
        for node in range(len(self._size)):
            self._schedule_failure(Reason.ACCELERATOR, node)
        for switch in range(len(self._switches)):
            self._schedule_failure(Reason.SWITCH, switch)

    def _schedule_failure(self, reason: int, subject: int) -> None:
        mean_s = {
            Reason.NODE: self._model.node_mtbf_s,
            Reason.ACCELERATOR: self._model.accelerator_mtbf_s,
            Reason.SWITCH: self._model.switch_mtbf_s,
        }[reason]
        if not math.isfinite(mean_s):
            return
        if reason == Reason.ACCELERATOR:
            mean_s /= self._size[subject]  # the first of the node's accelerators to fail
        after_s = float(self._draws[reason].exponential(mean_s))
        self._clock.push(self._clock.now_us + us_from_s(after_s), Kind.FAIL, subject, reason)

    def _schedule_repair(self, reason: int, subject: int) -> None:
        median_s = {
            Reason.NODE: self._model.repair_s,
            Reason.ACCELERATOR: self._model.accelerator_repair_s,
            Reason.SWITCH: self._model.switch_repair_s,
        }[reason]
        draw = float(self._draws[reason].standard_normal())
        repair_us = us_from_s(median_s * math.exp(self._model.repair_sigma * draw))
        self._clock.push(self._clock.now_us + max(1, repair_us), Kind.REPAIR, subject, reason)

    # --- events ------------------------------------------------------------------

    def fail(self, subject: int, reason: int) -> None:
        """Something goes out of use."""
        if reason == Reason.DRAIN:
            self._drain(subject)
        elif reason == Reason.ACCELERATOR:
            self._fail_accelerator(subject)
        elif reason == Reason.OUTAGE:
            self._take_down(subject)
        else:
            self._schedule_repair(reason, subject)
            for node in self._nodes_of(subject, reason):
                self._take_down(node)

    def repair(self, subject: int, reason: int) -> None:
        """One reason for something to be out of use is gone."""
        if reason == Reason.DRAIN:
            state = self._states[subject]
            state.drains -= 1
            self._settle(subject, state)
        elif reason == Reason.ACCELERATOR:
            self._repair_accelerator(subject)
        else:
            if reason != Reason.OUTAGE:
                self._schedule_failure(reason, subject)
            for node in self._nodes_of(subject, reason):
                self._bring_up(node)

    def reserve(self, reservation: int, on: int) -> None:
        """A reservation begins (`on` 1) or ends."""
        access = self._jobs.access
        assert access is not None, "a problem with reservations is guarded"
        access.reserve(reservation, on=bool(on))
        if not on:
            return
        self._jobs.ended += 1
        for job in access.intruders(reservation):
            if self._jobs.preemptible(job):
                self._jobs.stop(job)
        nodes = {self._index[name] for name in self._reservations[reservation].nodes}
        for number in [
            n for n, r in self._replicas.running.items() if nodes & set(r.placement.nodes)
        ]:
            self._replicas.stop(number)

    def settle_returned(self) -> None:
        """Withhold what was released on nodes that are being emptied."""
        returned = self._ground.occupancy.returned
        for node in dict.fromkeys(returned):
            state = self._states.get(node)
            if state is not None:
                self._settle(node, state)
        returned.clear()

    def _nodes_of(self, subject: int, reason: int) -> list[int]:
        return self._switches[subject] if reason == Reason.SWITCH else [subject]

    # --- whole nodes -------------------------------------------------------------

    def _take_down(self, node: int) -> None:
        state = self._states.setdefault(node, _NodeState())
        state.downs += 1
        if state.downs > 1:
            return
        self._jobs.ended += 1
        self._lose(node, range(self._size[node]))
        self._write_failed(node, state)
        self._settle(node, state)
        state.down_since_us = self._clock.now_us

    def _bring_up(self, node: int) -> None:
        state = self._states[node]
        state.downs -= 1
        if state.downs:
            return
        self._write(self.log, Down(node, state.down_since_us, self._clock.now_us))
        state.failed_since_us = [self._clock.now_us] * len(state.failed_since_us)
        self._settle(node, state)

    def _drain(self, node: int) -> None:
        state = self._states.setdefault(node, _NodeState())
        state.drains += 1
        self._settle(node, state)

    def _settle(self, node: int, state: _NodeState) -> None:
        """Open or close a node as its state says, and keep the log of what is drained."""
        now_us = self._clock.now_us
        occupancy = self._ground.occupancy
        closed = bool(state.downs or state.drains)
        usable = self._size[node] - len(state.failed_since_us) - self._held(node)
        if closed and node not in occupancy.down:
            occupancy.set_down(node)
        elif not closed and node in occupancy.down:
            occupancy.set_up(node, usable)
        drained = usable if state.drains and not state.downs else 0
        if drained != state.drained:
            self._write_drained(self.log, node, state)
            state.drained, state.drained_since_us = drained, now_us

    def _held(self, node: int) -> int:
        return sum(unit.count for unit in self._units(node))

    def _units(self, node: int) -> list[_Unit]:
        """Return what is held of a node: jobs in order of start, those of one device together."""
        units: list[_Unit] = []
        shared: dict[int, _Unit] = {}
        for job, running in self._jobs.running.items():
            place = running.placement
            if node not in place.nodes:
                continue
            if place.device in shared:
                shared[place.device].jobs.append(job)
                continue
            units.append(_Unit(place.counts[place.nodes.index(node)], [job], []))
            if place.device >= 0:
                shared[place.device] = units[-1]
        for number, replica in self._replicas.running.items():
            place = replica.placement
            if node in place.nodes:
                units.append(_Unit(place.counts[place.nodes.index(node)], [], [number]))
        return units

    def _lose(self, node: int, which: range) -> list[int]:
        """End the gangs and replicas that hold any of the node's accelerators in `which`.

        What is held comes first, in order of start; what is free or out of use comes last. An
        accelerator goes with all that share it. Returns the jobs among them that had begun
        before now.
        """
        first = 0
        jobs, replicas = self._jobs, self._replicas
        lost_jobs: list[int] = []
        lost_replicas: list[int] = []
        for unit in self._units(node):
            if which.start < first + unit.count and first < which.stop:
                lost_jobs += unit.jobs
                lost_replicas += unit.replicas
            first += unit.count
        now_us = self._clock.now_us
        struck = [job for job in lost_jobs if jobs.running[job].start_us < now_us]
        for job in lost_jobs:
            jobs.fail(job)
        for number in lost_replicas:
            replicas.stop(number)
        return struck

    # --- accelerators ------------------------------------------------------------

    def _fail_accelerator(self, node: int) -> None:
        """One of the node's accelerators fails; one that is out of use already stays so."""
        size = self._size[node]
        which = int(self._draws[Reason.ACCELERATOR].integers(size))
        self._schedule_failure(Reason.ACCELERATOR, node)
        state = self._states.setdefault(node, _NodeState())
        if state.downs or which >= size - len(state.failed_since_us):
            return
        self._schedule_repair(Reason.ACCELERATOR, node)
        self._jobs.ended += 1
        now_us = self._clock.now_us
        for job in self._lose(node, range(which, which + 1)):
            self._jobs.crashes.append(Crash(job, now_us, node))
        state.failed_since_us.append(self._clock.now_us)
        occupancy = self._ground.occupancy
        if node in occupancy.down:
            self._settle(node, state)
        else:
            occupancy.withhold(node, 1)

    def _repair_accelerator(self, node: int) -> None:
        state = self._states[node]
        since_us = state.failed_since_us.pop(0)
        if not state.downs:
            self._write(self.log, Down(node, since_us, self._clock.now_us, 1, "accelerator"))
        occupancy = self._ground.occupancy
        if node in occupancy.down:
            self._settle(node, state)
        else:
            occupancy.withhold(node, -1)

    # --- the log -----------------------------------------------------------------

    def _write(self, log: list[Down], down: Down) -> None:
        if down.end_us > down.start_us:
            log.append(down)

    def _write_failed(self, node: int, state: _NodeState) -> None:
        for since_us in state.failed_since_us:
            down = Down(node, since_us, self._clock.now_us, 1, "accelerator")
            self._write(self.log, down)

    def _write_drained(self, log: list[Down], node: int, state: _NodeState) -> None:
        if state.drained:
            since_us, now_us = state.drained_since_us, self._clock.now_us
            self._write(log, Down(node, since_us, now_us, state.drained, "drain"))

    def downs(self) -> list[Down]:
        """Return what was out of use so far, what still is cut at the present instant."""
        log = self.log.copy()
        now_us = self._clock.now_us
        for node, state in sorted(self._states.items()):
            if state.downs:
                self._write(log, Down(node, state.down_since_us, now_us))
                continue
            for since_us in state.failed_since_us:
                self._write(log, Down(node, since_us, now_us, 1, "accelerator"))
            self._write_drained(log, node, state)
        return log
