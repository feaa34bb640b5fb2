"""Shares of time by job and accelerator type: Gavel's policies as linear programs.

A share ``x[i, t]`` is the part of the time that job i spends on type t. Every program is over
``x >= 0``, ``sum_t x[i, t] <= 1`` and ``sum_i gang[i, t] x[i, t] <= capacity[t]``.

Optimal shares are rarely unique: once the worst-off job is as well off as it can be, there is
room left. A simplex vertex hands that room to whoever comes first, which makes a policy's
outcome an accident of row order; an interior-point method spreads it over all. The published
figures are those of one (`scheduler.solver.interior_point`).

References
----------
D. Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning
workloads" (Gavel), OSDI 2020, sections 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.solver.interior_point import ShareProgram

BISECTION_RATIO = 1.05
"""Gavel's search for the least makespan stops at this ratio of its two ends, which begin at
`BISECTION_S`."""

BISECTION_S = (100.0, 1e6)

_RHO_TOLERANCE = 1e-6
_RHO_STEPS = 40


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the programs share.

    Parameters
    ----------
    rates : ndarray of float64, shape (jobs, types)
        Work per second of a job that holds its gang on a type all the time; 0: cannot run.
        Every job has a positive rate somewhere.
    gang : ndarray of float64, shape (jobs, types)
        Accelerators the job holds there, positive.
    capacity : ndarray of float64, shape (types,)
        Accelerators, positive.
    """

    rates: FloatArray
    gang: FloatArray
    capacity: FloatArray


def max_min_shares(fleet: Fleet, need: FloatArray) -> FloatArray:
    """Return shares that maximise the least ``throughput / need`` over the jobs.

    Parameters
    ----------
    fleet : Fleet
        Jobs and capacities.
    need : ndarray of float64, shape (jobs,)
        Throughput that counts as one, positive.

    Returns
    -------
    ndarray of float64, shape (jobs, types)
    """
    return _level(fleet, need)[0]


def max_throughput_shares(fleet: Fleet, value: FloatArray) -> FloatArray:
    """Return shares that maximise the sum of ``value[i, t] x[i, t]``."""
    return ShareProgram(fleet.rates, fleet.gang, fleet.capacity, None, -value).solve()[0]


def makespan_shares(fleet: Fleet, left: FloatArray) -> FloatArray:
    """Return shares with which all of `left` is done nearly as soon as possible.

    As Gavel's policy does, the horizon is searched by bisection to a ratio of 1.05, and the
    shares are any that meet it: what a job gets above its need is room left over.
    """
    least_s = 1 / _level(fleet, left)[1]
    low_s, high_s = BISECTION_S
    while high_s < least_s:
        low_s, high_s = high_s, 10 * high_s
    while BISECTION_RATIO * low_s < high_s:
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if middle_s > least_s else (middle_s, high_s)
    need = left / high_s
    return ShareProgram(fleet.rates, fleet.gang, fleet.capacity, need).solve()[0]


def finish_time_shares(
    fleet: Fleet, left: FloatArray, elapsed_s: FloatArray, isolated_s: FloatArray
) -> FloatArray:
    """Return shares that minimise the worst ratio of finish time to that alone on 1/n-th.

    A job that has spent `elapsed_s` and has `left` to do ends after
    ``elapsed_s + left / throughput``; `isolated_s` is what it would take with an equal part
    of the fleet to itself (Themis's rho; Gavel, section 4.2). For a given ratio that is a
    throughput each job needs; the ratio at which all needs are just met is found by false
    position (Illinois).
    """

    def shares_at(rho: float) -> tuple[FloatArray, float]:
        return _level(fleet, left / (rho * isolated_s - elapsed_s))

    alone_s = left / fleet.rates.max(axis=1)
    low = float(((elapsed_s + alone_s) / isolated_s).max())  # no job can do better than alone
    found = shares_at(low)
    low_level = found[1]
    high, high_level = low, low_level
    while high_level < 1:
        low, low_level = high, high_level
        high *= 2
        found = shares_at(high)
        high_level = found[1]
    for _ in range(_RHO_STEPS):
        if low == high or high_level - 1 <= _RHO_TOLERANCE:
            break
        middle = low + (high - low) * (1 - low_level) / (high_level - low_level)
        middle = min(max(middle, low + 0.01 * (high - low)), high - 0.01 * (high - low))
        there = shares_at(middle)
        if there[1] >= 1:
            high, high_level, found = middle, there[1], there
        else:
            low, low_level = middle, there[1]
        if high - low <= _RHO_TOLERANCE * high:
            break
    return found[0]


def isolated_shares(fleet: Fleet) -> FloatArray:
    """Return an equal part of every type for each job, within its whole time."""
    part = fleet.capacity[None, :] / len(fleet.rates) / fleet.gang
    return np.asarray(part / np.maximum(1.0, part.sum(axis=1))[:, None])


def isolated_rates(fleet: Fleet) -> FloatArray:
    """Return each job's throughput with an equal part of every type to itself."""
    return np.asarray((fleet.rates * isolated_shares(fleet)).sum(axis=1))


def proportional_rates(fleet: Fleet) -> FloatArray:
    """Return each job's throughput if all time is split over types as the capacity is."""
    share = fleet.capacity / fleet.capacity.sum()
    return np.asarray(fleet.rates @ share)


def _level(fleet: Fleet, need: FloatArray) -> tuple[FloatArray, float]:
    """Return shares, and the largest level such that all have ``need * level``."""
    # in units in which a level is about one: it is sought beside shares, which are
    relative = fleet.rates / need[:, None]
    unit = float(relative.max(axis=1).min())
    one = np.ones(len(need))
    program = ShareProgram(relative / unit, fleet.gang, fleet.capacity, one, levelled=True)
    shares, level = program.solve()
    return shares, level * unit
