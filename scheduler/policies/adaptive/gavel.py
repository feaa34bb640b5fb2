"""Gavel's policies (Narayanan et al., OSDI'20) over rigid jobs, on rounds.

A linear program gives each job a share of time on each accelerator type. A round serves, as
long as they fit, the pairs of job and type whose share exceeds most the fraction of the type's
time that the job has received (section 5 of the paper); what is left goes to pairs in the
order of their shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Config, Tables
from scheduler.policies.adaptive.view import AdaptiveView, JobState
from scheduler.solver.time_shares import max_min_shares, max_sum_shares

ROUND_S: Final = 360


class Gavel:
    """Max-min fairness or max-sum throughput, each job with its gang and batch as submitted.

    Parameters
    ----------
    tables : Tables
        Measured rates: Gavel knows the steps per second of every job on every type.
    fair : bool
        Maximise the least normalised throughput, instead of the sum of steps per second.
    """

    rigid = True

    def __init__(self, tables: Tables, *, fair: bool) -> None:
        self.name = "gavel_max_min" if fair else "gavel_max_sum"
        self.round_s = ROUND_S
        self._tables = tables
        self._fair = fair
        self._served: dict[int, FloatArray] = {}
        self._last: tuple[tuple[int, ...], FloatArray] = ((), np.zeros((0, 0)))

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        """Return the gangs of the round."""
        jobs = view.jobs
        if not jobs:
            return {}
        capacity = np.array(self._tables.capacity, float)
        gangs = np.array([view.problem.jobs[s.job].accelerators for s in jobs], float)
        shares = self._shares(view, gangs, capacity)
        served = {s.job: self._served.get(s.job, np.zeros(len(capacity))) for s in jobs}
        rounds = np.array([served[s.job] for s in jobs])
        received = rounds / np.maximum(rounds.sum(axis=0), 1)
        wanted: dict[int, Config] = {}
        free = capacity.copy()
        for i, t in _order(shares, received):
            job = jobs[i].job
            if job not in wanted and gangs[i] <= free[t] and shares[i, t] >= 0:
                free[t] -= gangs[i]
                wanted[job] = (t, int(gangs[i]))
                served[job][t] += 1
        self._served = served
        return wanted

    def _shares(self, view: AdaptiveView, gangs: FloatArray, capacity: FloatArray) -> FloatArray:
        """Return the program's shares, -1 where a gang cannot run; the last ones if they hold."""
        key = tuple(s.job for s in view.jobs)
        if key != self._last[0]:
            speeds = np.array([self._speeds(view, s) for s in view.jobs])
            if self._fair:
                even = (speeds * capacity).sum(axis=1, keepdims=True) / capacity.sum()
                values = speeds * gangs[:, None] / np.maximum(even, 1e-30)
                shares = max_min_shares(values, gangs, capacity)
            else:
                shares = max_sum_shares(speeds, gangs, capacity)
            self._last = key, np.where(speeds > 0, shares, -1.0)
        return self._last[1]

    def _speeds(self, view: AdaptiveView, state: JobState) -> list[float]:
        """Return the steps per second of a packed gang on each type, 0 where it does not fit."""
        job = view.problem.jobs[state.job]
        speeds = []
        for g, group in enumerate(view.problem.groups):
            whole, rest = divmod(job.accelerators, group.per_node)
            shape = (group.per_node,) * whole + ((rest,) if rest else ())
            if len(shape) > group.nodes:
                speeds.append(0.0)
                continue
            table = self._tables.goodput[state.application][g]
            seconds, _ = table.seconds(shape, table.split(shape, np.array([job.batch])))
            speeds.append(1.0 / float(seconds[0]))
        return speeds


def _order(shares: FloatArray, received: FloatArray) -> Sequence[tuple[int, int]]:
    """Return pairs of job and type, most owed first."""
    owed = np.where(received > 0, shares / np.where(received > 0, received, 1.0), shares * 1e9)
    jobs, types = shares.shape
    pairs = [(i, t) for i in range(jobs) for t in range(types)]
    return sorted(pairs, key=lambda p: (-owed[p], -shares[p], p))
