"""Preemptive schedules: the jobs of a run cut where it cut them, so that search can move the parts.

A part is planned like a job: it starts once the part before it has ended, pays the restart, and
does a fixed share of the work in whatever mode. Search over parts therefore covers preempting,
resizing and moving, at the cuts that some policy made; it never cuts anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from scheduler.core.run import Allocation
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.solver.offline.instance import Instance, Planned


def in_parts(
    instance: Instance, allocations: Sequence[Allocation]
) -> tuple[Instance, dict[int, Planned]] | None:
    """Return the instance cut as allocations are, and these as a plan of it.

    None where they lose work, leave a job out, or cut no job: then there is nothing to gain.
    What was stopped before it did any work is left out.

    Parameters
    ----------
    instance : Instance
        Whole jobs.
    allocations : sequence of Allocation
        A verified preemptive schedule.
    """
    problem = instance.problem
    by_job: dict[int, list[Allocation]] = {}
    for a in sorted(allocations, key=lambda a: (a.job, a.start_us)):
        if a.work > 0:
            by_job.setdefault(a.job, []).append(a)
    if any(a.lost_work > 0 for a in allocations) or sorted(by_job) != sorted(instance.jobs):
        return None
    if all(len(history) == 1 for history in by_job.values()):
        return None
    tick_us = 1  # a policy cuts at any microsecond
    fresh = len(problem.workload.jobs)
    jobs: list[int] = []
    owner: dict[int, int] = {}
    share: dict[int, float] = {}
    inner: set[int] = set()
    after: dict[int, tuple[int, ...]] = {}
    last: dict[int, int] = {}
    lengths: dict[int, dict[int, int]] = {}
    plan: dict[int, Planned] = {}
    for job, history in by_job.items():
        before: int | None = None
        for a in history:
            unit = job
            if len(history) > 1:
                unit, fresh = fresh, fresh + 1
                owner[unit] = job
                share[unit] = a.work
            jobs.append(unit)
            if before is not None:
                after[unit] = (before,)
                inner.add(before)
            else:
                after[unit] = instance.after.get(job, ())
            before = last[job] = unit
            lengths[unit] = _lengths_us(instance, job, a.work)
            length = lengths[unit].get(a.mode)
            if length is None or abs(length - (a.end_us - a.start_us)) > 2:
                return None
            lengths[unit][a.mode] = a.end_us - a.start_us  # as it was, to the microsecond
            plan[unit] = Planned(a.mode, a.start_us, a.end_us, a.placement)
    scale = instance.tick_us
    known = {u: tuple(last.get(k, k) if k in by_job else k for k in of) for u, of in after.items()}
    cut = replace(
        instance,
        tick_us=tick_us,
        jobs=tuple(jobs),
        release={u: instance.release[owner.get(u, u)] * scale for u in jobs},
        lengths=lengths,
        downs={n: tuple((a * scale, b * scale) for a, b in of) for n, of in instance.downs.items()},
        drains={
            n: tuple((a * scale, b * scale) for a, b in of) for n, of in instance.drains.items()
        },
        after={u: of for u, of in known.items() if of},
        horizon=instance.horizon * scale + sum(max(of.values()) for of in lengths.values()),
        due={
            u: instance.due[owner.get(u, u)] * scale
            for u in jobs
            if owner.get(u, u) in instance.due and u not in inner
        },
        owner=owner,
        share=share,
        inner=frozenset(inner),
    )
    return cut, plan


def _lengths_us(instance: Instance, job: int, work: float) -> dict[int, int]:
    """Return how long a part takes by mode, for the modes that a job may use at all."""
    modes = instance.problem.modes[instance.class_of(job)]
    restart_us = us_from_s(instance.problem.workload.classes[instance.class_of(job)].restart_s)
    run = {m: math.ceil(work / modes[m].rate * US_PER_S - 1e-6) for m in instance.lengths[job]}
    return {m: restart_us + max(1, us) for m, us in run.items()}
