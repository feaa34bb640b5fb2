"""Training jobs: sessions are drawn until the requested demand is met, then placed in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from scheduler.core.errors import Fault, InputError
from scheduler.core.random import stream
from scheduler.core.workload import FloatArray, IntArray, JobClass
from scheduler.generate.arrivals import batch_sizes, mean_batch, place_sessions, release_times
from scheduler.generate.durations import Mixture, sample
from scheduler.generate.published import BatchLaw, Rhythm
from scheduler.generate.tenants import draw_tenants, tenant_chances

LOAD_TOLERANCE = 0.005
"""Sessions are added until the demand is this close to the request."""

LOAD_LIMIT = 0.03
"""A workload too small to come this close is refused."""

FAILED_POWER = 3
"""A failed job stops after U**3 of its planned run (mean a quarter: most fail early); a
cancelled one after U of it."""

MOST_JOBS = 20_000_000
"""Larger workloads are refused before anything is drawn."""

_MOST_BLOCKS = 24


@dataclass(frozen=True, slots=True)
class Strand:
    """Jobs of one class and one gang size that share their laws.

    Parameters
    ----------
    job_class : JobClass
        The class submitted.
    gang : int
        Accelerators that `mean_demand` counts and `run_time` is for.
    share : float
        Share of all jobs (normalised over the strands).
    run_time : Mixture
        Planned run time on the reference.
    batch : BatchLaw
        Jobs of one session.
    work_per_s : float
        Units of work in one second of the run time.
    cancelled, failed : float
        Shares of jobs that stop before their planned run time.
    """

    job_class: JobClass
    gang: int
    share: float
    run_time: Mixture
    batch: BatchLaw
    work_per_s: float = 1.0
    cancelled: float = 0.0
    failed: float = 0.0

    def mean_run_s(self, longest_s: float) -> float:
        """Return the mean run time with early stops."""
        kept = 1.0 - self.cancelled / 2 - self.failed * FAILED_POWER / (FAILED_POWER + 1)
        return kept * self.run_time.mean(longest_s)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Jobs as columns in order of release, shape (n,) each.

    Parameters
    ----------
    strand, tenant : ndarray of int64
        Positions in the strands and the tenants.
    session : ndarray of int64
        Jobs of one session share a number.
    release_s, planned_s, run_s : ndarray of float64
        Release; run time the user plans; run time that is needed.
    """

    strand: IntArray
    tenant: IntArray
    session: IntArray
    release_s: FloatArray
    planned_s: FloatArray
    run_s: FloatArray


@dataclass(frozen=True, slots=True)
class _Pool:
    """Sessions and their jobs before they are placed in time."""

    strand: IntArray  # (sessions,)
    sizes: IntArray  # (sessions,)
    demand: FloatArray  # (sessions,) accelerator-seconds
    planned_s: FloatArray  # (jobs,)
    run_s: FloatArray  # (jobs,)

    def joined(self, other: _Pool) -> _Pool:
        return _Pool(
            *(np.concatenate((getattr(self, f.name), getattr(other, f.name))) for f in fields(self))
        )


def draw_jobs(
    strands: Sequence[Strand],
    *,
    seed: int,
    span_s: float,
    mean_demand: float,
    rhythm: Rhythm,
    longest_s: float,
    tenants: int,
) -> Drawn:
    """Draw jobs whose accelerator-seconds are ``span_s * mean_demand``, within half a per cent.

    Sessions are drawn one after another until the demand is met. One that is too large for
    what is left is passed over, so a short workload misses the largest sessions.

    Parameters
    ----------
    strands : sequence of Strand
        What may be submitted.
    seed : int
        Streams ``gangs``, ``batches``, ``durations``, ``outcomes``, ``rate``, ``sessions``,
        ``gaps`` and ``tenants`` are derived from it.
    span_s : float
        Length of the workload.
    mean_demand : float
        Accelerators demanded on average, on the reference.
    rhythm : Rhythm
        How the session rate varies.
    longest_s : float
        Cut of all run times.
    tenants : int
        Number of tenants.

    Returns
    -------
    Drawn
        Sorted by release.

    Raises
    ------
    InputError
        If no combination of sessions comes within three per cent of the demand, or if that
        takes more than `MOST_JOBS` jobs.
    """
    share = np.array([s.share / mean_batch(s.batch) for s in strands])
    share /= share.sum()
    target = span_s * mean_demand
    per_session = [s.gang * s.mean_run_s(longest_s) * mean_batch(s.batch) for s in strands]
    sessions = target / float(np.dot(share, per_session))
    jobs_wanted = sessions * float(np.dot(share, [mean_batch(s.batch) for s in strands]))
    if jobs_wanted > MOST_JOBS:
        fault = Fault(
            "too many jobs",
            path="mean_demand",
            value=f"about {jobs_wanted:.3g} jobs",
            allowed=f"at most {MOST_JOBS:.3g}; ask for fewer days or a smaller demand",
        )
        raise InputError([fault])
    block = max(64, int(1.1 * sessions) + 1)
    pool = _draw_pool(strands, share, block, longest_s, seed, 0)
    chosen, missing = _fill(pool.demand, target)
    turn = 1
    while missing > LOAD_TOLERANCE * target and turn < _MOST_BLOCKS:
        extra = max(64, block // 8)
        pool = pool.joined(_draw_pool(strands, share, extra, longest_s, seed, turn))
        chosen, missing = _fill(pool.demand, target)
        turn += 1
    if missing > LOAD_LIMIT * target:
        smallest = float(pool.demand.min())
        fault = Fault(
            "too little work to fill with whole jobs",
            path="mean_demand",
            value=f"{target:.3g} accelerator-seconds in all",
            allowed=f"several times the smallest session drawn ({smallest:.3g})",
        )
        raise InputError([fault])
    strand, sizes = pool.strand[chosen], pool.sizes[chosen]
    jobs = _members(pool.sizes, chosen)
    start = place_sessions(
        len(chosen),
        span_s,
        rhythm,
        rate_rng=stream(seed, "rate"),
        place_rng=stream(seed, "sessions"),
    )
    release = release_times(start, sizes, span_s, stream(seed, "gaps"))
    chances = tenant_chances(np.array([s.gang for s in strands]), share, tenants)
    tenant = draw_tenants(chances, strand, stream(seed, "tenants"))
    order = np.argsort(release, kind="stable")
    return Drawn(
        np.repeat(strand, sizes)[order],
        np.repeat(tenant, sizes)[order],
        np.repeat(np.arange(len(chosen)), sizes)[order],
        release[order],
        pool.planned_s[jobs][order],
        pool.run_s[jobs][order],
    )


def _draw_pool(
    strands: Sequence[Strand],
    share: FloatArray,
    sessions: int,
    longest_s: float,
    seed: int,
    block: int,
) -> _Pool:
    edges = np.cumsum(share)[:-1]
    strand = np.searchsorted(edges, stream(seed, "gangs", block).random(sessions), side="right")
    strand = strand.astype(np.int64)
    sizes = batch_sizes(tuple(s.batch for s in strands), strand, stream(seed, "batches", block))
    of_job = np.repeat(strand, sizes)
    planned = sample(
        [s.run_time for s in strands],
        of_job,
        longest_s,
        lambda turn: stream(seed, "durations", block, turn),
    )
    outcome, progress = stream(seed, "outcomes", block).random((2, len(of_job)))
    failed = np.array([s.failed for s in strands])[of_job]
    cancelled = np.array([s.cancelled for s in strands])[of_job]
    run = planned * np.where(
        outcome < failed,
        progress**FAILED_POWER,
        np.where(outcome < failed + cancelled, progress, 1.0),
    )
    run = np.maximum(run, 1.0)
    gang = np.array([s.gang for s in strands])[of_job]
    first = np.cumsum(sizes) - sizes
    return _Pool(strand, sizes, np.add.reduceat(run * gang, first), planned, run)


def _fill(demand: FloatArray, target: float) -> tuple[IntArray, float]:
    """Take sessions in order while they fit; return their positions and what is missing."""
    reached = np.cumsum(demand)
    taken = int(np.searchsorted(reached, target, side="right"))
    missing = target - (float(reached[taken - 1]) if taken else 0.0)
    more: list[int] = []
    for i, size in enumerate(demand[taken:].tolist(), start=taken):
        if missing <= LOAD_TOLERANCE * target:
            break
        if size <= missing:
            more.append(i)
            missing -= size
    return np.concatenate((np.arange(taken), np.array(more, dtype=np.int64))), missing


def _members(sizes: IntArray, chosen: IntArray) -> IntArray:
    """Return the positions of the jobs of the sessions `chosen`, session by session."""
    first = (np.cumsum(sizes) - sizes)[chosen]
    counts = sizes[chosen]
    before = np.cumsum(counts) - counts
    return np.repeat(first - before, counts) + np.arange(int(counts.sum()))
