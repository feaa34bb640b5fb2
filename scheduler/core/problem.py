"""What the solver, the policies and the simulator see: pools, nested domains and modes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scheduler.core.cluster import Cluster
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import Workload


@dataclass(frozen=True, slots=True)
class Domain:
    """A set of nodes that share a faster level; nested in its parent.

    Parameters
    ----------
    path : tuple of str
        Names from the outermost domain to this one; the key of the domain.
    level : int
        Position in `Problem.levels`; nodes are level 0 and have no Domain of their own.
    pools : tuple of int
        Pools inside it, ascending.
    bytes_per_s : float
        Rate one accelerator gets, one direction, when a gang spreads over this domain and
        all of the domain's accelerators communicate at once.
    latency_s : float
        Between its farthest nodes, one way.
    """

    path: tuple[str, ...]
    level: int
    pools: tuple[int, ...]
    bytes_per_s: float
    latency_s: float

    @property
    def name(self) -> str:
        """Path joined by slashes."""
        return "/".join(self.path)


@dataclass(frozen=True, slots=True)
class Pool:
    """Nodes a scheduler need not tell apart: same type, size and innermost domain.

    Parameters
    ----------
    type_index : int
        Position in `Problem.types`.
    size : int
        Accelerators per node.
    nodes : tuple of int
        Node indices in `Cluster.nodes` order, ascending.
    domains : tuple of int
        Domain index at each level from level 1 up: `domains[level - 1]`.
    site_index : int
        Position in `Cluster.sites`.
    """

    type_index: int
    size: int
    nodes: tuple[int, ...]
    domains: tuple[int, ...]
    site_index: int


@dataclass(frozen=True, slots=True)
class Group:
    """The part of a gang on one accelerator type, made of slots.

    A slot is `per_node` accelerators on one node. The group is ``count // per_node``
    slots and, where that leaves a remainder, one smaller slot. Slots may share a node.
    """

    type_index: int
    count: int
    per_node: int

    @property
    def slots(self) -> tuple[int, ...]:
        """Slot sizes, largest first; they sum to `count`."""
        whole, rest = divmod(self.count, self.per_node)
        return (self.per_node,) * whole + ((rest,) if rest else ())


@dataclass(frozen=True, slots=True)
class Mode:
    """One permitted way to run a job or a replica.

    Parameters
    ----------
    groups : tuple of Group
        One, or several for a gang that mixes types.
    level : int
        Innermost level whose one domain must hold the whole gang; 0: one node.
    rate : float
        Work per second (requests per second for a replica).
    best_rate : float
        Highest rate of the same counts on the same types at any level and shape;
        ``rate / best_rate`` of held time is productive.
    power_w : float
        Draw of the whole gang while it runs.
    memory_bytes : float
        Needed on each accelerator (0: unknown).
    straggler : float
        Share of held time lost to waiting for slower members of a mixed gang.
    share_milli : int
        Thousandths of its one accelerator that it takes; 1000: its accelerators whole. A share
        draws `power_w` and takes `memory_bytes` of the accelerator's memory.
    """

    groups: tuple[Group, ...]
    level: int
    rate: float
    best_rate: float
    power_w: float
    memory_bytes: float = 0.0
    straggler: float = 0.0
    share_milli: int = WHOLE_MILLI

    @property
    def count(self) -> int:
        """Accelerators in the gang; one for a share of one."""
        return sum(g.count for g in self.groups)

    @property
    def size(self) -> float:
        """Accelerators that it takes in all, a share of one as a fraction."""
        return self.count * self.share_milli / WHOLE_MILLI

    @property
    def type_index(self) -> int:
        """Type of the first group (the only one unless types are mixed)."""
        return self.groups[0].type_index


@dataclass(frozen=True, slots=True)
class Problem:
    """A cluster, a workload, and what physics says about the two.

    Parameters
    ----------
    cluster, workload : Cluster, Workload
        As declared.
    types : tuple of str
        Accelerator type names in the fleet.
    levels : tuple of str
        Level names from the inside out; ``levels[0] == "node"``.
    domains : tuple of Domain
        Level 1 and up.
    pools : tuple of Pool
        Every node is in exactly one.
    modes : tuple of tuple of Mode
        By job class; within a class by descending rate. Empty: the class cannot run here.
    service_modes : tuple of tuple of Mode
        By service, by descending rate per accelerator.
    refusals : mapping of str to str
        Why a class or service has no mode on a type: ``"class/type" -> reason``.
    """

    cluster: Cluster
    workload: Workload
    types: tuple[str, ...]
    levels: tuple[str, ...]
    domains: tuple[Domain, ...]
    pools: tuple[Pool, ...]
    modes: tuple[tuple[Mode, ...], ...]
    service_modes: tuple[tuple[Mode, ...], ...] = ()
    refusals: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refusals", MappingProxyType(dict(self.refusals)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        values = [getattr(self, f) for f in self.__slots__]
        values[self.__slots__.index("refusals")] = dict(self.refusals)
        return (type(self), tuple(values))

    @property
    def shares(self) -> bool:
        """Whether any class of jobs asks for a share of an accelerator."""
        return any(c.share_milli < WHOLE_MILLI for c in self.workload.classes)

    def capacity(self) -> tuple[int, ...]:
        """Return accelerators per type, shape (types,)."""
        total = [0] * len(self.types)
        for pool in self.pools:
            total[pool.type_index] += pool.size * len(pool.nodes)
        return tuple(total)


def quotas_of(problem: Problem) -> list[dict[int, int]]:
    """Return each tenant's quotas, by index of the type and `ALL_TYPES`, those it has."""
    types = {name.casefold(): t for t, name in enumerate(problem.types)}
    rules = {rule.tenant: rule.quota_by_kind(types) for rule in problem.workload.tenancies}
    return [rules.get(tenant, {}) for tenant in problem.workload.tenants]


def fleet_rates(problem: Problem) -> tuple[float, ...]:
    """Return, by class, the work per second of the whole fleet on jobs of that class.

    That is, over types, capacity times the best rate per accelerator (of a share: over what it
    takes); infinite for a class without modes.
    """
    capacity = problem.capacity()
    rates = []
    for modes in problem.modes:
        best = [0.0] * len(capacity)
        for mode in modes:
            for group in mode.groups:
                t = group.type_index
                best[t] = max(best[t], mode.rate / mode.size)
        rates.append(math.fsum(b * c for b, c in zip(best, capacity, strict=True)) or math.inf)
    return tuple(rates)
