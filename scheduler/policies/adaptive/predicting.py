"""How much work a job has: its user's estimate, and what jobs like it have taken.

Work is in seconds at a job's best. A user's estimate is the truth times a log-normal error of a
stated spread. The predictor learns from every job that ends: for each application the mean and
the spread of the logarithm of its jobs' work (a normal distribution of unknown mean, a spread of
`PRIOR_SPREAD` counting as one more observation). Estimate and history are independent opinions,
weighed by their precision (the product of two normal densities is one). What is left of a job
that has attained ``a`` is ``E[W | W > a] - a`` of that log-normal, so that a job which outlives
its estimate is thought the longer the longer it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

PRIOR_SPREAD: Final = 1.0
LEAST_SPREAD: Final = 0.02
FAR: Final = 25.0
"""Spreads above the mean beyond which the tail's ratio is taken from its asymptote."""


class WorkPredictor:
    """Estimates combined with history.

    Parameters
    ----------
    estimates : sequence of float
        Users' estimates by job, in seconds at the job's best, positive.
    spread : float
        Standard deviation of the logarithm of the users' error, as stated.
    """

    def __init__(self, estimates: Sequence[float], spread: float) -> None:
        self._estimates = estimates
        self._spread = max(spread, LEAST_SPREAD)
        self._seen: dict[int, tuple[int, float, float]] = {}  # count, mean, sum of squares

    def learn(self, application: int, work_s: float) -> None:
        """Take in the work of a job that has ended."""
        count, mean, squares = self._seen.get(application, (0, 0.0, 0.0))
        value = math.log(max(work_s, 1.0))
        count += 1
        step = value - mean
        mean += step / count
        self._seen[application] = count, mean, squares + step * (value - mean)

    def left_s(self, job: int, application: int, attained_s: float) -> float:
        """Return the expected seconds left of a job at its best."""
        mean, spread = self._opinion(job, application)
        if attained_s <= 0:
            return math.exp(mean + spread * spread / 2)
        far = (math.log(attained_s) - mean) / spread
        if far > FAR:  # ratio of the normal tails at `far - spread` and `far` (Mills)
            return attained_s * spread / max(far - spread, 1.0)
        tail = math.erfc(far / math.sqrt(2))
        above = math.erfc((far - spread) / math.sqrt(2))
        return math.exp(mean + spread * spread / 2) * above / tail - attained_s

    def _opinion(self, job: int, application: int) -> tuple[float, float]:
        """Return mean and spread of the logarithm of a job's work."""
        said = math.log(max(self._estimates[job], 1.0))
        precision = self._spread**-2
        count, mean, squares = self._seen.get(application, (0, 0.0, 0.0))
        if count:
            variance = (squares + PRIOR_SPREAD**2) / (count + 1) * (1 + 1 / count)
            weight = 1 / max(variance, LEAST_SPREAD**2)
            said = (said * precision + mean * weight) / (precision + weight)
            precision += weight
        return said, max(precision**-0.5, LEAST_SPREAD)
