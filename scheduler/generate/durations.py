"""Run times: mixtures of lognormals, cut at a longest run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.workload import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of lognormals over seconds.

    Parameters
    ----------
    weights : tuple of float
        Positive, normalised on use.
    mu, sd : tuple of float
        Mean and standard deviation of the natural logarithm of each component.
    """

    weights: tuple[float, ...]
    mu: tuple[float, ...]
    sd: tuple[float, ...]

    def with_long_share(self, first_long: int, share: float) -> Mixture:
        """Return the mixture whose components from `first_long` on weigh `share` together."""
        total = math.fsum(self.weights)
        long_total = math.fsum(self.weights[first_long:])
        scale = ((1.0 - share) / (total - long_total), share / long_total)
        weights = tuple(w * scale[i >= first_long] for i, w in enumerate(self.weights))
        return replace(self, weights=weights)

    def cdf(self, seconds: float, longest_s: float = math.inf) -> float:
        """Return P(run time <= `seconds`), given that it is at most `longest_s`."""
        if seconds <= 0:
            return 0.0
        return self._below(min(seconds, longest_s)) / self._below(longest_s)

    def mean(self, longest_s: float = math.inf) -> float:
        """Return the mean in seconds, given that the run time is at most `longest_s`.

        A cut lognormal has the mean exp(mu + sd^2/2) * Phi(z - sd) / Phi(z) with
        z = (ln(cut) - mu) / sd.
        """
        cut = math.log(longest_s) if longest_s < math.inf else math.inf
        parts = zip(self.weights, self.mu, self.sd, strict=True)
        total = math.fsum(
            w * math.exp(m + s * s / 2) * _phi((cut - m) / s - s) for w, m, s in parts
        )
        return total / (self._below(longest_s) * math.fsum(self.weights))

    def _below(self, seconds: float) -> float:
        x = math.log(seconds) if seconds < math.inf else math.inf
        parts = zip(self.weights, self.mu, self.sd, strict=True)
        return math.fsum(w * _phi((x - m) / s) for w, m, s in parts) / math.fsum(self.weights)


def sample(
    mixtures: Sequence[Mixture],
    which: IntArray,
    longest_s: float,
    stream: Callable[[int], np.random.Generator],
) -> FloatArray:
    """Draw one run time from ``mixtures[i]`` for every i in `which`.

    Draws above `longest_s` are drawn again, component and value, so that the result follows
    the cut law exactly. Each round has its own stream, so how often one job is drawn again
    does not shift any other job's first draw.

    Parameters
    ----------
    mixtures : sequence of Mixture
        The laws.
    which : ndarray of int64, shape (n,)
        Law of each draw.
    longest_s : float
        Cut; every law must have mass below it.
    stream : callable
        Round number to Generator.

    Returns
    -------
    ndarray of float64, shape (n,)
        Seconds.
    """
    width = max(len(m.weights) for m in mixtures)
    edges = np.ones((len(mixtures), width))
    mu = np.zeros((len(mixtures), width))
    sd = np.zeros((len(mixtures), width))
    for row, m in enumerate(mixtures):
        k = len(m.weights)
        edges[row, : k - 1] = np.cumsum(m.weights)[: k - 1] / math.fsum(m.weights)
        mu[row, :k], sd[row, :k] = m.mu, m.sd
    seconds = np.full(len(which), np.inf)
    todo = np.arange(len(which))
    for turn in range(_MOST_TURNS):
        rng = stream(turn)
        law = which[todo]
        part = (rng.random(len(todo))[:, None] >= edges[law, : width - 1]).sum(axis=1)
        drawn = np.exp(mu[law, part] + sd[law, part] * rng.standard_normal(len(todo)))
        seconds[todo] = drawn
        todo = todo[drawn > longest_s]
        if not len(todo):
            return seconds
    # Only a cut far below a law's bulk gets here; the cut itself is then the best answer.
    seconds[todo] = longest_s
    return seconds


_MOST_TURNS = 200


def _phi(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
