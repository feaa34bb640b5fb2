"""Time buckets, what the fleet has in each, and jobs that the plan need not tell apart."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.plan.resources import Fleet


@dataclass(frozen=True, slots=True)
class Buckets:
    """Time cut into pieces, and the fleet's supply in each.

    Parameters
    ----------
    edges_s : ndarray of float64, shape (buckets + 1,)
        Ascending; after the last comes time without end, in which nothing is priced.
    supply : ndarray of float64, shape (resources, buckets)
        Accelerator-seconds of each type, less declared outages; then of the rows.
    """

    edges_s: FloatArray
    supply: FloatArray

    def __len__(self) -> int:
        return len(self.edges_s) - 1


@dataclass(frozen=True, slots=True)
class Groups:
    """Jobs alike in kind, release, work, weight and dates, as one row with a count.

    Parameters
    ----------
    kind : ndarray of int64
        Position in `Fleet.tables`.
    ready_s : ndarray of float64
        Release and restart time: no work is done before.
    work, weight : ndarray of float64
        Work of each job, and what a second of its completion counts.
    count : ndarray of int64
        Jobs.
    due_s : ndarray of float64
        From when on completion counts.
    limit_s : ndarray of float64
        By when it has to complete; inf: whenever.
    """

    kind: IntArray
    ready_s: FloatArray
    work: FloatArray
    weight: FloatArray
    count: IntArray
    due_s: FloatArray
    limit_s: FloatArray

    def __len__(self) -> int:
        return len(self.count)

    def take(self, index: IntArray) -> Groups:
        """Return the groups at `index`."""
        return Groups(*(getattr(self, f.name)[index] for f in fields(self)))

    def columns(self) -> FloatArray:
        """Return what tells groups apart, shape (groups, 6)."""
        every = (self.kind, self.ready_s, self.work, self.weight, self.due_s, self.limit_s)
        return np.stack([np.asarray(c, dtype=np.float64) for c in every], axis=1)


@dataclass(frozen=True, slots=True)
class Dates:
    """What counts of the completions, by job of the workload.

    Parameters
    ----------
    weight : ndarray of float64
        What a second of completion counts.
    due_s : ndarray of float64 or None
        From when on; None: from 0.
    limit_s : ndarray of float64 or None
        By when a job has to complete; None: whenever.
    """

    weight: FloatArray
    due_s: FloatArray | None = None
    limit_s: FloatArray | None = None


def group_jobs(fleet: Fleet, index: IntArray, work: FloatArray, dates: Dates) -> Groups:
    """Return the jobs at `index` as groups, in order of kind, release, work, weight and dates."""
    due_s = np.zeros(len(work)) if dates.due_s is None else dates.due_s
    limit_s = np.full(len(work), np.inf) if dates.limit_s is None else dates.limit_s
    ready_s = ready_of(fleet.problem, work)
    columns = (fleet.kind_of, ready_s, work, dates.weight, due_s, limit_s)
    rows = np.stack([np.asarray(c[index], dtype=np.float64) for c in columns], axis=1)
    alike, count = np.unique(rows, axis=0, return_counts=True)
    return _groups(alike, count)


def _groups(rows: FloatArray, count: IntArray) -> Groups:
    kind, ready_s, work, weight, due_s, limit_s = rows.T
    return Groups(
        kind.astype(np.int64), ready_s, work, weight, count.astype(np.int64), due_s, limit_s
    )


def ready_of(problem: Problem, work: FloatArray) -> FloatArray:
    """Return, by job, before when none of its work is done.

    That is its release, or the earliest end of any job that it needs, and its restart time.
    """
    columns = problem.workload.jobs
    kinds = columns.class_index
    restart_s = np.array([kind.restart_s for kind in problem.workload.classes])[kinds]
    start_s = np.array([us_from_s(t) for t in columns.release_s.tolist()]) / US_PER_S
    if not columns.after:
        return np.asarray(start_s + restart_s)
    fastest = np.array([max((m.rate for m in ms), default=np.inf) for ms in problem.modes])
    run_s = (restart_s + work / fastest[kinds]) * (1.0 - 1e-9)
    changed = True
    while changed:  # as often as the longest chain is long
        changed = False
        for job, needed in enumerate(columns.after):
            first_s = max((float(start_s[k] + run_s[k]) for k in needed), default=0.0)
            if first_s > start_s[job]:
                start_s[job], changed = first_s, True
    return np.asarray(start_s + restart_s)


def coarser(groups: Groups, most: int) -> Groups:
    """Return at most about `most` groups, by rounding release, work and dates to common values.

    Jobs that are ready earlier, have less to do, and are due later complete no later and are
    less late, so that what bounds the coarser groups bounds these. Work is rounded on a geometric
    grid that widens until it does.
    """
    ratio = FINEST
    found = groups
    while len(found) > most and ratio <= COARSEST:
        steps = max(2, round(64 * FINEST / ratio))
        grid = np.quantile(groups.ready_s, np.linspace(0.0, 1.0, steps), method="lower")
        ready_s = grid[np.searchsorted(grid, groups.ready_s, side="right") - 1]
        work = ratio ** np.floor(np.log(groups.work) / np.log(ratio))
        work = np.minimum(work, groups.work)  # the power may have been rounded up
        rows = replace(
            groups,
            ready_s=ready_s,
            work=work,
            due_s=_later(groups.due_s, steps),
            limit_s=_later(groups.limit_s, steps),
        ).columns()
        alike, where = np.unique(rows, axis=0, return_inverse=True)
        count = np.bincount(where.ravel(), groups.count, len(alike)).astype(np.int64)
        found = _groups(alike, count)
        ratio = 1.0 + (ratio - 1.0) * 2.0
    return found


def _later(dates_s: FloatArray, steps: int) -> FloatArray:
    """Return dates rounded up to common ones."""
    finite = np.isfinite(dates_s)
    if not finite.any():
        return dates_s
    grid = np.quantile(dates_s[finite], np.linspace(0.0, 1.0, steps), method="higher")
    return np.where(finite, grid[np.minimum(np.searchsorted(grid, dates_s), steps - 1)], dates_s)


FINEST: Final = 1.02
COARSEST: Final = 4.0


def cut_time(
    fleet: Fleet, groups: Groups, last_s: float, buckets: int, *, emptied_s: float = np.inf
) -> Buckets:
    """Return buckets that widen geometrically from the first release, cut also at dates.

    Parameters
    ----------
    fleet, groups : Fleet, Groups
        Accelerators, and jobs; where they become ready or are due at many instants, half the
        cuts are at quantiles of these.
    last_s : float
        About when the last job ends.
    buckets : int
        How many, at most.
    emptied_s : float
        See `Fleet.supply`.
    """
    first_s = float(groups.ready_s.min())
    dates = np.concatenate([groups.ready_s, groups.due_s, groups.limit_s])
    instants = np.unique(dates[np.isfinite(dates) & (dates >= first_s)])
    by_date = min(len(instants), buckets // 2)
    span_s = max(last_s - first_s, 1.0)
    steps = np.arange(buckets - by_date + 1) / (buckets - by_date)
    widening = first_s + span_s * (np.exp(WIDENING * steps) - 1.0) / (np.exp(WIDENING) - 1.0)
    cuts = np.quantile(instants, np.linspace(0.0, 1.0, by_date), method="nearest")
    edges = np.unique(np.concatenate([widening, cuts[cuts < widening[-1]]]))
    return Buckets(edges, fleet.supply(edges, emptied_s))


WIDENING: Final = 2.0
"""Logarithm of the last bucket's width over the first's."""
