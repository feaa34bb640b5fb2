"""Lower bounds on what any schedule of adaptive jobs can reach.

They hold for every schedule on rounds in which a gang takes one of the elastic shapes and each
epoch a batch of the tables, whatever the schedule knows of the future. A configuration that is
used is entered at least once, so a restart is charged to each in proportion to the work done in
it, which is never more than what is paid.

Makespan: each job alone, from its first round on, and from any instant on the linear program of
the jobs to come. Mean JCT: prices on accelerator-time turn the
capacity into a cost, and every job then minimises its own completion time plus what it holds
(Lagrangian relaxation: any non-negative prices give a bound). A job's least cost is a dynamic
program over time steps and cells of work, see `WorkCells`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.adaptive_tables import Tables
from scheduler.solver.least_makespan import makespan_prices
from scheduler.solver.priced_work import Prices, WorkCells

ROUND_S: Final = 60
HOUR_S: Final = 3600.0
BUCKET_S: Final = 300
"""Seconds for which a price holds."""

STRETCHES: Final = (4, 6, 8, 12, 16, 24, 32, 48)
"""Numbers of parts of a job within which speeds are evened out, as many as needed."""

LONG: Final = 0.2
"""Share of the longest job's time that makes a job long."""

SOLVER_ERROR: Final = 1e-6
"""Relative tolerance taken off a value of the linear solver."""

FIRST_STEP: Final = 0.03
"""First change of a price whose accelerators are asked for twice over."""

FADE: Final = 15
"""Price steps after which changes are half as large."""


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


def adaptive_bounds(tables: Tables, *, steps: int) -> Bounds:
    """Return lower bounds on the mean JCT and the makespan.

    Parameters
    ----------
    tables : Tables
        The problem.
    steps : int
        Price steps; 0 leaves all prices at zero: every job alone.
    """
    problem = tables.problem
    cells = [_cells(tables, a) for a in range(len(problem.applications))]
    starts = np.array([math.ceil(j.release_s / ROUND_S) * ROUND_S for j in problem.jobs], float)
    kinds = np.array([j.application for j in problem.jobs])
    waits = float(sum(starts) - sum(j.release_s for j in problem.jobs))
    alone = np.array([cells[k].total_s for k in kinds])
    makespan = max(float((starts + alone).max()), _latest(tables, cells, starts, kinds))
    best = float(alone.sum())
    if steps:
        best = max(best, _priced(tables, cells, starts, kinds, steps))
    return Bounds((best + waits) / len(problem.jobs) / HOUR_S, makespan / HOUR_S)


def _cells(tables: Tables, application: int) -> WorkCells:
    """Return the cells of an application's work, restarts charged."""
    restart = float(tables.problem.applications[application].restart_s)
    exact = tables.lengths[application] / tables.best_goodputs(application)
    rounded = np.round(exact)
    # A change inside an epoch may gain up to half a second of rounding on either side; its
    # restart outweighs that unless rates differ by more than its seconds.
    totals = rounded.sum(axis=1)
    if restart < totals.max() / max(totals.min(), 1.0):
        rounded = np.maximum(np.minimum(rounded, exact - 0.5), 0.0)
    work = exact.min(axis=0)
    seconds = np.array([_evened(row, work, restart) for row in rounded])
    return WorkCells(seconds, [c for c, _ in tables.configs], BUCKET_S)


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


def _latest(tables: Tables, cells: list[WorkCells], starts: FloatArray, kinds: IntArray) -> float:
    """Return a bound on the makespan: from a start on, all jobs that start then or later.

    The linear program of least makespan serves those jobs as if all were there, from the starts
    of jobs that are long: of the others the work matters, not when it comes.
    """
    alone = np.array([cells[k].total_s for k in kinds])
    best = 0.0
    for start in sorted({0.0, *starts[alone >= LONG * alone.max()].tolist()}):
        late = np.flatnonzero(starts >= start)
        seconds = np.array([cells[k].config_s for k in kinds[late]])
        _, least = makespan_prices(seconds, cells[0].needs, tables.capacity)
        best = max(best, start + least * (1 - SOLVER_ERROR))
    return best


def _priced(
    tables: Tables,
    cells: list[WorkCells],
    starts: FloatArray,
    kinds: IntArray,
    steps: int,
) -> float:
    """Return the best bound on the sum of seconds from first round to completion."""
    capacity = np.array(tables.capacity, float)
    span = float(starts.max()) + 2 * float(max(c.total_s for c in cells))
    buckets = math.ceil(span / BUCKET_S)
    prices = np.zeros((len(capacity), buckets))
    room = capacity[:, None] * BUCKET_S
    best, mean = 0.0, np.zeros_like(prices)
    for step in range(steps):
        value = -float((prices.sum(axis=1) * capacity).sum()) * BUCKET_S
        used = np.zeros_like(prices)
        for k, work in enumerate(cells):
            mine = starts[kinds == k]
            if len(mine):
                costs, held = work.least_costs(Prices(prices, BUCKET_S), mine)
                value += float(costs.sum())
                used += held
        best = max(best, value)
        mean = 0.6 * mean + 0.4 * (used / room - 1)
        prices = np.maximum(prices + FIRST_STEP / (1 + step / FADE) * np.clip(mean, -1, 1), 0.0)
    return best
