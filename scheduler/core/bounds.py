"""Combinatorial lower bounds on mean completion time and makespan.

They hold for every schedule that the verifier accepts, whatever its policy: preempting,
resizing and moving allowed, knowledge perfect, placement free. Four facts carry them.

1. *Job alone.* A job of work w ends no earlier than release + restart + w / (its fastest
   mode's rate).
2. *Priced area.* Let pi_t >= 0 be prices of an accelerator of type t with
   sum_t pi_t capacity_t = 1. A gang in mode m occupies pi.n_m of the fleet, and at no
   instant do all gangs together occupy more than 1. Doing a unit of work occupies at least
   min_m pi.n_m / rate_m of it for a second, and the start before the first kept work
   restart * min_m pi.n_m. So each job needs at least p = work * min_m(pi.n_m / rate_m) +
   restart * min_m(pi.n_m) seconds of one machine of speed 1 that jobs may share in any
   proportions, whatever its modes and types are; unlike speeds of unlike types are inside
   the two minima, so no assumption on them is needed.
3. *Shortest remaining time first* on that machine has, at every instant, completed as many
   jobs as any schedule can, also sharing ones (Schrage 1968). So its i-th completion is a
   lower bound on the i-th completion of any schedule; by 1 the i-th smallest of the
   jobs-alone ends is another; the larger of the two, summed over i, bounds the sum of
   completions.
4. *Mean busy dates.* Let M be the mean instant at which a job is served on that machine.
   The sum of all M is least when the available job of least p is always served (Goemans
   1997). A job is never served faster than in its fastest mode, and its start comes before
   its work, so its completion is later than M by at least half its work's time, and by the
   whole of it plus half the restart time for the part of p that is the start. This counts
   what fact 3 does not: that many gangs run side by side rather than one after another.

Services and outages only take capacity away, so the bounds hold with them. Prices are
searched by a few steps of mirror ascent on the area bound; any prices are valid.

References
----------
L. Schrage, "A proof of the optimality of the shortest remaining processing time
discipline", Operations Research 16(3), 1968.
M. Goemans, "Improved approximation algorithms for scheduling with release dates", SODA
1997; M. Goemans, M. Queyranne, A. Schulz, M. Skutella, Y. Wang, "Single machine scheduling
with release dates", SIAM J. Discrete Mathematics 15(2), 2002.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.units import US_PER_S, WHOLE_MILLI, us_from_s
from scheduler.core.workload import FloatArray, IntArray

_PRICE_STEPS = 80
_CLOCK_S = 1 / US_PER_S

EVERY_SCHEDULE: Final = "every schedule"
AS_MUCH_SERVED: Final = "every schedule that serves as many requests of each service"
"""What bounds hold for."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What no schedule of the counted jobs can better.

    Parameters
    ----------
    mean_jct_s : float
        On the mean completion time of the counted jobs; 0 if there are none.
    makespan_s : float
        On the last end of a counted job less the first release of the workload.
    jobs : int
        Jobs counted. A run's figures compare with the bounds if it finished just these.
    proof : {"area", "plan", "none"}
        What the bound on the mean completion time rests on: the facts above, prices over time
        (`scheduler.solver.plan`), or nothing, where none was asked for.
    holds_for : str
        `EVERY_SCHEDULE`, or those of them that the bound on the mean completion time holds for;
        that on the makespan holds for every one.
    """

    mean_jct_s: float
    makespan_s: float
    jobs: int
    proof: str = "area"
    holds_for: str = EVERY_SCHEDULE


@dataclass(frozen=True, slots=True)
class _ClassModes:
    """Modes of a class as arrays: accelerators by type, shape (modes, types), and rates."""

    counts: FloatArray
    rates: FloatArray
    restart_s: float


def lower_bounds(
    problem: Problem, work: Sequence[float] | None = None, jobs: Sequence[int] | None = None
) -> Bounds:
    """Return lower bounds on mean completion time and makespan.

    Parameters
    ----------
    problem : Problem
        Fleet, jobs, modes.
    work : sequence of float or None
        Work of every job of the workload (`Run.actual_work`); None: nominal work.
    jobs : sequence of int or None
        Jobs to count, each with a mode; None: every job that has one. For a run cut by its
        horizon, the finished ones: the others only took room from these.

    Notes
    -----
    O(n log n) in jobs. One microsecond is taken off for the rounding of the clock.
    """
    columns = problem.workload.jobs
    index = np.arange(len(columns)) if jobs is None else np.array(sorted(jobs), dtype=np.int64)
    has_mode = np.array([bool(modes) for modes in problem.modes], dtype=bool)
    index = index[has_mode[columns.class_index[index]]] if len(index) else index
    if not len(index):
        return Bounds(0.0, 0.0, 0)
    every_release_s = np.array([us_from_s(t) for t in columns.release_s.tolist()]) / US_PER_S
    release_s = every_release_s[index]
    work_of = np.asarray(columns.work if work is None else work, dtype=np.float64)[index]
    class_of = columns.class_index[index]
    tables = [_class_modes(problem, c) for c in range(len(problem.modes))]
    restart_s = np.array([t.restart_s for t in tables])[class_of]
    run_s = work_of / np.array([t.rates.max(initial=0.0) for t in tables])[class_of]
    alone_s = release_s + restart_s + run_s
    order = np.argsort(release_s, kind="stable")
    jct_s = last_s = 0.0
    for prices in _price_candidates(problem, tables, class_of, work_of):
        start, doing = _priced(tables, prices)
        start_need, work_need = start[class_of], doing[class_of] * work_of
        need = start_need + work_need
        ends = _served_shortest_first(release_s[order], need[order])
        by_rank = np.maximum(np.sort(ends), np.sort(alone_s)).sum()
        whole = np.where(need > 0, need, 1.0)
        gap_s = (start_need * (run_s + 0.5 * restart_s) + 0.5 * work_need * run_s) / whole
        busy = _mean_busy_dates(release_s[order], need[order]).sum() + gap_s.sum()
        jct_s = max(jct_s, (max(by_rank, busy) - release_s.sum()) / len(index))
        after = np.cumsum(need[order][::-1])[::-1]  # needed by what is released from here on
        last_s = max(last_s, float((release_s[order] + after).max()))
    last_s = max(last_s, float(alone_s.max())) - float(every_release_s.min())
    return Bounds(max(0.0, float(jct_s) - _CLOCK_S), max(0.0, last_s - _CLOCK_S), len(index))


def _class_modes(problem: Problem, class_index: int) -> _ClassModes:
    modes = problem.modes[class_index]
    counts = np.zeros((len(modes), len(problem.types)))
    for m, mode in enumerate(modes):
        for group in mode.groups:
            counts[m, group.type_index] += group.count * mode.share_milli / WHOLE_MILLI
    rates = np.array([mode.rate for mode in modes], dtype=np.float64)
    return _ClassModes(counts, rates, problem.workload.classes[class_index].restart_s)


def _priced(tables: Sequence[_ClassModes], prices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return, by class, the priced area of a start and of one unit of work."""
    start, doing = np.zeros(len(tables)), np.zeros(len(tables))
    for c, table in enumerate(tables):
        if len(table.rates):
            cost = table.counts @ prices
            start[c] = table.restart_s * cost.min()
            doing[c] = (cost / table.rates).min()
    return start, doing


def _price_candidates(
    problem: Problem, tables: Sequence[_ClassModes], class_of: IntArray, work: FloatArray
) -> list[FloatArray]:
    """Return prices worth trying: equal ones, and those that maximise the total area.

    The total area is concave in the prices; mirror ascent keeps ``prices * capacity`` on
    the simplex, and the best iterate is kept.
    """
    capacity = np.array(problem.capacity(), dtype=np.float64)
    used = np.zeros(len(capacity), dtype=bool)
    for c in np.unique(class_of).tolist():
        used |= tables[c].counts.any(axis=0)
    used &= capacity > 0
    equal = np.where(used, 1.0, 0.0) / max(1.0, capacity[used].sum())
    total_work = np.bincount(class_of, work, minlength=len(tables))
    total_jobs = np.bincount(class_of, minlength=len(tables))
    share = equal * capacity
    best, best_area = equal, -1.0
    for step in range(1, _PRICE_STEPS + 1):
        prices = np.divide(share, capacity, out=np.zeros_like(share), where=used)
        area, slope = 0.0, np.zeros(len(capacity))
        for c, table in enumerate(tables):
            if total_jobs[c]:
                cost = table.counts @ prices
                cheap, quick = int(cost.argmin()), int((cost / table.rates).argmin())
                starts = total_jobs[c] * table.restart_s
                units = total_work[c] / table.rates[quick]
                area += starts * cost[cheap] + units * cost[quick]
                slope += starts * table.counts[cheap] + units * table.counts[quick]
        if area > best_area:
            best, best_area = prices, area
        gain = np.divide(slope, capacity, out=np.zeros_like(slope), where=used)
        if not gain.any():
            break
        share = share * np.exp(gain / gain.max() / np.sqrt(step))
        share /= share.sum()
    return [equal, best]


def _served_shortest_first(release_s: FloatArray, need: FloatArray) -> FloatArray:
    """Return completions, in order, of shortest remaining time first on one machine.

    Jobs are given by release. A running job's remaining time only falls, so that jobs need
    to be compared at releases only.
    """
    ends = []
    waiting: list[float] = []
    now = 0.0
    for release, need_s in zip(release_s.tolist(), need.tolist(), strict=True):
        while waiting and now + waiting[0] <= release:
            now += heapq.heappop(waiting)
            ends.append(now)
        if waiting:
            heapq.heapreplace(waiting, waiting[0] - (release - now))
        now = release
        heapq.heappush(waiting, need_s)
    while waiting:
        now += heapq.heappop(waiting)
        ends.append(now)
    return np.array(ends)


def _mean_busy_dates(release_s: FloatArray, need: FloatArray) -> FloatArray:
    """Return each job's mean instant of service when least `need` is always served first."""
    dates = np.zeros(len(need))
    left = need.tolist()
    waiting: list[tuple[float, int]] = []
    now = 0.0

    def serve(at: float, until: float) -> None:
        while waiting and at < until:
            whole, job = waiting[0]
            span = min(left[job], until - at)
            dates[job] += span * (at + 0.5 * span) / whole
            at += span
            left[job] -= span
            if left[job] <= 0:
                heapq.heappop(waiting)

    for job, (release, whole) in enumerate(zip(release_s.tolist(), need.tolist(), strict=True)):
        serve(now, release)
        now = release
        if whole > 0:
            heapq.heappush(waiting, (whole, job))
        else:
            dates[job] = release
    serve(now, float("inf"))
    return dates
