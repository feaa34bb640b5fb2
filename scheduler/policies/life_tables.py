"""Life tables of run times, and what follows from one: the median length, the Gittins index.

A table holds, for geometric steps of run time, the share of those that come so far which end
within the step (E. Kaplan, P. Meier, JASA 53, 1958): who has not ended counts as far as he has
come. Steps are in seconds, or in user estimates, which is then a table of how far off these are.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.policies.view import UNKNOWN_PRIOR_S

STEPS_PER_OCTAVE: Final = 4

ESTIMATE_SIGMA: Final = 0.8
"""Deviation of log(run time / estimate) before any job has ended."""

_FAR_OFF: Final = 4.0
"""Estimates from which on the tail of that law is a Pareto tail of index 3."""

_MOST: Final = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps of a life table, and a law before anything is known.

    Parameters
    ----------
    starts : tuple of float
        Start of each step, the first 0; the last step has no end.
    prior : ndarray of float64, shape (steps,)
        Share that ends within a step, of those that reach it.
    """

    starts: tuple[float, ...]
    prior: FloatArray

    def of(self, at: float) -> int:
        """Return the step that `at` falls in."""
        return bisect.bisect_right(self.starts, at) - 1


def _starts(first: float, octaves: int) -> tuple[float, ...]:
    steps = range(octaves * STEPS_PER_OCTAVE + 1)
    return (0.0, *(first * 2.0 ** (k / STEPS_PER_OCTAVE) for k in steps))


def _seconds() -> Steps:
    """Return steps up to 90 days; as `View.remaining_s` has it, a Pareto tail of index 2."""
    starts = _starts(UNKNOWN_PRIOR_S / 2, 18)
    prior = [
        1.0 - math.exp(-(e - s) / UNKNOWN_PRIOR_S) if e <= UNKNOWN_PRIOR_S else 1.0 - (s / e) ** 2
        for s, e in zip(starts, (*starts[1:], math.inf), strict=True)
    ]
    return Steps(starts, np.minimum(prior, _MOST))


def _estimates() -> Steps:
    """Return steps of 2^-16 to 2^8 estimates: lognormal about one, then a Pareto tail."""
    starts = _starts(2.0**-16, 24)
    z = [-math.inf, *(math.log(s) / ESTIMATE_SIGMA for s in starts[1:])]
    alive = [0.5 * math.erfc(x / math.sqrt(2.0)) for x in z]
    tail = 1.0 - 2.0 ** (-3.0 / STEPS_PER_OCTAVE)
    prior = [
        tail if start >= _FAR_OFF else 1.0 - alive[k + 1] / alive[k]
        for k, start in enumerate(starts)
    ]
    return Steps(starts, np.array(prior))


SECONDS: Final = _seconds()
ESTIMATES: Final = _estimates()
EVEN: Final = np.minimum(1.0 / np.arange(len(SECONDS.starts), 0, -1), _MOST)
"""The law by `SECONDS` under which every step is as likely."""

_START: Final = np.array(SECONDS.starts)
_LENGTH: Final = np.diff(_START, append=2.0 * _START[-1])
_ONE: Final = ESTIMATES.of(1.0)


def octave_steps(estimate_s: float) -> int:
    """Return an estimate as steps from the end of the first step of `SECONDS`, rounded."""
    return round(math.log2(estimate_s / SECONDS.starts[1]) * STEPS_PER_OCTAVE)


def given_estimate(shares: FloatArray, of_estimate: FloatArray, steps: int) -> FloatArray:
    """Return a law by `SECONDS` as it is for a job whose user has estimated so much.

    Bayes: the law of lengths times how likely the estimate is for a job of each length.

    Parameters
    ----------
    shares : ndarray of float64
        By step of `SECONDS`.
    of_estimate : ndarray of float64
        By step of `ESTIMATES`: how far off estimates are.
    steps : int
        The estimate, from `octave_steps`.
    """
    off = _ends(of_estimate)
    first = _ONE - steps  # the step that starts where the second step in seconds does
    ends = _ends(shares)
    ends[1:] *= off[np.clip(first + np.arange(len(ends) - 1), 0, len(off) - 1)]
    ends[0] *= off[: max(1, first)].sum()
    reached = np.cumsum(ends[::-1])[::-1]
    return np.minimum(ends / np.maximum(reached, 1e-300), _MOST)


def _ends(shares: FloatArray) -> FloatArray:
    """Return the share of all that ends in each step; who reaches the last ends there."""
    alive = np.concatenate(([1.0], np.cumprod(1.0 - shares[:-1])))
    ends: FloatArray = alive * shares
    ends[-1] = alive[-1]
    return ends


@dataclass(frozen=True, slots=True)
class Law:
    """A law of run times by `SECONDS`; within a step the hazard is constant.

    Parameters
    ----------
    hazard : list of float
        Summed up to the start of each step, and at last to the end of the last.
    rest_service, rest_ends : list of float
        Expected service and completions after each step, up to where the Gittins index from its
        start stops, of a job that comes to its end.
    """

    hazard: list[float]
    rest_service: list[float]
    rest_ends: list[float]

    @classmethod
    def of(cls, shares: FloatArray) -> Law:
        """Return the law of which this share ends within a step, of those that reach it."""
        hazard = np.concatenate(([0.0], np.cumsum(-np.log1p(-shares))))
        alive = np.exp(np.minimum(0.0, hazard[:-1, None] - hazard[None, :-1]))
        alive = np.triu(alive)  # given the row's step
        ends = np.cumsum(alive * shares, axis=1)
        service = np.cumsum(alive * (1.0 - shares / 2.0) * _LENGTH, axis=1)
        per_end = np.where(ends > 0, service / np.maximum(ends, 1e-300), np.inf)
        best = per_end.argmin(axis=1)
        row = np.arange(len(best))
        left = 1.0 - shares
        return cls(
            hazard.tolist(),
            ((service[row, best] - service[row, row]) / left).tolist(),
            ((ends[row, best] - ends[row, row]) / left).tolist(),
        )

    def median_left_s(self, had_s: float) -> float:
        """Return the median of what is left to a job that has had so much."""
        step, part = _within(had_s)
        hazard = self.hazard
        at = hazard[step] + part * (hazard[step + 1] - hazard[step]) + math.log(2.0)
        end = bisect.bisect_left(hazard, at, lo=step) - 1
        if end + 1 == len(hazard):
            return had_s  # older than any table: a tail that has no scale
        start, length = SECONDS.starts[end], float(_LENGTH[end])
        return start + (at - hazard[end]) / (hazard[end + 1] - hazard[end]) * length - had_s

    def index_s(self, had_s: float) -> float:
        """Return the inverse of the Gittins index of a job that has had so much.

        The least expected service per completion over all lengths for which one might go on: a
        single server that always serves the job of which this is least has the least mean time
        in system (J. Gittins, JRSS B 41, 1979). Where the hazard rises it is the mean of what
        is left.
        """
        step, part = _within(had_s)
        if step + 1 == len(SECONDS.starts):
            return had_s
        ends = -math.expm1((1.0 - part) * (self.hazard[step] - self.hazard[step + 1]))
        service = (1.0 - ends / 2.0) * (1.0 - part) * float(_LENGTH[step])
        here = service / max(ends, 1e-300)
        all_ends = ends + (1.0 - ends) * self.rest_ends[step]
        further = (service + (1.0 - ends) * self.rest_service[step]) / max(all_ends, 1e-300)
        return min(here, further)


def _within(had_s: float) -> tuple[int, float]:
    """Return the step, and what part of it has passed."""
    step = SECONDS.of(had_s)
    return step, min(1.0, (had_s - SECONDS.starts[step]) / float(_LENGTH[step]))
