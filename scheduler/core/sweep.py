"""What a sweep is: inputs, policies, seeds and scenarios to combine, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scheduler.core.cluster import FailureModel

NOISE_SIGMA: Final = 0.1
TIMEOUT_S: Final = 3600.0
MEMORY_BYTES: Final = 4.0 * 2**30
RETRIES: Final = 2
AT_LEAST: Final = 5


@dataclass(frozen=True, slots=True)
class InputFile:
    """A cluster or a workload of the grid.

    Parameters
    ----------
    label : str
        How tables call it.
    path : Path
        Where it lies.
    format, since, until, profile, reference : str or None
        For traces, see `scheduler.load`.
    select : mapping of str to str
        Likewise.
    """

    label: str
    path: Path
    format: str | None = None
    select: Mapping[str, str] = field(default_factory=dict)
    since: str | None = None
    until: str | None = None
    profile: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is varied about one pair of cluster and workload.

    Parameters
    ----------
    name : str
        Unique in the sweep.
    noise_sigma : float
        Log standard deviation of actual work around nominal work.
    information : str
        What policies may know.
    load : float or None
        Offered load that arrivals are scaled to; None: as the workload says.
    failures : FailureModel or None
        Instead of the cluster's; None: as the cluster says.
    horizon_s : float or None
        End of each run; None: when the last job has ended.
    account : str
        Period of the ledger.
    """

    name: str
    noise_sigma: float = NOISE_SIGMA
    information: str = "exact"
    load: float | None = None
    failures: FailureModel | None = None
    horizon_s: float | None = None
    account: str = "run"


@dataclass(frozen=True, slots=True)
class Until:
    """When enough seeds have been played.

    Parameters
    ----------
    metric : str
        Field of `scheduler.core.metrics.Metrics`.
    relative_width : float
        Longest 95 % interval, from end to end, as a share of the mean.
    at_least : int
        Seeds that are played in any case.
    """

    metric: str
    relative_width: float
    at_least: int = AT_LEAST


@dataclass(frozen=True, slots=True)
class Limits:
    """What one cell may take.

    Parameters
    ----------
    timeout_s : float
        Time.
    memory_bytes : float
        Memory beyond what its worker holds before.
    retries : int
        Further attempts after the first took too long or lost its worker.
    """

    timeout_s: float = TIMEOUT_S
    memory_bytes: float = MEMORY_BYTES
    retries: int = RETRIES


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file, checked.

    Parameters
    ----------
    title : str
        A line for people.
    clusters, workloads : tuple of InputFile
        What is combined.
    policies : tuple of str
        The first is what the others are set against.
    seeds : tuple of int
        In the order in which they are played.
    scenarios : tuple of Scenario
        At least one.
    until : Until or None
        When to stop early; None: never.
    limits : Limits
        Of each cell.
    """

    title: str
    clusters: tuple[InputFile, ...]
    workloads: tuple[InputFile, ...]
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    scenarios: tuple[Scenario, ...]
    until: Until | None
    limits: Limits
