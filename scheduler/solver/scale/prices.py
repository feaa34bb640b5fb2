"""Prices per type and size, by LPs over ever fewer jobs.

For any prices, ``bound = sum_j max(0, max_o(utility - price of o)) + supply(prices)`` is at
least the worth of any round. Prices start from a sample of the jobs on a fleet scaled down.
From then on a job enters the LP only if prices within a box around the last ones could change
its choice; where those are too many, a sample of them stands for all. The box shrinks until all
of them fit into one LP, whose answer is then that of the whole. So the work hardly grows with
the number of jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.core_lp import Core, CoreAnswer, solve_core
from scheduler.solver.scale.rows import JobTable, SizeTable, lifted, supply
from scheduler.solver.scale.supply_rows import SupplyRows

COLD_BOX: Final = 0.3
WARM_BOX: Final = 0.05
"""Half width of the first box, as a share of each price."""

SHRINK: Final = 0.35
GROW: Final = 2.0
"""What happens to the width of a price inside its box, and to that of one at its edge."""

SAMPLE_JOBS: Final = 250
CORE_JOBS: Final = 1000
"""Jobs in the first LP, and in the later ones; more would take longer than another LP with a
smaller box."""

ROOMY: Final = 3
"""An LP of fewer than one in so many of the jobs it could hold has room for wider boxes."""

STALLED: Final = 1e-6
"""Three LPs of all open jobs in a row that improve the bound by less than this share end it."""

_TURNS: Final = 24
"""LPs, at most; about eight are usual."""


@dataclass(frozen=True, slots=True)
class Priced:
    """Prices, what they prove, and the fractional answer they came with.

    Parameters
    ----------
    prices : ndarray of float64, shape (types, columns)
        Not negative.
    bound : float
        From `bound_at`.
    value : float
        Utility of the fractional answer, less the price of what it uses beyond the fleet.
    choice : ndarray of int64, shape (jobs kept,)
        Row of each job that is settled; -1 for those that do not start and those of the core.
    core : ndarray of int64
        Open rows of the last LP.
    share : ndarray of float64
        How far each is taken.
    """

    prices: FloatArray
    bound: float
    value: float
    choice: IntArray
    core: IntArray
    share: FloatArray


def key_prices(jobs: JobTable, prices: FloatArray) -> FloatArray:
    """Return the price of each key."""
    return np.asarray(prices.ravel()[jobs.key_column] * jobs.key_slots)


def bound_at(table: SizeTable, jobs: JobTable, prices: FloatArray) -> float:
    """Return the bound that `prices` prove, in float64.

    Raises
    ------
    ValueError
        If a price is negative or not a number: it would prove nothing.
    """
    if not np.all(prices >= 0.0):
        raise ValueError("prices that prove a bound are not negative")
    if not len(jobs):
        return 0.0
    value = jobs.exact - key_prices(jobs, prices)[jobs.key]
    best = np.maximum(np.maximum.reduceat(value, jobs.first), 0.0)
    return float(best.sum()) + supply(table, prices)


def search(
    table: SizeTable,
    jobs: JobTable,
    rows: SupplyRows,
    start: FloatArray | None,
    rng: np.random.Generator,
) -> Priced:
    """Return prices whose bound is near the least, and the fractional answer they came with.

    Parameters
    ----------
    table, jobs, rows : SizeTable, JobTable, SupplyRows
        The round; at least one job.
    start : ndarray of float64, shape (types, columns), or None
        Last round's prices; None: from nothing.
    rng : Generator
        Draws the samples of jobs.
    """
    shape = table.used.shape
    if start is None:
        prices = lifted(table, _from_sample(table, jobs, rows, rng).reshape(shape)).ravel()
        width = np.full(table.used.size, COLD_BOX)
    else:
        prices, width = np.maximum(start.ravel(), 0.0), np.full(table.used.size, WARM_BOX)
    best, best_bound = prices, bound_at(table, jobs, prices.reshape(shape))
    last: tuple[_Open, CoreAnswer] | None = None
    stalled = 0
    for _ in range(_TURNS):
        opened = _open(table, jobs, best, width, rng)
        answer = solve_core(table, jobs, rows, opened.core)
        if answer is None:
            width *= SHRINK
            continue
        found = lifted(table, answer.prices.reshape(shape)).ravel()
        bound = bound_at(table, jobs, found.reshape(shape))
        stalled = stalled + 1 if bound > best_bound * (1.0 - STALLED) and opened.whole else 0
        if bound < best_bound:
            best, best_bound = found, bound
        if opened.whole:
            last = opened, answer
            if not answer.at_edge.any() or stalled == 3:
                break
        tight = np.repeat(answer.at_edge.reshape(shape).any(axis=1), shape[1])
        room = ROOMY * opened.jobs < CORE_JOBS
        width = width * np.where(tight, GROW if room else 1.0, 1.0 if room else SHRINK)
        width = np.where(answer.at_edge, width * GROW, width)
    if last is None:  # no LP of all open jobs had an answer: best choices at the prices
        opened = _open(table, jobs, best, np.zeros_like(width), rng)
        none = np.zeros(len(opened.core.rows))
        return Priced(
            best.reshape(shape),
            best_bound,
            opened.settled_value,
            opened.choice,
            opened.core.rows,
            none,
        )
    opened, answer = last
    value = opened.settled_value + answer.value
    return Priced(
        best.reshape(shape), best_bound, value, opened.choice, opened.core.rows, answer.share
    )


@dataclass(frozen=True, slots=True)
class _Open:
    """What prices within a box leave open."""

    core: Core
    choice: IntArray
    settled_value: float
    whole: bool
    jobs: int


def _open(
    table: SizeTable, jobs: JobTable, prices: FloatArray, box: FloatArray, rng: np.random.Generator
) -> _Open:
    """Return the options that some prices in the box make best, and the jobs they settle.

    An option is worth its surplus give or take the width of its price; it is open if at most it
    is worth what the job's best choice is at least.
    """
    width = box * np.maximum(prices, _floor(table, prices))
    cost, give = key_prices(jobs, prices)[jobs.key], key_prices(jobs, width)[jobs.key]
    value = jobs.exact - cost
    least = np.maximum(np.maximum.reduceat(value - give, jobs.first), 0.0)
    is_open = value + give >= least[jobs.row_job]
    choices = np.add.reduceat(is_open, jobs.first, dtype=np.int64) + (least <= 0.0)
    unsettled = choices > 1
    at = np.flatnonzero(is_open & ~unsettled[jobs.row_job])
    choice = np.full(len(jobs), -1, dtype=np.int64)
    choice[jobs.row_job[at]] = at
    drawn, weight = np.flatnonzero(unsettled), 1.0
    if len(drawn) > CORE_JOBS:
        weight = len(drawn) / CORE_JOBS
        drawn = np.sort(rng.choice(drawn, CORE_JOBS, replace=False))
    rows = jobs.rows_of(drawn)
    low, high = np.maximum(prices - width, 0.0), prices + width
    core = Core(rows[is_open[rows]], weight, demand_of(table, jobs, at), low, high)
    return _Open(core, choice, float(jobs.exact[at].sum()), weight == 1.0, len(drawn))


def demand_of(table: SizeTable, jobs: JobTable, rows: IntArray) -> FloatArray:
    """Return how much of each size the options in `rows` take, shape (types times columns,)."""
    key = jobs.key[rows]
    weights = jobs.key_slots[key]
    return np.bincount(jobs.key_column[key], weights, table.used.size).astype(np.float64)


def _floor(table: SizeTable, prices: FloatArray) -> FloatArray:
    """Return what a size would cost at a hundredth of the mean price per accelerator."""
    accelerators = accelerators_of(table).ravel()
    used = table.used.ravel()
    mean = float(prices[used].sum() / accelerators[used].sum())
    return 0.01 * mean * accelerators


def accelerators_of(table: SizeTable) -> FloatArray:
    """Return accelerators of each size, shape (types, columns)."""
    slots = np.tile(np.array(table.slots, dtype=np.float64), (table.types, 1))
    gangs = np.outer(table.node_size, np.array(table.gangs, dtype=np.float64))
    return np.concatenate([slots, gangs], axis=1)


def _from_sample(
    table: SizeTable, jobs: JobTable, rows: SupplyRows, rng: np.random.Generator
) -> FloatArray:
    """Return prices of the LP of some jobs on as large a share of the fleet.

    Each of them brings its options of best use of the fleet, by utility per accelerator.
    """
    drawn = np.arange(len(jobs))
    if len(jobs) > SAMPLE_JOBS:
        drawn = np.sort(rng.choice(drawn, SAMPLE_JOBS, replace=False))
    everything = np.zeros(table.used.size)
    core = Core(
        jobs.rows_of(drawn),
        1.0,
        everything,
        everything,
        np.full(table.used.size, 1e3 * jobs.exact.max()),
    )
    answer = solve_core(table, jobs, rows, core, len(drawn) / len(jobs))
    if answer is not None:
        return answer.prices
    use = accelerators_of(table).ravel()
    return float(np.median(jobs.exact / (use[jobs.key_column] * jobs.key_slots)[jobs.key])) * use
