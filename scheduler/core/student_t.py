"""Student's t quantile, without SciPy."""

from __future__ import annotations

import math

_TINY = 1e-300
_STEPS = 10_000


def t_quantile(probability: float, degrees: float) -> float:
    """Return the `probability` quantile of Student's t distribution.

    Accurate to eight significant digits or more up to 100,000 degrees of freedom.

    Parameters
    ----------
    probability : float
        In (0, 1).
    degrees : float
        Degrees of freedom, positive.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if not (0 < probability < 1 and degrees > 0):
        raise ValueError(f"no quantile {probability} of Student's t with {degrees} degrees")
    tail = min(probability, 1 - probability)
    if tail == 0.5:
        return 0.0
    high = 1.0
    while upper_tail(high, degrees) > tail:
        high *= 2
    low = 0.0
    while True:  # bisection until floats have no number in between
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if upper_tail(middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return high if probability > 0.5 else -high


def upper_tail(t: float, degrees: float) -> float:
    """Return P(T > t) for t >= 0: half of I_x(degrees / 2, 1 / 2), x = degrees / (degrees + t^2).

    References
    ----------
    M. Abramowitz, I. Stegun, Handbook of Mathematical Functions, 26.7.1.
    """
    return 0.5 * _beta_ratio(degrees / (degrees + t * t), 0.5 * degrees, 0.5)


def _beta_ratio(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b).

    References
    ----------
    NIST Digital Library of Mathematical Functions, 8.17.4 (symmetry), 8.17.22 (fraction).
    """
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_ratio(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction 1 + d1/(1 + d2/(1 + ...)) by Lentz's method."""
    value, c, d = 1.0, 1.0, 0.0
    for i in range(1, _STEPS):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d or _TINY)
        c = 1 + term / c or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value
