"""What was decided (Schedule) and what happened (Run)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import overload

import numpy as np

from scheduler.core.ledger import Ledger
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray


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

    @property
    def device(self) -> int:
        """Which accelerator of its node it shares; -1: it holds its accelerators whole."""
        return -1

    @property
    def share_milli(self) -> int:
        """Thousandths of each accelerator that it holds."""
        return WHOLE_MILLI

    @property
    def memory_bytes(self) -> int:
        """Device memory that it takes beside others; 0: it has it all."""
        return 0


@dataclass(frozen=True, slots=True)
class SharePlacement(Placement):
    """A share of one accelerator; `nodes` and `counts` name one node and one accelerator.

    Parameters
    ----------
    device : int
        Which of the node's shared accelerators, a number below the node's size that stays the
        same from the first sharer to the last.
    share_milli : int
        Thousandths of it, from 1 to 999.
    memory_bytes : int
        Of its memory.
    """

    device: int = field()
    share_milli: int = field()
    memory_bytes: int = field()


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


class AllocationColumns(Sequence[Allocation]):
    """Many allocations as columns, behind the sequence of `Allocation` that they stand for.

    A million allocations are eight columns until somebody asks for one of them.

    Parameters
    ----------
    job, mode, start_us, end_us, overhead_us : ndarray of int64, shape (n,)
        As in `Allocation`.
    work, lost_work : ndarray of float64, shape (n,)
        As in `Allocation`.
    placements : sequence of Placement
        One each.
    """

    __slots__ = (
        "_parts",
        "_rows",
        "end_us",
        "job",
        "lost_work",
        "mode",
        "overhead_us",
        "placements",
        "start_us",
        "work",
    )

    def __init__(
        self,
        job: IntArray,
        mode: IntArray,
        start_us: IntArray,
        end_us: IntArray,
        overhead_us: IntArray,
        work: FloatArray,
        lost_work: FloatArray,
        placements: Sequence[Placement],
    ) -> None:
        self.job = job
        self.mode = mode
        self.start_us = start_us
        self.end_us = end_us
        self.overhead_us = overhead_us
        self.work = work
        self.lost_work = lost_work
        self.placements = placements
        self._rows: tuple[Allocation, ...] | None = None
        self._parts: tuple[IntArray, IntArray, IntArray] | None = None

    def in_order(self) -> AllocationColumns:
        """Return the same allocations by (end, job, start)."""
        order = self._order()
        return self if order is None else self.rows(order)

    def rows(self, index: IntArray) -> AllocationColumns:
        """Return the allocations at `index`, in that order."""
        return AllocationColumns(
            self.job[index],
            self.mode[index],
            self.start_us[index],
            self.end_us[index],
            self.overhead_us[index],
            self.work[index],
            self.lost_work[index],
            [self.placements[i] for i in index.tolist()],
        )

    def _order(self) -> IntArray | None:
        """Return the positions by (end, job, start), None if they are in that order."""
        gaps = np.diff(self.end_us)
        if (gaps > 0).all():
            return None
        if (gaps < 0).any():
            return np.lexsort((self.start_us, self.job, self.end_us))
        same = np.zeros(len(self), dtype=np.bool_)  # where only ends at one instant change places
        same[1:] = gaps == 0
        same[:-1] |= same[1:]
        rows = np.flatnonzero(same)
        order = np.arange(len(self))
        keys = (self.start_us[rows], self.job[rows], self.end_us[rows])
        order[rows] = rows[np.lexsort(keys)]
        return order

    def parts(self) -> tuple[IntArray, IntArray, IntArray]:
        """Return one entry per node of every placement: allocation, node, accelerators."""
        if self._parts is None:
            spans = [p.nodes for p in self.placements]
            lengths = np.fromiter(map(len, spans), np.int64, len(spans))
            total = int(lengths.sum())
            nodes = np.fromiter(chain.from_iterable(spans), np.int64, total)
            counts = np.fromiter(
                chain.from_iterable([p.counts for p in self.placements]), np.int64, total
            )
            self._parts = np.repeat(np.arange(len(spans)), lengths), nodes, counts
        return self._parts

    def __len__(self) -> int:
        return len(self.placements)

    @overload
    def __getitem__(self, index: int) -> Allocation: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Allocation, ...]: ...

    def __getitem__(self, index: int | slice) -> Allocation | tuple[Allocation, ...]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (AllocationColumns, tuple)):
            return NotImplemented
        return self._all() == tuple(other)

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return f"<{len(self)} allocations>"

    def __reduce__(self) -> tuple[object, ...]:  # without the rows, which follow
        columns = (self.job, self.mode, self.start_us, self.end_us, self.overhead_us)
        return type(self), (*columns, self.work, self.lost_work, self.placements)

    def _all(self) -> tuple[Allocation, ...]:
        if self._rows is None:
            columns = (
                column.tolist()
                for column in (
                    *(self.job, self.mode, self.start_us, self.end_us, self.overhead_us),
                    *(self.work, self.lost_work),
                )
            )
            self._rows = tuple(map(Allocation, *columns, self.placements))
        return self._rows


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
    """What of a node was out of use over ``[start_us, end_us)``.

    Parameters
    ----------
    node : int
        Node index.
    start_us, end_us : int
        Whole microseconds.
    count : int
        Accelerators; 0: all of them, and the node was switched off.
    cause : str
        ``"down"`` the node, ``"accelerator"`` one that failed, ``"drain"`` those that
        nothing holds any more on a node that is being emptied.
    """

    node: int
    start_us: int
    end_us: int
    count: int = 0
    cause: str = "down"


@dataclass(frozen=True, slots=True)
class Crash:
    """A job that stopped at `at_us` while its nodes stayed up.

    Parameters
    ----------
    job : int
        Position in `Workload.jobs`.
    at_us : int
        When.
    node : int
        Where one of its accelerators failed; -1: a crash of its own.
    """

    job: int
    at_us: int
    node: int = -1


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
    allocations : sequence of Allocation
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
    killed_us : mapping of int to int
        When each job that reached its time limit was ended.
    cancelled : mapping of int to str
        Jobs that can never start because one they need did not finish, and which.
    crashes : tuple of Crash
        By (instant, job).
    rounds : mapping of str to tuple of float
        Columns that a solving policy kept of its rounds: ``at_s``, ``gap``, and what one more
        accelerator was worth, ``price <type>``.
    given_up : mapping of int to str
        Jobs, running or waiting, for whose end the run did not wait, as they fail faster than
        they can save anything.
    """

    policy: str
    information: str
    seed: int
    horizon_us: int
    ledger_end_us: int
    allocations: Sequence[Allocation]
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
    killed_us: Mapping[int, int] = field(default_factory=dict)
    cancelled: Mapping[int, str] = field(default_factory=dict)
    crashes: tuple[Crash, ...] = ()
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    given_up: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (
            *("finished_us", "rejected", "solver", "killed_us", "cancelled", "rounds"),
            "given_up",
        ):
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
