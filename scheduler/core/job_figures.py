"""How each job fared: completion, queueing, slowdown, finish-time fairness; one figure a job.

References
----------
K. Mahajan et al., "Themis: fair and efficient GPU cluster scheduling", NSDI 2020, section 3
(finish-time fairness, rho); D. Narayanan et al., "Heterogeneity-aware cluster scheduling
policies for deep learning workloads" (Gavel), OSDI 2020, section 4.2 (rho on unlike types).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S, WHOLE_MILLI, us_from_s
from scheduler.core.workload import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class JobFigures:
    """Figures of single jobs.

    Parameters
    ----------
    finished : ndarray of int64, shape (n,)
        Jobs that finished, ascending.
    jct_s : ndarray of float64, shape (n,)
        Completion time of each: end less release.
    slowdown : ndarray of float64, shape (n,)
        `jct_s` over the ideal run time: restart time plus work at the rate of the class's
        fastest mode.
    finish_time_ratio : ndarray of float64, shape (n,)
        Themis's rho, see `exclusive_s`; NaN for a class without modes.
    queueing_s : ndarray of float64, shape (m,)
        First start less release, of every job that started, by job.
    """

    finished: IntArray
    jct_s: FloatArray
    slowdown: FloatArray
    finish_time_ratio: FloatArray
    queueing_s: FloatArray


def job_figures(problem: Problem, run: Run) -> JobFigures:
    """Return the figures of each job of `run`."""
    release_us = releases_us(problem)
    done = np.array(sorted(run.finished_us), dtype=np.int64)
    end_us = np.array([run.finished_us[j] for j in done.tolist()], dtype=np.int64)
    jct_s = (end_us - release_us[done]) / US_PER_S
    first = first_starts(run)
    started = np.array(sorted(first), dtype=np.int64)
    first_us = np.array([first[j] for j in started.tolist()], dtype=np.int64)
    return JobFigures(
        done,
        jct_s,
        jct_s / ideal_s(problem, run)[done],
        jct_s / exclusive_s(problem, run)[done],
        (first_us - release_us[started]) / US_PER_S,
    )


def releases_us(problem: Problem) -> IntArray:
    """Return when each job was released, in whole microseconds."""
    seconds = problem.workload.jobs.release_s.tolist()
    return np.array([us_from_s(t) for t in seconds], dtype=np.int64)


def first_starts(run: Run) -> dict[int, int]:
    """Return when each job that started did so first, in microseconds."""
    first: dict[int, int] = {}
    for a in run.allocations:
        first[a.job] = min(a.start_us, first.get(a.job, a.start_us))
    return first


def best_rates(problem: Problem) -> FloatArray:
    """Return the rate of the fastest mode by class; NaN where a class has none."""
    return np.array([max((m.rate for m in ms), default=math.nan) for ms in problem.modes])


def ideal_s(problem: Problem, run: Run) -> FloatArray:
    """Return the run time of each job alone on the fleet: restart time and fastest mode."""
    classes = problem.workload.jobs.class_index
    restart_s = np.array([c.restart_s for c in problem.workload.classes])
    work = np.array(run.actual_work, dtype=np.float64)
    if not len(work):
        return work
    return np.asarray(restart_s[classes] + work / best_rates(problem)[classes])


def exclusive_s(problem: Problem, run: Run) -> FloatArray:
    """Return how long each job would take with an equal part of the fleet to itself.

    The part is 1/n of every accelerator type, n being the mean number of jobs in the system
    while the job was in it (Themis's average contention), itself included; jobs that were
    rejected, or cancelled for want of another, take no part. On type t a gang of g holds its
    accelerators for the share ``capacity_t / (n g)`` of the time; where the shares of all types
    sum to more than 1 they are scaled to 1, as a gang runs on one type at a time (Gavel's
    isolated allocation). Of several modes on a type the one that does most work in its share,
    at most 1, counts. The restart time is paid once.

    Returns
    -------
    ndarray of float64, shape (jobs,)
        Seconds; NaN for a class without modes.
    """
    classes = problem.workload.jobs.class_index
    contention = mean_contention(problem, run)
    work = np.array(run.actual_work, dtype=np.float64)
    out = np.full(len(classes), np.nan)
    capacity = problem.capacity()
    order = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes, minlength=len(problem.modes)))
    for c, members in enumerate(np.split(order, ends[:-1].tolist())):
        if len(members) and problem.modes[c]:
            rate = exclusive_rate(problem.modes[c], capacity, contention[members])
            out[members] = problem.workload.classes[c].restart_s + work[members] / rate
    return out


def exclusive_rate(
    modes: tuple[Mode, ...], capacity: tuple[int, ...], contention: FloatArray
) -> FloatArray:
    """Return the work per second of a job on one n-th of every type, for each n.

    Gangs of several types count only where a class has no others.
    """
    single = [m for m in modes if len(m.groups) == 1]
    best: dict[tuple[int, ...], tuple[FloatArray, FloatArray]] = {}  # share, rate by types
    for mode in single or modes:
        types = tuple(g.type_index for g in mode.groups)
        part = mode.share_milli / WHOLE_MILLI
        whole = min(capacity[g.type_index] / (g.count * part) for g in mode.groups)
        share, rate = whole / contention, np.full(len(contention), mode.rate)
        if types in best:
            before = best[types]
            more = np.minimum(1.0, share) * rate > np.minimum(1.0, before[0]) * before[1]
            share, rate = np.where(more, share, before[0]), np.where(more, rate, before[1])
        best[types] = (share, rate)
    done = np.sum([share * rate for share, rate in best.values()], axis=0)
    return np.asarray(done / np.maximum(1.0, np.sum([share for share, _ in best.values()], axis=0)))


def mean_contention(problem: Problem, run: Run) -> FloatArray:
    """Return, by job, the mean number of jobs in the system while it was there, at least 1.

    A job is in the system from its release until it finishes, is killed, or the run ends.
    """
    start = releases_us(problem)
    end = np.full(len(start), run.horizon_us, dtype=np.int64)
    for ended in (run.finished_us, run.killed_us):
        for job, at_us in ended.items():
            end[job] = at_us
    out_of_it = np.array(sorted({*run.rejected, *run.cancelled}), dtype=np.int64)
    end[out_of_it] = start[out_of_it]
    end = np.maximum(start, end)
    changes_us = np.concatenate([start, end])
    order = np.argsort(changes_us, kind="stable")
    times = changes_us[order].astype(np.float64)
    here = np.cumsum(np.repeat([1, -1], len(start))[order])  # jobs after each change
    area = np.concatenate([[0.0], np.cumsum(here[:-1] * np.diff(times))])

    def integral(when: IntArray) -> FloatArray:
        return area[np.searchsorted(times, when, side="left")]

    stay = (end - start).astype(np.float64)
    if not len(start):
        return stay
    mean = np.divide(integral(end) - integral(start), stay, out=np.ones(len(stay)), where=stay > 0)
    return np.asarray(np.maximum(1.0, mean))
