"""How much a workload asks of a fleet."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from scheduler.core.errors import Fault, InputError
from scheduler.core.problem import Mode, Problem


def offered_load(problem: Problem) -> float:
    """Return the work that arrives per unit of time over what the whole fleet could do.

    For each job, the fleet at its best: all accelerators of every type it may use run gangs
    like it, each at its best rate per accelerator. Jobs that cannot run at all count
    nothing. One means that the jobs arrive just as fast as an ideal schedule, which wastes
    nothing and gives every job the whole fleet in turn, would finish them.

    Parameters
    ----------
    problem : Problem
        With at least two distinct release times.

    Returns
    -------
    float
        Dimensionless; infinite where all jobs are released at once.
    """
    jobs = problem.workload.jobs
    if not len(jobs):
        return 0.0
    capacity = problem.capacity()
    fleet_rate = np.array([_fleet_rate(modes, capacity) for modes in problem.modes])
    rate = fleet_rate[jobs.class_index]
    busy_s = float(np.divide(jobs.work, rate, where=rate > 0, out=np.zeros(len(jobs))).sum())
    span_s = float(jobs.release_s.max() - jobs.release_s.min())
    if busy_s == 0.0:
        return 0.0
    return busy_s / span_s if span_s > 0 else float("inf")


def scaled_to_load(problem: Problem, load: float) -> Problem:
    """Return the problem with release times stretched so that `offered_load` is `load`.

    Deadlines keep their distance from the release; services are left alone.

    Raises
    ------
    InputError
        The load is not positive, or the jobs are all released at once or cannot run.
    """
    now = offered_load(problem)
    if not (np.isfinite(load) and load > 0):
        raise InputError([Fault("load must be positive", value=str(load))])
    if not (np.isfinite(now) and now > 0):
        message = "load cannot be set: all jobs are released at once, or none can run"
        raise InputError([Fault(message, file=problem.workload.name)])
    jobs = problem.workload.jobs
    release_s = jobs.release_s * (now / load)
    deadline_s = jobs.deadline_s + (release_s - jobs.release_s)
    jobs = replace(jobs, release_s=release_s, deadline_s=deadline_s)
    return replace(problem, workload=replace(problem.workload, jobs=jobs))


def _fleet_rate(modes: tuple[Mode, ...], capacity: tuple[int, ...]) -> float:
    """Work per second if every type's accelerators ran this class at its best rate."""
    best: dict[int, float] = {}
    for mode in modes:
        if len(mode.groups) == 1:
            t = mode.type_index
            best[t] = max(best.get(t, 0.0), mode.rate / mode.size)
    return math.fsum(capacity[t] * rate for t, rate in best.items())
