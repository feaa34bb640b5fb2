"""Rounds of the optimizer that weigh jobs by what a plan says getting them done is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from scheduler.core.problem import Mode
from scheduler.core.units import US_PER_S, us_from_s
from scheduler.policies.optimizer import Optimizer
from scheduler.policies.rounds import TypeModes, times_on_types
from scheduler.policies.view import View
from scheduler.solver.job_values import KnownJobs, job_values

PLAN_S = 5 * 3600.0
"""A plan is made anew after this long, or when jobs have come."""

BUCKETS = 20
MOST_PLANNED = 400
"""Size of the plan: buckets of time, and jobs (running ones, then the smallest)."""

LEAST_VALUE = 0.3
"""A job is worth at least this share of its run time: what the plan puts off still runs where
nothing better does."""


class PricedOptimizer(Optimizer):
    """Starts, keeps, moves and preempts for the least mean JCT, by the values of a plan.

    Having a job done is worth its dual in a linear program over time
    (`scheduler.solver.job_values`). An hour of it on a type is worth the part of the job that
    it does, less the hour itself: ``value / run time - 1/2``. The rounds are those of
    `Optimizer`, without its look at the drain horizon, which trades mean JCT for makespan.
    """

    SHORTEST_IS_WORTHIEST: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(has_floor=False)
        self._table: TypeModes | None = None
        self._planned_us = 0
        self._value_s: dict[int, float] = {}
        self._run_s: dict[int, list[float]] = {}
        self.counters["plans"] = 0

    def _round(self, view: View) -> None:
        known = all(job in self._value_s for job in view.waiting)
        if not known or view.now_us - self._planned_us >= us_from_s(PLAN_S):
            self._plan(view)
        super()._round(view)

    def _look_ahead(self, view: View) -> list[int]:
        return []

    def _plan(self, view: View) -> None:
        if self._table is None:
            self._table = TypeModes(view.problem)
        waiting = sorted(view.waiting, key=lambda job: (self._area(view, job), job))
        jobs = [*sorted(view.running), *waiting[: max(0, MOST_PLANNED - len(view.running))]]
        kinds = [view.class_of(job) for job in jobs]
        rate, gang = self._table.rate[kinds], self._table.gang[kinds]
        left_s = np.array([max(1.0, view.remaining_s(job)) for job in jobs])
        capacity = np.array(view.problem.capacity(), dtype=np.float64)
        run_s = times_on_types(left_s, rate, gang, capacity)
        able = np.flatnonzero(np.isfinite(run_s).any(axis=1))
        jobs = [jobs[i] for i in able.tolist()]
        weight = np.array([view.weight(job) for job in jobs])
        run_s = run_s[able]
        known = KnownJobs(run_s, gang[able], weight, capacity)
        values = job_values(known, BUCKETS) if jobs else np.zeros(0)
        self._value_s = dict.fromkeys(view.waiting, 0.0)  # what is not planned comes last
        self._value_s.update(zip(jobs, values.tolist(), strict=True))
        self._run_s = dict(zip(jobs, run_s.tolist(), strict=True))
        self._planned_us = view.now_us
        self.counters["plans"] += 1

    def _area(self, view: View, job: int) -> float:
        return view.remaining_s(job) * view.modes(job)[0].count

    def _worth_of(self, view: View, job: int) -> Callable[[Mode, float], float]:
        planned, fastest = self._run_s.get(job), view.modes(job)[0].rate
        left_s, weight = view.remaining_s(job), view.weight(job)
        value_s = 0.0
        if planned is not None:
            value_s = self._value_s[job] - (view.now_us - self._planned_us) / US_PER_S

        def worth(mode: Mode, run_s: float) -> float:
            least_s = left_s * fastest / mode.rate
            per_s = LEAST_VALUE
            if planned is not None:
                per_s = max(per_s, value_s / planned[mode.type_index] - 0.5 * weight)
            return per_s * least_s / max(least_s, run_s, 1e-9)

        return worth
