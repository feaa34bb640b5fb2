"""Lower bounds on what any schedule of adaptive jobs can reach.

They hold for every schedule on rounds in which a gang takes one of the elastic shapes and each
epoch a batch of the tables, whatever the schedule knows of the future.

Mean JCT: each job alone, by its own dynamic program; and, where a plan's prices are given, what
these prove (`scheduler.solver.adaptive.prices`). Restarts, whole rounds and the rounding of
epochs are exact in both but for changes of configuration, which round to the nearest grid point
in the job's favour.

Makespan: each job alone, and from any instant on the linear program of the jobs to come. A
configuration that is used is entered at least once, so that program charges a restart in
proportion to the work done in it, which is never more than what is paid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.adaptive_tables import Tables
from scheduler.solver.adaptive.lattice import ROUND_S, Lattice
from scheduler.solver.adaptive.paths import Paths, job_starts
from scheduler.solver.adaptive.prices import PricedPlan
from scheduler.solver.least_makespan import makespan_prices

HOUR_S: Final = 3600.0
STRETCHES: Final = (4, 6, 8, 12, 16, 24, 32, 48)
"""Numbers of parts of a job within which speeds are evened out, as many as needed."""

LONG: Final = 0.2
"""Share of the longest job's time that makes a job long."""

SOLVER_ERROR: Final = 1e-6
"""Relative tolerance taken off a value of the linear solver."""

FLOAT_ERROR: Final = 1e-9
"""Relative tolerance taken off a sum over jobs and rounds."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """No schedule of elastic gangs on rounds is better.

    Parameters
    ----------
    mean_jct_h, makespan_h : float
        Hours.
    """

    mean_jct_h: float
    makespan_h: float


def adaptive_bounds(tables: Tables, plan: PricedPlan | None = None) -> Bounds:
    """Return lower bounds on the mean JCT and the makespan.

    Parameters
    ----------
    tables : Tables
        The problem.
    plan : PricedPlan or None
        Prices of the problem's rounds; without them the mean JCT is that of jobs alone.
    """
    problem = tables.problem
    release = np.array([j.release_s for j in problem.jobs])
    starts: FloatArray = np.asarray(job_starts(release) * ROUND_S, float)
    kinds = np.array([j.application for j in problem.jobs])
    used = sorted(set(kinds.tolist()))
    alone_s = np.zeros(len(problem.applications))
    for a in used:
        lattice = Lattice(tables, a, lower=True)
        rounds = math.ceil(float(lattice.fresh_s.min()) / ROUND_S) + lattice.restart_rounds + 2
        alone_s[a] = Paths(lattice, np.zeros((len(lattice.count), rounds))).cost(0)
    alone: FloatArray = np.asarray(alone_s[kinds], float)
    makespan = max(float((starts + alone).max()), _latest(tables, starts, kinds, alone))
    total = max(float(alone.sum()), plan.total_s if plan else 0.0) * (1 - FLOAT_ERROR)
    mean = (total + float((starts - release).sum())) / len(problem.jobs)
    return Bounds(mean / HOUR_S, makespan * (1 - FLOAT_ERROR) / HOUR_S)


def _seconds(tables: Tables, application: int) -> FloatArray:
    """Return the seconds of all work in each configuration, restarts charged."""
    restart = float(tables.problem.applications[application].restart_s)
    exact = tables.lengths[application] / tables.best_goodputs(application)
    rounded = np.round(exact)
    # A change inside an epoch may gain up to half a second of rounding on either side; its
    # restart outweighs that unless rates differ by more than its seconds.
    totals = rounded.sum(axis=1)
    if restart < totals.max() / max(totals.min(), 1.0):
        rounded = np.maximum(np.minimum(rounded, exact - 0.5), 0.0)
    work = exact.min(axis=0)
    return np.array([_evened(row, work, restart).sum() for row in rounded])


def _evened(rounded: FloatArray, work: FloatArray, restart: float) -> FloatArray:
    """Return a configuration's seconds by epoch, evened out and with the restart charged.

    Speeds relative to other configurations vary from epoch to epoch, and no schedule can hop
    between configurations to profit, because each hop costs a restart. Evened seconds keep the
    totals of stretches of epochs; from anywhere to anywhere they exceed the true ones by at most
    `off`, which the restart of that stay must make up for. What is left of the restart is charged
    in proportion to the work. The longest stretches that leave half of it are taken.
    """
    epochs = len(rounded)
    for stretches in (*STRETCHES, epochs):
        even = np.empty(epochs)
        for part in np.array_split(np.arange(epochs), min(stretches, epochs)):
            even[part] = rounded[part].sum() * work[part] / work[part].sum()
        ahead = np.concatenate([[0.0], (even - rounded).cumsum()])
        off = float((ahead - np.minimum.accumulate(ahead)).max())
        if off <= restart / 2:
            break
    else:
        even, off = rounded, 0.0
    return np.asarray(even + (restart - off) * work / work.sum(), float)


def _latest(tables: Tables, starts: FloatArray, kinds: IntArray, alone: FloatArray) -> float:
    """Return a bound on the makespan: from a start on, all jobs that start then or later.

    The linear program of least makespan serves those jobs as if all were there, from the starts
    of jobs that are long: of the others the work matters, not when it comes.
    """
    needs = [config for config, _ in tables.configs]
    seconds = {a: _seconds(tables, a) for a in sorted(set(kinds.tolist()))}
    best = 0.0
    for start in sorted({0.0, *starts[alone >= LONG * alone.max()].tolist()}):
        late = np.flatnonzero(starts >= start)
        times = np.array([seconds[k] for k in kinds[late].tolist()])
        _, least = makespan_prices(times, needs, tables.capacity)
        best = max(best, start + least * (1 - SOLVER_ERROR))
    return best
