"""When enough seeds have been played: a rule that does not depend on who finished first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scheduler.core.metrics import Interval, interval
from scheduler.core.sweep import Until


class Stopping:
    """Decides, for one group, after how many of its seeds its policies may stop.

    The answer is the least n for which, over the first n seeds in order, the interval of each
    policy is tight. Seeds are looked at in order only, so that the answer is the same
    whichever cell finished first. A cell that failed gives no value.

    Parameters
    ----------
    policies, seeds : int
        How many there are.
    until : Until or None
        The rule; None: all seeds.
    """

    def __init__(self, policies: int, seeds: int, until: Until | None) -> None:
        self._until = until
        self._seeds = seeds
        self._values: list[dict[int, float | None]] = [{} for _ in range(policies)]
        self._looked_at = 0
        self.needed = seeds
        """Seeds that are needed; falls once, when the rule holds."""

    def add(self, policy: int, seed: int, value: float | None) -> None:
        """Take note of one cell's figure; None: it failed."""
        self._values[policy][seed] = value
        while self.needed == self._seeds and self._complete(self._looked_at):
            self._looked_at += 1
            if self._tight(self._looked_at):
                self.needed = self._looked_at

    def _complete(self, seed: int) -> bool:
        return all(seed in values for values in self._values)

    def _tight(self, seeds: int) -> bool:
        if self._until is None or seeds < self._until.at_least:
            return False
        return all(
            relative_width(interval_of([values[s] for s in range(seeds)]))
            <= self._until.relative_width
            for values in self._values
        )

    def interval(self, policy: int) -> Interval:
        """Return the interval over what is there of a policy by now."""
        return interval_of(list(self._values[policy].values()))


def interval_of(values: Sequence[float | None]) -> Interval:
    """Return the interval of the values that are there, NaN if there are none."""
    given = [v for v in values if v is not None]
    return interval(given) if given else Interval(math.nan, math.nan, math.nan)


def relative_width(found: Interval) -> float:
    """Return the length of an interval as a share of its mean; infinite where unknown."""
    width = found.high - found.low
    if math.isnan(width):
        return math.inf
    if not width:
        return 0.0
    return width / abs(found.mean) if found.mean else math.inf
