"""Demand curves of inference services: requests per second, piecewise constant.

A curve is a season (hour of the day, weekday) times noise of mean one. It is a rate: the
requests of a bin are Poisson given the rate, which makes them negative binomial overall.
Sources of the noise: Azure LLM inference traces of 2023 (Azure/AzurePublicDataset, CC-BY-4.0),
GenTD26 and gpu-v2025 (alibaba/clusterdata; figures only).

No public LLM trace covers a whole day. The seasons of ``chat`` and ``code`` are therefore
borrowed from the submissions of Helios "Venus" (work hours with an evening), that of ``image``
from GenTD26's generative requests (two work blocks around lunch, clock moved so that lunch is
at noon). Day 0 is a Monday.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.random import stream
from scheduler.core.units import DAY_S, HOUR_S
from scheduler.core.workload import FloatArray
from scheduler.generate.arrivals import positive_noise
from scheduler.generate.published import (
    GENTD26_BY_HOUR,
    GENTD26_BY_WEEKDAY,
    VENUS_BY_HOUR,
    VENUS_BY_WEEKDAY,
)

MOST_STEPS = 5_000_000
"""Most steps of one curve, or of all curves of a workload together."""

_ALWAYS = (1.0,) * 24
_EVERY_DAY = (1.0,) * 7


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of demand.

    Parameters
    ----------
    about : str
        One line for people.
    by_hour : tuple of float
        24 relative rates, hour 0 first; taken as the rates at mid-hour.
    by_weekday : tuple of float
        Seven factors, Monday first.
    noise : {"none", "slow", "bursts"}
        Nothing; a positive process with exponential autocorrelation; on/off bursts of
        exponentially distributed height.
    variance : float
        ``slow`` only: of the rate around the season, relative to its mean squared.
    memory_s : float
        ``slow`` only: correlation time.
    """

    about: str
    by_hour: tuple[float, ...]
    by_weekday: tuple[float, ...]
    noise: Literal["none", "slow", "bursts"]
    variance: float = 0.0
    memory_s: float = 0.0


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "chat": Shape(
            "steady chat: work hours and evening, slow noise (CV .24 over minutes)",
            VENUS_BY_HOUR,
            VENUS_BY_WEEKDAY,
            "slow",
            # Azure conversation: indices of dispersion 1.4, 4.0 and 20.6 at 1, 10 and 60 s for
            # 5.5 req/s are a variance of 1/17; counts of 60 s bins are correlated by .75.
            variance=1 / 17,
            memory_s=200.0,
        ),
        "code": Shape(
            "bursty code completion: work hours, on/off bursts of seconds (26x peak second)",
            VENUS_BY_HOUR,
            VENUS_BY_WEEKDAY,
            "bursts",
        ),
        "image": Shape(
            "image generation: two work blocks with a lunch dip, quiet nights and week-ends",
            GENTD26_BY_HOUR,
            GENTD26_BY_WEEKDAY,
            "slow",
            # The residual of 5-minute counts has CV 1.39 at 4 requests a bin, of which Poisson
            # noise is .5: 1.39^2 - .5^2 = 1.68 over 5 minutes.
            variance=2.3,
            memory_s=300.0,
        ),
        "dlrm": Shape(
            "recommendation: flat, provisioned for its peak (3,076-3,367 GPUs over a month)",
            tuple(1.0 + 0.002 * math.cos(2 * math.pi * (h - 20) / 24) for h in range(24)),
            _EVERY_DAY,
            "slow",
            variance=0.02**2,
            memory_s=DAY_S,
        ),
        "diurnal": Shape(
            "a cosine over the day, busiest at 15 h, without noise",
            tuple(1.0 + math.cos(2 * math.pi * (h + 0.5 - 15) / 24) for h in range(24)),
            _EVERY_DAY,
            "none",
        ),
        "flat": Shape("constant", _ALWAYS, _EVERY_DAY, "none"),
    }
)

BURST_ON_S = 8.0
"""Mean length of a burst; with `BURST_OFF_S` and exponential heights the variances over 1, 10
and 60 s are 4.7, 3.2 and 1.0 of the mean squared (Azure code: 4.6, 2.7 and 1.0)."""
BURST_OFF_S = 16.0
"""Mean silence between two bursts."""


def demand_curve(
    shape: str,
    *,
    seed: int,
    span_s: float,
    step_s: float = 300.0,
    peak_per_s: float,
    base_per_s: float = 0.0,
    noise: float = 1.0,
) -> tuple[FloatArray, FloatArray]:
    """Return a demand curve.

    Parameters
    ----------
    shape : str
        A key of `SHAPES`.
    seed : int
        The stream ``demand/<shape>`` is derived from it.
    span_s, step_s : float
        Length of the curve and of one step. Noise is averaged over a step, so a coarse curve
        is smoother by as much as it should be.
    peak_per_s : float
        Requests/s at the busiest step of the season within the span; noise comes on top.
    base_per_s : float
        Constant part of the demand, without noise.
    noise : float
        Factor on the deviation of the noise; 0: the season alone.

    Returns
    -------
    times_s, demand_per_s : ndarray of float64, shape (k,)
        `demand_per_s[i]` holds from `times_s[i]`; `times_s[0]` is 0.

    Raises
    ------
    InputError
        Naming every parameter that is wrong.
    """
    _check(shape, span_s, step_s, peak_per_s, base_per_s, noise)
    rng = stream(seed, f"demand/{shape}")
    times, rate = draw_curve(SHAPES[shape], rng, span_s=span_s, step_s=step_s, noise=noise)
    return times, base_per_s + (peak_per_s - base_per_s) * rate


def draw_curve(
    spec: Shape, rng: np.random.Generator, *, span_s: float, step_s: float, noise: float
) -> tuple[FloatArray, FloatArray]:
    """Return a curve whose season peaks at 1; parameters as in `demand_curve`."""
    times = np.arange(math.ceil(span_s / step_s), dtype=np.float64) * step_s
    season = _season(spec, times + step_s / 2)
    factor = np.maximum(1.0 + noise * (_noise(spec, len(times), step_s, rng) - 1.0), 0.0)
    return times, season / max(float(season.max()), 1e-300) * factor


def _season(spec: Shape, at_s: FloatArray) -> FloatArray:
    hours = np.asarray(spec.by_hour)
    clock = at_s / HOUR_S - 0.5
    before = np.floor(clock).astype(np.int64)
    part = clock - before
    level = hours[before % 24] * (1.0 - part) + hours[(before + 1) % 24] * part
    day: FloatArray = level * np.asarray(spec.by_weekday)[(at_s // DAY_S).astype(np.int64) % 7]
    return day


def _noise(spec: Shape, n: int, step_s: float, rng: np.random.Generator) -> FloatArray:
    """Return factors of mean one, averaged over steps, shape (n,)."""
    if spec.noise == "bursts":
        return _bursts(n, step_s, rng)
    if spec.noise == "none":
        return np.ones(n)
    parts = min(math.ceil(8.0 * step_s / spec.memory_s), max(1, MOST_STEPS // n))
    fine = positive_noise(rng, n * parts, spec.variance, math.exp(-step_s / parts / spec.memory_s))
    mean: FloatArray = fine.reshape(n, parts).mean(axis=1)
    return mean


def _bursts(n: int, step_s: float, rng: np.random.Generator) -> FloatArray:
    """Return the step averages of an on/off process of mean one, shape (n,)."""
    span = n * step_s
    cycle = BURST_ON_S + BURST_OFF_S
    count = int(span / cycle + 8 * math.sqrt(span / cycle)) + 16
    on = rng.exponential(BURST_ON_S, count)
    off = rng.exponential(BURST_OFF_S, count)
    height = rng.exponential(cycle / BURST_ON_S, count)
    ends = np.cumsum(np.column_stack((off, on)).ravel())
    gained = np.cumsum(np.column_stack((np.zeros(count), on * height)).ravel())
    edges = np.arange(n + 1) * step_s
    total = np.interp(edges, np.append(0.0, ends), np.append(0.0, gained))
    mean: FloatArray = np.diff(total) / step_s
    return mean


def _check(
    shape: str, span_s: float, step_s: float, peak_per_s: float, base_per_s: float, noise: float
) -> None:
    faults = []
    if shape not in SHAPES:
        faults.append(
            Fault(
                "unknown demand shape",
                path="shape",
                value=shape,
                allowed=", ".join(SHAPES),
                nearest=nearest_name(shape, SHAPES),
            )
        )
    wanted = (
        ("span_s", span_s, span_s > 0, "a positive time"),
        ("step_s", step_s, step_s > 0, "a positive time"),
        ("peak_per_s", peak_per_s, peak_per_s >= 0, "a rate of at least 0"),
        ("base_per_s", base_per_s, 0 <= base_per_s <= peak_per_s, "between 0 and the peak"),
        ("noise", noise, noise >= 0, "a number of at least 0"),
    )
    faults.extend(
        Fault("out of range", path=name, value=f"{value:g}", allowed=allowed)
        for name, value, good, allowed in wanted
        if not (good and math.isfinite(value))
    )
    if faults:
        raise InputError(faults)
    check_steps(span_s, step_s)


def check_steps(span_s: float, step_s: float, curves: int = 1) -> None:
    """Raise InputError if `curves` curves have more than `MOST_STEPS` steps together."""
    if curves * span_s / step_s > MOST_STEPS:
        fault = Fault(
            "too many steps",
            path="step_s",
            value=f"{step_s:g}",
            allowed=f"at least {curves * span_s / MOST_STEPS:g} s for {curves} x {span_s:g} s",
        )
        raise InputError([fault])
