"""What there is at present: what runs, services, and what may be asked of and done to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode
from scheduler.core.run import Placement
from scheduler.core.workload import Service


@dataclass(slots=True)
class RunningJob:
    """A job on accelerators: where, how, since when."""

    mode: int
    placement: Placement
    start_us: int
    overhead_us: int
    end_us: int


@dataclass(slots=True)
class RunningReplica:
    """A replica on accelerators; it serves from `serves_us`."""

    service: int
    mode: int
    placement: Placement
    start_us: int
    serves_us: int


class ServiceNow(Protocol):
    """A service at present."""

    @property
    def service(self) -> Service:
        """Demand curve and rules."""
        ...

    @property
    def times_us(self) -> list[int]:
        """Start of each step of the demand curve."""
        ...

    @property
    def coming_per_s(self) -> float:
        """Rate of all replicas, those that still load included."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the service has been switched off."""
        ...


class AccessNow(Protocol):
    """Quotas, labels, reservations, host resources, affinity: who may use what at present."""

    want_of: list[int]

    def permits(self, want: int, mode: Mode) -> bool:
        """Return whether jobs of a want may hold `mode` beside what is held."""
        ...

    def permits_replica(self, service: int, mode: Mode) -> bool:
        """Return whether the tenant of a service may hold a replica in `mode` beside the rest."""
        ...

    def hide(self, want: int, where: Occupancy) -> Occupancy:
        """Return `where` as jobs of a want may use it."""
        ...

    def without(self, gone: Sequence[tuple[int, Mode, Placement]]) -> AbstractContextManager[None]:
        """Count some running gangs as ended, for a while."""
        ...

    def hide_reserved(self, where: Occupancy) -> Occupancy:
        """Return `where` without the nodes that are kept for some."""
        ...

    def refuses(self, job: int, mode: Mode, placement: Placement, where: Occupancy) -> str:
        """Return why a job may not start there, or an empty string."""
        ...


class JobsNow(Protocol):
    """The jobs at present; carries out what a policy decides on them, at once."""

    waiting: dict[int, None]
    running: dict[int, RunningJob]

    @property
    def access(self) -> AccessNow | None:
        """The rules on who may use what; None: there are none."""
        ...

    def remaining_work(self, job: int) -> float:
        """Return the work a job has left."""
        ...

    def attained_s(self, job: int) -> float:
        """Return run time had so far, in seconds of the job's fastest mode."""
        ...

    def held_us(self) -> list[int]:
        """Return accelerator-microseconds of each tenant in allocations that have ended."""
        ...

    def start(self, job: int, mode: int, placement: Placement) -> None:
        """Start a waiting job."""
        ...

    def stop(self, job: int) -> None:
        """Preempt a running job; it saves its state and waits again."""
        ...

    def move(self, job: int, mode: int, placement: Placement) -> None:
        """Let a running job go on elsewhere (migrate) or in another mode (resize), at once.

        It pays its restart; the placement may use what the job itself holds now.
        """
        ...


class ReplicasNow(Protocol):
    """The services at present; carries out what a policy decides on them, at once."""

    running: dict[int, RunningReplica]

    @property
    def services(self) -> Sequence[ServiceNow]:
        """By service index."""
        ...

    def start(self, service: int, mode: int, placement: Placement) -> None:
        """Start a replica of a service."""
        ...

    def stop(self, number: int) -> None:
        """Stop a replica."""
        ...
