"""What users say a job will take."""

from __future__ import annotations

import math

import numpy as np

from scheduler.core.units import DAY_S, HOUR_S
from scheduler.core.workload import FloatArray

ESTIMATE_MODELS = ("limits", "lognormal", "none")

LIMITS_S = (
    *(300.0, 600.0, 900.0, 1800.0),
    *(h * HOUR_S for h in (1, 2, 3, 4, 6, 8, 12, 18)),
    *(d * DAY_S for d in (1, 2, 3, 5, 7, 14, 30, 54)),
)
"""Twenty popular values: in four supercomputer logs about 20 values make up 90 % of all
estimates (Tsafrir, Etsion, Feitelson, "Modeling User Runtime Estimates", JSSPP 2005)."""


def user_estimates(
    planned_s: FloatArray,
    model: str,
    sigma: float,
    rng: np.random.Generator,
    *,
    longest_s: float = math.inf,
) -> FloatArray:
    """Return a run time estimate per job, shape (n,).

    ``limits``
        The planned run time times exp(sigma |z|), z standard normal, rounded up to the next
        of `LIMITS_S`, at most the site's limit: a time limit, so never too short.
    ``lognormal``
        The planned run time times exp(sigma z): right in the median, too short half the time.
    ``none``
        NaN.

    Parameters
    ----------
    planned_s : ndarray of float64, shape (n,)
        Planned run times; a job that fails or is cancelled runs shorter, which its user did
        not know.
    model : str
        One of `ESTIMATE_MODELS`.
    sigma : float
        Standard deviation of the natural logarithm of the error.
    rng : numpy.random.Generator
        Its stream.
    longest_s : float
        The site's limit on run times.
    """
    if model == "none":
        return np.full(len(planned_s), np.nan)
    error = sigma * rng.standard_normal(len(planned_s))
    if model == "lognormal":
        return planned_s * np.exp(error)
    padded = planned_s * np.exp(np.abs(error))
    menu = np.array(LIMITS_S)
    place = np.minimum(np.searchsorted(menu, padded), len(menu) - 1)
    limits: FloatArray = np.maximum(np.minimum(menu[place], longest_s), planned_s)
    return limits
