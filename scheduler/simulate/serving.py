"""The state of one inference service: demand, capacity, what was served."""

from __future__ import annotations

import math

from scheduler.core.problem import Mode
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import Service
from scheduler.physics.queueing import miss_probability, slots_of


class ServiceState:
    """Replicas share the demand in proportion to their rates, as a fluid with a line.

    Between two changes of demand or capacity the service is in the steady state of its queue
    (`scheduler.physics.queueing`): of random arrivals a share is taken up too late, and lost;
    of steady ones all that the capacity can do is served.

    Parameters
    ----------
    service : Service
        Demand curve and rules.
    modes : tuple of Mode
        How a replica may run.

    Attributes
    ----------
    capacity_per_s : float
        Rate of the replicas that serve now.
    coming_per_s : float
        Rate of all replicas, those that still load included.
    demand_per_s : float
        Demand now.
    """

    def __init__(self, service: Service, modes: tuple[Mode, ...]) -> None:
        self.service = service
        self.modes = modes
        self.times_us = [us_from_s(t) for t in service.times_s.tolist()]
        self.capacity_per_s = 0.0
        self.coming_per_s = 0.0
        self.demand_per_s = 0.0
        self.served = 0.0
        self.demanded = 0.0
        self._slots = [slots_of(service, mode.rate) for mode in modes]
        self._random = service.arrivals == "poisson"
        self._places: dict[int, int] = {}
        self._served_per_s: float | None = 0.0  # None: to be found for what holds now
        self._serving: dict[int, float] = {}
        self._coming: dict[int, float] = {}
        self._since_us = 0
        self._ended = False
        self._used_us = 0.0  # integral of the used share of capacity

    @property
    def end_us(self) -> int | None:
        """When the service is switched off, if it is."""
        return None if self.service.end_s is None else us_from_s(self.service.end_s)

    @property
    def ended(self) -> bool:
        """Whether the service has been switched off."""
        return self._ended

    @property
    def unserved(self) -> bool:
        """Whether demand exceeds the capacity of all replicas, loading ones included."""
        return self.demand_per_s > self.coming_per_s * (1 + 1e-9)

    def advance(self, now_us: int) -> float:
        """Account up to `now_us`; return the integral of the used share, in microseconds."""
        elapsed_us = now_us - self._since_us
        if elapsed_us:
            served_per_s = self._served_per_s
            if served_per_s is None:
                served_per_s = self._served_per_s = self._in_time_per_s()
            self.served += served_per_s * elapsed_us / US_PER_S
            self.demanded += self.demand_per_s * elapsed_us / US_PER_S
            if self.capacity_per_s > 0:
                self._used_us += elapsed_us * served_per_s / self.capacity_per_s
            self._since_us = now_us
        return self._used_us

    def set_demand(self, now_us: int, index: int | None) -> None:
        """Switch to step `index` of the demand curve; None: the service ends."""
        self.advance(now_us)
        self._served_per_s = None
        self._ended = index is None
        self.demand_per_s = 0.0 if index is None else float(self.service.demand_per_s[index])

    def add(self, replica: int, mode: int) -> None:
        """A replica starts to load."""
        self._coming[replica] = self.modes[mode].rate
        self._total()

    def serve(self, now_us: int, replica: int, mode: int) -> float:
        """A replica has loaded; return the used-share integral at its start."""
        used = self.advance(now_us)
        self._serving[replica] = self.modes[mode].rate
        self._places[replica] = self._slots[mode]
        self._total()
        return used

    def remove(self, now_us: int, replica: int) -> float:
        """A replica stops; return the used-share integral at its end."""
        used = self.advance(now_us)
        self._serving.pop(replica, None)
        self._places.pop(replica, None)
        self._coming.pop(replica, None)
        self._total()
        return used

    def _in_time_per_s(self) -> float:
        """Return the requests/s that are served in time while nothing changes."""
        demand, capacity = self.demand_per_s, self.capacity_per_s
        if not self._random:
            return min(demand, capacity)
        slots = sum(self._places.values())
        return demand * (1 - miss_probability(demand, slots, capacity, self.service.ttft_s))

    def _total(self) -> None:  # summed afresh, so that rounding does not depend on history
        self._served_per_s = None
        self.capacity_per_s = math.fsum(self._serving.values())
        self.coming_per_s = math.fsum(self._coming.values())
