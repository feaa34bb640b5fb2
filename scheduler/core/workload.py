"""What users submit: job classes, jobs as columns, inference services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.model import Model
from scheduler.core.units import WHOLE_MILLI

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

HELD_BACK: Final = 1 << 30
"""In the place of a class: jobs of an array that wait for their turn and may use nothing yet."""


@dataclass(frozen=True, slots=True)
class ModelPhysics:
    """Rates follow from a model description; one unit of work is one token (or sample).

    Parameters
    ----------
    model : str
        Name in the model catalogue.
    precision : str
        ``bf16``, ``fp16``, ``fp8``, ...
    sequence_length : int
        Tokens in one sequence.
    global_batch : int
        Sequences in one optimizer step.
    """

    model: str
    precision: str = "bf16"
    sequence_length: int = 4096
    global_batch: int = 512


@dataclass(frozen=True, slots=True)
class ProfilePhysics:
    """Rates are measured: rows of a throughput table; one unit of work is one step."""

    table: str
    job_type: str


@dataclass(frozen=True, slots=True)
class RunTimePhysics:
    """Only a recorded run time is known; one unit of work is one second on `reference`.

    Parameters
    ----------
    reference : str
        Accelerator type the run time was recorded on; other types follow by the ratio of
        their sustained speeds. ``""``: nobody said, so the recorded run time is taken to
        hold on every type the job may use; no ratio is invented.
    """

    reference: str = ""


Physics = ModelPhysics | ProfilePhysics | RunTimePhysics


@dataclass(frozen=True, slots=True)
class JobClass:
    """Jobs that share physics, gang sizes and constraints.

    Parameters
    ----------
    name : str
        Unique in the workload.
    physics : ModelPhysics, ProfilePhysics or RunTimePhysics
        How fast it runs.
    gang : tuple of int
        Permitted accelerator counts; one entry: rigid, several: elastic.
    accelerators : tuple of str or None
        Types it may use; None: all that physics permits.
    precision : str or None
        Precision it needs; types without it are not compatible.
    stacks : tuple of str or None
        Software stacks it is built for; None: any.
    memory_bytes : float
        Least device memory per accelerator (0: whatever physics finds).
    max_level : str or None
        Widest spread permitted (a level name of the fleet such as ``"pod"``); None: any.
    preemptible : bool
        Whether it may be stopped and started again.
    restart_s : float
        Time a start or restart holds the accelerators without progress.
    checkpoint_s : float
        Work is safe at multiples of this much running time; a failure loses what came after.
        Preemption saves first and loses nothing, unless `saves_state` says otherwise.
    mixed_types : int
        Accelerator types that one gang may mix, at most; 1: none. Needs a described model.
    saves_state : bool
        Whether a preempted job saves its state first; False: it loses what a failure would,
        as jobs do that Slurm requeues.
    labels : tuple of (str, str)
        Labels that every node of its gangs must carry, sorted (``("region", "eu")``).
    cpus, host_memory_bytes : float
        Host resources that one of its accelerators takes along from its node (0: none).
    group : str
        Jobs that `apart` and `near` speak of; ``""``: those of this class.
    apart : str or None
        Level at which no two running jobs of the group share a domain.
    near : str or None
        Level at which it must share the domain of the group's running jobs, if there are any.
    share_milli : int
        Below 1000: its jobs take so many thousandths of one accelerator (`gang` is 1) and may
        share it with others as long as they sum to at most 1000 and their memory fits. A share
        takes as much of the memory, or `memory_bytes` where that is given. `cpus` and
        `host_memory_bytes` are what the job takes, however small its share.
    """

    name: str
    physics: Physics
    gang: tuple[int, ...]
    accelerators: tuple[str, ...] | None = None
    precision: str | None = None
    stacks: tuple[str, ...] | None = None
    memory_bytes: float = 0.0
    max_level: str | None = None
    preemptible: bool = True
    restart_s: float = 30.0
    checkpoint_s: float = 1800.0
    mixed_types: int = 1
    saves_state: bool = True
    labels: tuple[tuple[str, str], ...] = ()
    cpus: float = 0.0
    host_memory_bytes: float = 0.0
    group: str = ""
    apart: str | None = None
    near: str | None = None
    share_milli: int = WHOLE_MILLI


@dataclass(frozen=True, slots=True)
class Service:
    """An inference service: capacity asked for over time.

    Parameters
    ----------
    name : str
        Unique.
    physics : ModelPhysics or ProfilePhysics
        The served model. A profile's rate is requests/s of one replica.
    replica : tuple of int
        Accelerators of one replica (several: a choice).
    times_s, demand_per_s : ndarray of float64, shape (k,)
        Piecewise constant request rate: `demand_per_s[i]` holds from `times_s[i]`;
        `times_s[0] == 0`, strictly increasing; the last holds to the end.
    min_replicas : int
        Never fewer.
    load_s : float
        Time from the start of a replica until it serves.
    ttft_s, tpot_s : float
        Service-level objectives: time to first token, time per output token.
    prompt_tokens, output_tokens : float
        Mean request.
    accelerators : tuple of str or None
        Types it may use; None: all.
    end_s : float or None
        When the service is switched off; None: with the last job.
    tenant : str
        Who pays.
    arrivals : str
        ``"poisson"``: requests arrive at random around the curve, so that some wait for a free
        slot, and are missed where that takes longer than `ttft_s`. ``"steady"``: what the
        replicas can do is served (instances that stand, batches).
    concurrency : int
        Requests a replica works on at once; 0: follows from its physics.
    headroom_probability : float or None
        Probability, in [0.5, 1), with which capacity is to suffice: that a request which
        bunches with others is taken up in time, and that the demand stays within its
        forecast. None: the policy's own.
    spare_replicas : int
        Replicas that may fail, the largest first, before the capacity is below that.
    availability : float
        Probability, in [0, 1), that the capacity suffices while each node is down for the
        share of time that the fleet's failures tell; 0: failures are not provided for.
    lengths : tuple of (share, prompt_tokens, output_tokens)
        Requests of like length, whose shares sum to 1, where known: they may go to different
        types (`scheduler.solver.length_split`). Their mean is `prompt_tokens`,
        `output_tokens`. Empty: requests count as alike.
    """

    name: str
    physics: ModelPhysics | ProfilePhysics
    replica: tuple[int, ...]
    times_s: FloatArray
    demand_per_s: FloatArray
    min_replicas: int = 1
    load_s: float = 60.0
    ttft_s: float = 2.0
    tpot_s: float = 0.1
    prompt_tokens: float = 1024.0
    output_tokens: float = 128.0
    accelerators: tuple[str, ...] | None = None
    end_s: float | None = None
    tenant: str = "serving"
    arrivals: str = "poisson"
    concurrency: int = 0
    headroom_probability: float | None = None
    spare_replicas: int = 0
    availability: float = 0.0
    lengths: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """A measured throughput table.

    Parameters
    ----------
    name : str
        Table name.
    rates : mapping of (job_type, accelerator, count, spread) to float
        Work per second of the whole gang; `spread` is ``"packed"`` (fewest nodes) or
        ``"spread"`` (unconsolidated). Zero: does not fit. `accelerator` is a type name or
        one of its aliases, case-folded.
    """

    name: str
    rates: Mapping[tuple[str, str, int, str], float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", MappingProxyType(dict(self.rates)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        return (type(self), (self.name, dict(self.rates)))


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs as columns, sorted by (release_s, position in the file). Shape (n,) each.

    Parameters
    ----------
    ids : tuple of str
        Names the user chose.
    class_index : ndarray of int64
        Position in `Workload.classes`.
    release_s : ndarray of float64
        Submit time, from the start of the workload.
    work : ndarray of float64
        Units of the class's physics, positive.
    estimate_s : ndarray of float64
        User's run time estimate on the reference; NaN: none given.
    weight : ndarray of float64
        Importance, positive.
    deadline_s : ndarray of float64
        NaN: none.
    tenant_index : ndarray of int64
        Position in `Workload.tenants`.
    priority : ndarray of int64
        Higher goes first, for policies that look at it; default 0.
    limit_s : ndarray of float64
        Held time, summed over all its allocations, after which a job is killed; NaN: none.
    after : tuple of tuple of int
        By job, the jobs that must have finished before it may start; empty: none has any.
    array_index : ndarray of int64
        By job, the array whose limit it is under: a position in `array_most`, or -1; empty:
        no job is under one.
    array_most : tuple of int
        By array, how many of its jobs may run at once. They take turns by position: a turn
        ends with the job, and goes to the first that is ready. A job that has its turn waits
        like any other; before that it is no demand that a policy could serve.
    """

    ids: tuple[str, ...]
    class_index: IntArray
    release_s: FloatArray
    work: FloatArray
    estimate_s: FloatArray
    weight: FloatArray
    deadline_s: FloatArray
    tenant_index: IntArray
    priority: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    limit_s: FloatArray = field(default_factory=lambda: np.zeros(0))
    after: tuple[tuple[int, ...], ...] = ()
    array_index: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    array_most: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        if len(self.priority) != n:
            object.__setattr__(self, "priority", np.zeros(n, dtype=np.int64))
        if len(self.limit_s) != n:
            object.__setattr__(self, "limit_s", np.full(n, np.nan))

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: IntArray) -> Jobs:
        """Return the jobs at `index`, in that order; who needed one left out needs it no more."""
        after: tuple[tuple[int, ...], ...] = ()
        if self.after:
            place = {old: new for new, old in enumerate(index.tolist())}
            after = tuple(
                tuple(sorted(place[k] for k in self.after[old] if k in place))
                for old in index.tolist()
            )
        return Jobs(
            tuple(self.ids[i] for i in index.tolist()),
            self.class_index[index],
            self.release_s[index],
            self.work[index],
            self.estimate_s[index],
            self.weight[index],
            self.deadline_s[index],
            self.tenant_index[index],
            self.priority[index],
            self.limit_s[index],
            after,
            self.array_index[index] if self.array_most else self.array_index,
            self.array_most,
        )


ALL_TYPES: Final = -1
"""In place of the index of an accelerator type: whatever the type."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What a tenant is entitled to.

    A job of the tenant, or a replica of its services, may start while the tenant then holds at
    most its quota. Beyond it, it may borrow what other tenants leave unused of theirs, up to
    `borrow` accelerators: all that have a quota of the kind together then hold at most the
    sum of these quotas.

    Parameters
    ----------
    tenant : str
        One of `Workload.tenants`.
    share : float
        Weight in fair sharing, positive.
    quota : mapping of str to int
        Accelerators by type name; types that are missing have no quota.
    total : int or None
        Accelerators of all types together; None: no quota.
    borrow : int or None
        Accelerators beyond a quota, at most; None: any number.
    """

    tenant: str
    share: float = 1.0
    quota: Mapping[str, int] = field(default_factory=dict)
    total: int | None = None
    borrow: int | None = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "quota", MappingProxyType(dict(self.quota)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        return (
            type(self),
            (self.tenant, self.share, dict(self.quota), self.total, self.borrow),
        )

    def quota_by_kind(self, types: Mapping[str, int]) -> dict[int, int]:
        """Return the quotas by index of the type, and by `ALL_TYPES`.

        Parameters
        ----------
        types : mapping of str to int
            Indices of the types there are, by case-folded name; others are left out.
        """
        found = {
            types[name.casefold()]: count
            for name, count in self.quota.items()
            if name.casefold() in types
        }
        return found if self.total is None else found | {ALL_TYPES: self.total}


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs and services, with the tables their physics needs.

    Parameters
    ----------
    name, title : str
        Short name and a line for people.
    classes : tuple of JobClass
        What `Jobs.class_index` points at.
    jobs : Jobs
        Columns.
    services : tuple of Service
        May be empty.
    profiles : mapping of str to Profile
        Throughput tables by name.
    models : mapping of str to Model
        Catalogue rows that the physics of its classes and services name.
    tenants : tuple of str
        What `Jobs.tenant_index` points at.
    source, licence : str
        Where it comes from.
    tenancies : tuple of Tenancy
        Shares and quotas of tenants that have some, each tenant once.
    """

    name: str
    title: str
    classes: tuple[JobClass, ...]
    jobs: Jobs
    services: tuple[Service, ...] = ()
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    tenants: tuple[str, ...] = ("default",)
    source: str = ""
    licence: str = ""
    tenancies: tuple[Tenancy, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "profiles", MappingProxyType(dict(self.profiles)))
        object.__setattr__(self, "models", MappingProxyType(dict(self.models)))

    def __reduce__(self) -> tuple[object, ...]:  # mapping proxies do not pickle
        values = [getattr(self, f) for f in self.__slots__]
        plain = [dict(v) if isinstance(v, MappingProxyType) else v for v in values]
        return (type(self), tuple(plain))

    def with_time_scaled(self, factor: float) -> Workload:
        """Return the workload with every release time multiplied by `factor`."""
        return replace(self, jobs=replace(self.jobs, release_s=self.jobs.release_s * factor))
