"""What each tenant had of the fleet.

References
----------
A. Ghodsi et al., "Dominant resource fairness: fair allocation of multiple resource types",
NSDI 2011, sections 4 and 4.3 (the share that a user has of the resource it has most of, over
the user's weight).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.run import AllocationColumns, Run
from scheduler.core.units import US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray


@dataclass(frozen=True, slots=True)
class TenantUse:
    """What one tenant had over a run.

    Parameters
    ----------
    tenant : str
        Name.
    weight : float
        Its weight in fair sharing.
    accelerator_s : float
        Accelerator-seconds that its jobs and services held.
    share : float
        Of the accelerator-seconds that all tenants held together; NaN where nobody held any.
    dominant_share : float
        Its largest share of any one resource over the whole run (held time over capacity times
        duration: each accelerator type, CPUs and host memory where they are limited), over
        `weight`.
    """

    tenant: str
    weight: float
    accelerator_s: float
    share: float
    dominant_share: float


def tenant_use(problem: Problem, run: Run) -> tuple[TenantUse, ...]:
    """Return what each tenant had, jobs' tenants first, then those of services alone."""
    workload = problem.workload
    names = list(dict.fromkeys([*workload.tenants, *(s.tenant for s in workload.services)]))
    of_service = [names.index(s.tenant) for s in workload.services]
    kinds = len(problem.types)
    held_us = np.zeros((len(names), kinds + 2))  # types, CPUs, host memory
    held_us[: len(workload.tenants)] += _of_jobs(problem, run)
    for replica in run.replicas:
        row = held_us[of_service[replica.service]]
        for group in problem.service_modes[replica.service][replica.mode].groups:
            row[group.type_index] += group.count * (replica.end_us - replica.start_us)
    weights = {t.tenant: t.share for t in workload.tenancies}
    accelerator_s = held_us[:, :kinds].sum(axis=1) / US_PER_S
    together = float(accelerator_s.sum())
    most = (held_us / (_capacity(problem) * max(1, run.horizon_us))).max(axis=1, initial=0.0)
    return tuple(
        TenantUse(
            name,
            weights.get(name, 1.0),
            float(accelerator_s[i]),
            float(accelerator_s[i]) / together if together else math.nan,
            float(most[i]) / weights.get(name, 1.0),
        )
        for i, name in enumerate(names)
    )


def _of_jobs(problem: Problem, run: Run) -> FloatArray:
    """Return amount times microseconds by tenant and resource, shape (tenants, types + 2)."""
    workload = problem.workload
    kinds = len(problem.types)
    need = []  # of each mode of each class, one after another
    for job_class, modes in zip(workload.classes, problem.modes, strict=True):
        for mode in modes:
            row = [0.0] * kinds
            for group in mode.groups:
                row[group.type_index] += group.count * mode.share_milli / WHOLE_MILLI
            count = mode.count
            need.append([*row, job_class.cpus * count, job_class.host_memory_bytes * count])
    held = run.allocations
    if isinstance(held, AllocationColumns):
        job, mode_index, length_us = held.job, held.mode, held.end_us - held.start_us
    else:
        job = np.array([a.job for a in held], dtype=np.int64)
        mode_index = np.array([a.mode for a in held], dtype=np.int64)
        length_us = np.array([a.end_us - a.start_us for a in held], dtype=np.int64)
    out = np.zeros((len(workload.tenants), kinds + 2))
    if not len(job):
        return out
    first = np.cumsum([0, *(len(modes) for modes in problem.modes)])
    amount = np.array(need)[first[workload.jobs.class_index[job]] + mode_index]
    tenant = workload.jobs.tenant_index[job]
    for r in range(kinds + 2):
        out[:, r] = np.bincount(tenant, amount[:, r] * length_us, minlength=len(out))
    return out


def _capacity(problem: Problem) -> FloatArray:
    """Return accelerators by type, then CPUs and bytes of host memory; infinite: no limit."""
    nodes = problem.cluster.nodes
    hosts = [sum(n.cpus for n in nodes), sum(n.host_memory_bytes for n in nodes)]
    return np.array([*problem.capacity(), *hosts], dtype=np.float64)
