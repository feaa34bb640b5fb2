"""A run as it stood at an earlier instant: what the ledger of that instant must be."""

from __future__ import annotations

from dataclasses import replace

from scheduler.core.problem import Problem
from scheduler.core.run import Allocation, Run
from scheduler.core.units import US_PER_S


def as_of(problem: Problem, run: Run, end_us: int) -> Run:
    """Return `run` cut at `end_us`: allocations that began, as far as they had come.

    What a later failure undid had not been lost yet. Requests, energy and the verdicts on
    jobs (`running`, `waiting`) are left as they are.

    Parameters
    ----------
    problem : Problem
        What was asked.
    run : Run
        The whole run.
    end_us : int
        Instant, at most the run's horizon.
    """
    return replace(
        run,
        horizon_us=end_us,
        allocations=tuple(_cut(problem, a, end_us) for a in run.allocations if a.start_us < end_us),
        replicas=tuple(
            r
            if r.end_us <= end_us
            else replace(r, end_us=end_us, overhead_us=min(r.overhead_us, end_us - r.start_us))
            for r in run.replicas
            if r.start_us < end_us
        ),
        downs=tuple(
            replace(d, end_us=min(d.end_us, end_us)) for d in run.downs if d.start_us < end_us
        ),
        finished_us={job: at for job, at in run.finished_us.items() if at <= end_us},
        killed_us={job: at for job, at in run.killed_us.items() if at <= end_us},
        crashes=tuple(c for c in run.crashes if c.at_us <= end_us),
    )


def _cut(problem: Problem, a: Allocation, end_us: int) -> Allocation:
    if a.end_us <= end_us:
        return a
    overhead_us = min(a.overhead_us, end_us - a.start_us)
    job_class = int(problem.workload.jobs.class_index[a.job])
    rate = problem.modes[job_class][a.mode].rate
    work = min(a.work, rate * (end_us - a.start_us - overhead_us) / US_PER_S)
    return replace(a, end_us=end_us, overhead_us=overhead_us, work=work, lost_work=0.0)
