"""Replicas of inference services: start, load, serve, stop."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.problem import Problem
from scheduler.core.run import Placement, ReplicaAllocation
from scheduler.core.units import us_from_s
from scheduler.policies.present import RunningReplica
from scheduler.simulate.access import Access
from scheduler.simulate.clock import Clock, Kind
from scheduler.simulate.ground import Ground
from scheduler.simulate.serving import ServiceState


@dataclass(frozen=True, slots=True)
class Served:
    """What a replica held, and the integral of the used share of its capacity."""

    allocation: ReplicaAllocation
    used_us: float


class ReplicaBook:
    """Every service with its replicas.

    Parameters
    ----------
    problem : Problem
        Services and their modes.
    ground, clock
        Where replicas stand, and the present instant.
    access : Access or None
        The rules on who may use what, None where there are none.

    Attributes
    ----------
    services : list of ServiceState
        By service index.
    running : dict of int to RunningReplica
        By number, in order of their start.
    log : list of Served
        What replicas that stopped have held.
    """

    def __init__(
        self, problem: Problem, ground: Ground, clock: Clock, access: Access | None = None
    ) -> None:
        self._access = access
        self._ground = ground
        self._clock = clock
        self.services = [
            ServiceState(s, m)
            for s, m in zip(problem.workload.services, problem.service_modes, strict=True)
        ]
        self.running: dict[int, RunningReplica] = {}
        self.log: list[Served] = []
        self._used_us: dict[int, float] = {}
        self._next = 0

    def schedule(self) -> None:
        """Push every step of the demand curves."""
        for index, state in enumerate(self.services):
            for step, at_us in enumerate(state.times_us):
                self._clock.push(at_us, Kind.DEMAND, index, step)
            if state.end_us is not None:
                self._clock.push(state.end_us, Kind.DEMAND, index, -1)

    @property
    def last_us(self) -> int:
        """When the last demand curve ends."""
        ends = [s.end_us if s.end_us is not None else s.times_us[-1] for s in self.services]
        return max(ends, default=0)

    def short(self) -> frozenset[int]:
        """Return the services whose demand exceeds the rate of all their replicas."""
        return frozenset(i for i, s in enumerate(self.services) if s.unserved)

    def demand(self, service: int, step: int) -> None:
        """Demand changes; with a negative step the service is switched off."""
        state = self.services[service]
        state.set_demand(self._clock.now_us, None if step < 0 else step)
        if step < 0:
            for number in [n for n, r in self.running.items() if r.service == service]:
                self.stop(number)

    def start(self, service: int, mode_index: int, placement: Placement) -> None:
        """Start a replica (see `scheduler.policies.present.ReplicasNow`)."""
        state = self.services[service]
        mode = state.modes[mode_index]
        who, access = f"replica of {state.service.name}", self._access
        if access is not None and not access.permits_replica(service, mode):
            raise self._ground.error(f"{who} is beyond the quota of its tenant")
        self._ground.take(mode, placement, mode.count, who)
        if access is not None:
            access.count_replica(service, mode, 1)
        number = self._next
        self._next += 1
        now_us = self._clock.now_us
        serves_us = now_us + us_from_s(state.service.load_s)
        self.running[number] = RunningReplica(service, mode_index, placement, now_us, serves_us)
        state.add(number, mode_index)
        self._clock.push(serves_us, Kind.LOADED, number)

    def loaded(self, number: int, _: int) -> None:
        """A replica serves from now on, if it still runs."""
        replica = self.running.get(number)
        if replica is not None:
            state = self.services[replica.service]
            self._used_us[number] = state.serve(self._clock.now_us, number, replica.mode)

    def stop(self, number: int) -> None:
        """Stop a replica (see `scheduler.policies.present.ReplicasNow`)."""
        replica = self.running.pop(number, None)
        if replica is None:
            raise self._ground.error(f"replica {number} is not running")
        state = self.services[replica.service]
        used_us = state.remove(self._clock.now_us, number)
        self._ground.give(state.modes[replica.mode], replica.placement)
        if self._access is not None:
            self._access.count_replica(replica.service, state.modes[replica.mode], -1)
        self._write(self.log, number, replica, used_us)
        self._used_us.pop(number, None)

    def cut(self) -> None:
        """End every replica here: the run is over."""
        for number in list(self.running):
            self.stop(number)
        for state in self.services:
            state.advance(self._clock.now_us)

    def served(self) -> list[Served]:
        """Return everything held so far, what still runs cut at the present instant."""
        log = self.log.copy()
        for number, replica in self.running.items():
            used_us = self.services[replica.service].advance(self._clock.now_us)
            self._write(log, number, replica, used_us)
        return log

    def _write(
        self, log: list[Served], number: int, replica: RunningReplica, used_us: float
    ) -> None:
        """Note what a replica has held until now, unless for no time at all."""
        now_us = self._clock.now_us
        held_us = now_us - replica.start_us
        if not held_us:
            return
        overhead_us = min(held_us, replica.serves_us - replica.start_us)
        allocation = ReplicaAllocation(
            replica.service, replica.mode, replica.start_us, now_us, overhead_us,
            replica.placement,
        )  # fmt: skip
        log.append(Served(allocation, used_us - self._used_us.get(number, used_us)))
