"""Demand as a distribution, learned from the past alone while a run goes on.

Several simple predictors run side by side: exponential averages of the demand, and the demand a
day earlier scaled to the present level. Each keeps the ratios of what came to what it had
foretold, or the differences over its square root, as counts deviate; their empirical quantiles
are the forecast's uncertainty. At every step the predictor
speaks whose quantile has had the least pinball loss so far (Koenker and Bassett, "Regression
quantiles", Econometrica 46(1), 1978). Nothing is assumed of the shape of the errors.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.units import DAY_S, us_from_s
from scheduler.core.workload import FloatArray

WEIGHTS: Final = (1.0, 0.5, 0.3, 0.15, 0.07)
"""Of the newest step in the exponential averages; the first is the naive forecast."""

POWERS: Final = (1.0, 0.5)
"""Of the forecast, to which its errors are taken to be proportional."""

FEWEST: Final = 30
"""Outcomes before the errors are believed."""

MOST: Final = 2000
"""Newest outcomes that are looked at."""

UNKNOWN_GROWTH: Final = 1.5
"""Growth assumed until the past is long enough for the quantile: n outcomes tell of none above
n / (n + 1). Somewhat more than autoscalers leave that aim at 70 % utilisation."""

FLOOR: Final = 0.02
"""Share of the mean demand below which no forecast is taken to be, so that ratios stay finite."""


class DemandForecast:
    """The demand that a replica asked for now will meet.

    A replica asked for in step i serves from a load time later until one asked for in step
    i + 1 does; the *outcome* of step i is the highest demand of that window.

    Parameters
    ----------
    times_us : sequence of int
        Starts of the steps of the demand curve.
    demand_per_s : ndarray of float64
        The curve; only what is past is looked at.
    lead_us : int
        Load time of a replica.
    hold_us : int
        Predictors foretell the highest of what they said within this time, so that what is
        held against flapping counts as what it is: capacity against surprises, too.
    """

    def __init__(
        self, times_us: Sequence[int], demand_per_s: FloatArray, lead_us: int, hold_us: int = 0
    ) -> None:
        self._times_us = times_us
        self._demand = demand_per_s
        self._lead_us = lead_us
        self._hold_us = hold_us
        self._step = -1
        self._settled = 0  # outcomes known
        steps, predictors = len(times_us), len(WEIGHTS) + 1
        self._said = np.zeros((predictors, steps))
        self._foretold = np.zeros((predictors, steps))
        self._outcome = np.zeros(steps)
        self._open_share = np.ones(steps)
        self._total = 0.0

    def at(self, step: int) -> None:
        """Take in the demand up to `step`, the one in force."""
        while self._step < step:
            self._step += 1
            self._foretell(self._step)
            self._settle()

    @property
    def open_share(self) -> float:
        """Return the share of the coming window that lies beyond the step in force, in [0, 1]."""
        known = self._settled
        return float(self._open_share[:known][-MOST:].mean()) if known else 1.0

    def learned(self, q: float) -> bool:
        """Return whether the past is long enough to tell this quantile."""
        known = min(self._settled, MOST)
        return known >= FEWEST and q * (known + 1) <= known

    def quantile(self, q: float) -> float:
        """Return what the outcome of the present step stays within, with probability q.

        Where windows begin in the step in force, its demand is certain to be met.
        """
        step = self._step
        present = float(self._demand[step])
        unlearned = float(self._foretold[0, step]) * UNKNOWN_GROWTH
        if self._settled < FEWEST:
            return unlearned
        old = max(0, self._settled - MOST)
        foretold = self._foretold[:, old : self._settled]
        outcome = self._outcome[old : self._settled]
        rank = _rank(q, outcome.size)
        least, found = np.inf, present
        for power in POWERS:
            scale = foretold**power
            most = np.quantile((outcome - foretold) / scale, rank, axis=1, method="higher")
            over = outcome - foretold - scale * most[:, None]
            loss = np.where(over > 0, q * over, (q - 1) * over).mean(axis=1)
            best = int(loss.argmin())
            if loss[best] < least:
                ahead = float(self._foretold[best, step])
                least, found = loss[best], ahead + float(most[best]) * ahead**power
        if not self.learned(q):
            found = max(found, unlearned)
        return max(found, present) if self.open_share < 1 else found

    def _foretell(self, step: int) -> None:
        rate = float(self._demand[step])
        self._total += rate
        floor = max(FLOOR * self._total / (step + 1), 1e-12)
        said = self._said
        for k, weight in enumerate(WEIGHTS):
            before = said[k, step - 1] if step else rate
            said[k, step] = max(before + weight * (rate - before), floor)
        said[-1, step] = max(self._season(step, rate), floor)
        first = bisect.bisect_left(self._times_us, self._times_us[step] - self._hold_us)
        self._foretold[:, step] = said[:, first : step + 1].max(axis=1)

    def _season(self, step: int, rate: float) -> float:
        """Return what came a day ago, times the present level over the level then."""
        then_us = self._times_us[step] - us_from_s(DAY_S)
        if then_us < 0:
            return rate
        then = bisect.bisect_right(self._times_us, then_us) - 1
        if then >= self._settled:
            return rate
        level = self._said[len(WEIGHTS) - 1, step] / self._said[len(WEIGHTS) - 1, then]
        return float(self._outcome[then] * level)

    def _settle(self) -> None:
        """Note the outcomes of the steps whose window has passed."""
        times, lead_us = self._times_us, self._lead_us
        while self._settled < self._step:
            i = self._settled
            start_us, end_us = times[i] + lead_us, times[i + 1] + lead_us
            first = bisect.bisect_right(times, start_us) - 1
            last = bisect.bisect_left(times, end_us)
            if last > self._step + 1:
                return
            self._outcome[i] = self._demand[first:last].max()
            inside_us = max(0, times[i + 1] - start_us)
            self._open_share[i] = 1 - inside_us / max(1, end_us - start_us)
            self._settled += 1


def _rank(q: float, n: int) -> float:
    """Return the position of the ``ceil(q (n + 1))``-th smallest of n, for exact coverage."""
    return min(1.0, max(0.0, (q * (n + 1) - 1) / max(1, n - 1)))
