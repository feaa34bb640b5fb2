"""Arrivals: sessions placed on a modulated clock, each submitting a batch of jobs.

A Poisson process of jobs is badly wrong (57 % of Philly's gaps are ten seconds or less);
sessions behave well and the batches inside them carry the burstiness.
"""

from __future__ import annotations

import math

import numpy as np

from scheduler.core.units import HOUR_S
from scheduler.core.workload import FloatArray, IntArray
from scheduler.generate.published import BatchLaw, Rhythm

GAP_S = 6.0
"""Mean gap between two jobs of a batch (Philly: median 6 s)."""


def autoregressive(rng: np.random.Generator, n: int, correlation: float) -> FloatArray:
    """Return `n` standard normal values with lag-one correlation `correlation`.

    x[k] = r x[k-1] + sqrt(1 - r^2) e[k], started from its stationary law. Solved by blocks:
    inside one, x[k] / r^k is a cumulative sum, and blocks are short enough for r^-k to stay
    finite.
    """
    noise = rng.standard_normal(n)
    if correlation <= 0 or n < 2:
        return noise
    noise[1:] *= math.sqrt(1.0 - correlation**2)
    if correlation >= 1:
        return np.full(n, noise[0])
    block = max(1, min(n, int(600.0 / -math.log(correlation))))
    powers = correlation ** np.arange(1, block + 1)
    values = np.empty(n)
    last = 0.0
    for start in range(0, n, block):
        part = noise[start : start + block]
        p = powers[: len(part)]
        values[start : start + len(part)] = p * (np.cumsum(part / p) + last)
        last = float(values[start + len(part) - 1])
    return values


def positive_noise(
    rng: np.random.Generator, n: int, variance: float, correlation: float
) -> FloatArray:
    """Return `n` positive factors of mean one: a lognormal, nearly gamma at small variance.

    If logarithms of variance s are correlated by r, the factors are by
    (exp(r s) - 1) / (exp(s) - 1); solved for r, so that `correlation` is the factors' own.
    """
    if variance == 0:
        return np.ones(n)
    log_variance = math.log1p(variance)
    log_correlation = math.log1p(correlation * variance) / log_variance
    normal = autoregressive(rng, n, log_correlation)
    return np.exp(math.sqrt(log_variance) * normal - log_variance / 2)


def place_sessions(
    n: int,
    span_s: float,
    rhythm: Rhythm,
    *,
    rate_rng: np.random.Generator,
    place_rng: np.random.Generator,
) -> FloatArray:
    """Return the start times of `n` sessions, in no order.

    Given its total, a modulated Poisson process is `n` independent draws from the normalised
    rate; hour counts then have the index of dispersion 1 + (mean per hour) * (variance of the
    rate). Day 0 is a Monday.

    Parameters
    ----------
    n : int
        Sessions.
    span_s : float
        Length of the workload.
    rhythm : Rhythm
        Seasonal factors and slow noise.
    rate_rng, place_rng : numpy.random.Generator
        Streams of the hourly rate and of the placement.

    Returns
    -------
    ndarray of float64, shape (n,)
        Seconds in ``[0, span_s)``.
    """
    hours = math.ceil(span_s / HOUR_S)
    edges = np.minimum(np.arange(hours + 1) * HOUR_S, span_s)
    hour = np.arange(hours)
    rate = np.asarray(rhythm.by_hour)[hour % 24] * np.asarray(rhythm.by_weekday)[hour // 24 % 7]
    rate = rate * positive_noise(rate_rng, hours, rhythm.variance, rhythm.correlation)
    reached = np.concatenate(([0.0], np.cumsum(rate * np.diff(edges))))
    start: FloatArray = np.interp(place_rng.random(n) * reached[-1], reached, edges)
    return start


def batch_sizes(laws: tuple[BatchLaw, ...], which: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw one batch size from ``laws[i]`` for every i in `which`, shape (n,)."""
    several = np.array([law.several for law in laws])[which]
    cap = np.array([law.cap for law in laws])[which]
    alpha = np.array([law.alpha for law in laws])[which]
    is_several = rng.random(len(which)) < several
    # Inverse of P(size >= k) = (2 / k)^alpha, with the tail above the cap cut off.
    least = (2.0 / (cap + 1.0)) ** alpha
    tail = least + (1.0 - least) * (1.0 - rng.random(len(which)))
    sizes = np.minimum(np.floor(2.0 * tail ** (-1.0 / alpha)), cap)
    return np.where(is_several, sizes, 1.0).astype(np.int64)


def mean_batch(law: BatchLaw) -> float:
    """Return the mean batch size of `law`."""
    k = np.arange(3, law.cap + 1)
    cut = (2.0 / (law.cap + 1.0)) ** law.alpha
    tail = ((2.0 / k) ** law.alpha - cut) / (1.0 - cut)
    return 1.0 - law.several + law.several * (2.0 + float(tail.sum()))


def release_times(
    session_s: FloatArray, sizes: IntArray, span_s: float, rng: np.random.Generator
) -> FloatArray:
    """Return the release times of all jobs, session by session, shape (sum of `sizes`,).

    Gaps inside a session are exponential; a session that would run past the end of the
    workload starts earlier.
    """
    jobs = int(sizes.sum())
    first = np.cumsum(sizes) - sizes
    gaps = rng.exponential(GAP_S, jobs)
    gaps[first] = 0.0
    since = np.cumsum(gaps)
    since -= np.repeat(since[first], sizes)
    length = since[first + sizes - 1]
    start = np.maximum(np.minimum(session_s, span_s - length), 0.0)
    return np.minimum(np.repeat(start, sizes) + since, span_s)
