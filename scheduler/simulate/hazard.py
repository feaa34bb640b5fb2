"""Crashes that a job brings about itself: software, network, user errors.

A job crashes when it has held so much accelerator-time, drawn from an exponential law. The
draw belongs to the job, so a job meets its crashes at the same points of its life under every
policy.
"""

from __future__ import annotations

import math

from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.units import US_PER_S


class Hazard:
    """Accelerator-time left to each job until its next crash.

    Parameters
    ----------
    mean_s : float
        Mean accelerator-seconds between two crashes of a job.
    jobs : int
        Jobs in the workload.
    seed : int
        Seed of the run.
    """

    def __init__(self, mean_s: float, jobs: int, seed: int) -> None:
        self._mean_us = mean_s * US_PER_S
        self._seed = seed
        draws = stream(seed, "crashes").standard_exponential(jobs)
        self._left_us: list[float] = (draws * self._mean_us).tolist()
        self._crashes: dict[int, int] = {}

    @classmethod
    def of(cls, problem: Problem, seed: int) -> Hazard | None:
        """Return the hazard of a problem, None where no job crashes."""
        mean_s = problem.cluster.failures.crash_accelerator_s
        if not math.isfinite(mean_s):
            return None
        return cls(mean_s, len(problem.workload.jobs), seed)

    def after_us(self, job: int, count: int) -> int:
        """Return how long a gang of `count` accelerators runs until the job's next crash."""
        return max(1, math.ceil(self._left_us[job] / count))

    def spend(self, job: int, accelerator_us: int) -> None:
        """A job has held so much more."""
        self._left_us[job] -= accelerator_us

    def renew(self, job: int) -> None:
        """Draw the time to the crash after the one that just happened."""
        self._crashes[job] = number = self._crashes.get(job, 0) + 1
        draw = stream(self._seed, "crashes", job, number).standard_exponential()
        self._left_us[job] = float(draw) * self._mean_us
