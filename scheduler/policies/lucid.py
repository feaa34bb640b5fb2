"""Lucid: small jobs first, by durations that the history of finished jobs predicts.

Q. Hu, M. Zhang, P. Sun, Y. Wen, T. Zhang, "Lucid: a non-intrusive, scalable and interpretable
scheduler for deep learning training jobs", ASPLOS 2023, and its published simulator
(S-Lab-System-Group/Lucid, simulation/policy/lucid.py). Jobs are never stopped or resized. The
queue is in order of predicted duration times accelerators; who does not fit is passed; gangs
are consolidated on the tightest place.
"""

from __future__ import annotations

import math
from typing import Final

from scheduler.core.units import US_PER_S
from scheduler.policies.ordered import Ordered
from scheduler.policies.orders import Order, Service
from scheduler.policies.view import View

UNKNOWN_S: Final = 3600.0
"""Predicted duration before any job has finished."""


class Lucid(Ordered):
    """The workload estimate model and the job orchestrator, without packing.

    Simplified: two jobs never share an accelerator here, so indolent packing (pairing jobs whose
    sharing scores sum to at most 2) and the profiler that measures the scores are left out. The
    estimate, a generalised additive model over user, job name and time in the paper, is the
    geometric mean duration of the finished jobs of the same tenant and class, else of the class,
    else of the tenant, else of all. Where the view tells more (the truth, or a user's
    estimate), that is used.
    """

    def __init__(self) -> None:
        super().__init__(Order(self._size, moves=True), "greedy", "best_fit")
        self._sums: dict[tuple[int | None, int | None], tuple[float, int]] = {}
        self._since_us: dict[int, int] = {}

    def decide(self, view: View) -> None:
        """Learn from what has ended, then start what fits, smallest first."""
        for job in [j for j in self._since_us if j not in view.running]:
            started_us = self._since_us.pop(job)
            if job not in view.waiting:  # else it failed, and says nothing of durations
                self._learn(view, job, (view.now_us - started_us) / US_PER_S)
        super().decide(view)
        for job, running in view.running.items():
            self._since_us[job] = running.start_us

    def _learn(self, view: View, job: int, duration_s: float) -> None:
        tenant, kind = view.tenant_of(job), view.class_of(job)
        for key in ((tenant, kind), (None, kind), (tenant, None), (None, None)):
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (total + math.log(max(1e-3, duration_s)), count + 1)

    def predicted_s(self, view: View, job: int) -> float:
        """Return how long a job is expected to run."""
        estimate_s = view.problem.workload.jobs.estimate_s[job]
        if view.information == "exact":
            return view.remaining_s(job)
        if view.information == "estimates" and not math.isnan(estimate_s):
            return view.remaining_s(job)
        tenant, kind = view.tenant_of(job), view.class_of(job)
        for key in ((tenant, kind), (None, kind), (tenant, None), (None, None)):
            if key in self._sums:
                total, count = self._sums[key]
                return math.exp(total / count)
        return UNKNOWN_S

    def _size(self, view: View, job: int, service: Service) -> float:
        modes = view.modes(job)
        return self.predicted_s(view, job) * (modes[0].count if modes else 1)
