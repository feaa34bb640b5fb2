"""What was decided (Schedule) and what happened (Run)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from scheduler.core.ledger import Ledger


class Status(StrEnum):
    """How an answer was proved."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    TIME_LIMIT = "time_limit"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Placement:
    """Which nodes a gang holds and how many accelerators on each.

    Parameters
    ----------
    nodes : tuple of int
        Node indices, ascending, each once.
    counts : tuple of int
        Accelerators on each of those nodes, positive.
    """

    nodes: tuple[int, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """A job holding a placement over a half-open interval ``[start_us, end_us)``.

    Parameters
    ----------
    job : int
        Position in `Workload.jobs`.
    mode : int
        Position in `Problem.modes` of the job's class.
    start_us, end_us : int
        Whole microseconds.
    overhead_us : int
        First part of the interval, without progress: start, restore, reshape.
    work : float
        Work done in the interval, whether or not it was kept.
    lost_work : float
        Part of `work` that a failure undid.
    placement : Placement
        Where.
    """

    job: int
    mode: int
    start_us: int
    end_us: int
    overhead_us: int
    work: float
    lost_work: float
    placement: Placement


@dataclass(frozen=True, slots=True)
class ReplicaAllocation:
    """A replica of a service holding a placement; it serves after `overhead_us`."""

    service: int
    mode: int
    start_us: int
    end_us: int
    overhead_us: int
    placement: Placement


@dataclass(frozen=True, slots=True)
class Down:
    """A node that was down over ``[start_us, end_us)``."""

    node: int
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Planned allocations with their proof.

    Parameters
    ----------
    allocations : tuple of Allocation
        Planned, without noise.
    objective_name : str
        Metric that was optimised.
    objective, bound : float
        Value reached, and what no schedule can better.
    status : Status
        How far the proof went.
    """

    allocations: tuple[Allocation, ...]
    objective_name: str
    objective: float
    bound: float
    status: Status


@dataclass(frozen=True, slots=True)
class Run:
    """What happened in one replay.

    Parameters
    ----------
    policy, information : str
        Who decided, and what it was allowed to know.
    seed : int
        Seed of the replay.
    horizon_us : int
        When the replay ended; it starts at 0.
    ledger_end_us : int
        End of the period the ledger covers, at most `horizon_us`.
    allocations : tuple of Allocation
        By (end, job).
    replicas : tuple of ReplicaAllocation
        By (end, service).
    downs : tuple of Down
        By (start, node), cut at the horizon.
    actual_work : tuple of float
        Work each job turned out to need (nominal work times noise).
    finished_us : mapping of int to int
        End of each finished job.
    rejected : mapping of int to str
        Jobs that can never run here, and why.
    running, waiting : tuple of int
        Jobs unfinished at the horizon.
    ledger : Ledger
        Where every accelerator-second went.
    served, demanded : tuple of float
        Requests per service over the horizon.
    energy_j : float
        Accelerators and hosts, before PUE.
    cost_usd, carbon_g : float
        Of that energy, with PUE, tariff and carbon by site and hour.
    events : int
        Events the engine handled.
    solver : mapping of str to float
        Counters a solving policy kept (rounds, exact solves, worst gap).
    """

    policy: str
    information: str
    seed: int
    horizon_us: int
    ledger_end_us: int
    allocations: tuple[Allocation, ...]
    replicas: tuple[ReplicaAllocation, ...]
    downs: tuple[Down, ...]
    actual_work: tuple[float, ...]
    finished_us: Mapping[int, int]
    rejected: Mapping[int, str]
    running: tuple[int, ...]
    waiting: tuple[int, ...]
    ledger: Ledger
    served: tuple[float, ...] = ()
    demanded: tuple[float, ...] = ()
    energy_j: float = 0.0
    cost_usd: float = 0.0
    carbon_g: float = 0.0
    events: int = 0
    solver: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("finished_us", "rejected", "solver"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        values = [getattr(self, f) for f in self.__slots__]
        plain = [dict(v) if isinstance(v, MappingProxyType) else v for v in values]
        return (type(self), tuple(plain))


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule, found by the verifier.

    Parameters
    ----------
    code : str
        Short stable name, for example ``"capacity"``.
    message : str
        What, who, when, by how much.
    job : str
        Job id, or ``""``.
    node : str
        Node id, or ``""``.
    at_s : float
        When.
    """

    code: str
    message: str
    job: str = ""
    node: str = ""
    at_s: float = 0.0
