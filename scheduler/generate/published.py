"""The published distributions behind the generator, as data.

Fits are ours, on public traces: Philly (msr-fiddle/philly-traces, CC-BY-4.0, 74,174 jobs of
October to December 2017), AcmeTrace's cluster summary (InternLM/AcmeTrace, CC-BY-4.0: Seren,
Helios), the Venus series of Helios (S-Lab-System-Group/Lucid: figures only), GenTD26
(alibaba/clusterdata, v2026-GenAI: figures only). LN(mu, sd) is a lognormal over seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, log, pi

from scheduler.generate.durations import Mixture

LONGEST_RUN_S = 54 * 86400.0
"""Longest run time observed in Philly is 4.63e6 s; every law is cut here."""

PHILLY_GANG_SHARES: dict[int, float] = {
    1: 0.934,
    2: 0.021,
    4: 0.023,
    8: 0.019,
    12: 0.0001,
    16: 0.0021,
    24: 0.0001,
    32: 0.0007,
}
"""Share of Philly's jobs by gang size (sizes above 32 are rarer than 1 in 10,000)."""

PHILLY_RUN_TIMES: dict[str, Mixture] = {
    # The fourth component is not in the three-component fit: without it the mean is 1.7 h and
    # the 99th percentile 24 h, where the trace has 2.1 h and 36 h.
    "1": Mixture((0.164, 0.236, 0.595, 0.004), (4.17, 7.65, 7.27, 12.5), (0.15, 0.49, 1.93, 0.8)),
    "2-4": Mixture((0.292, 0.295, 0.413), (2.90, 5.08, 11.02), (0.34, 1.76, 1.27)),
    "8": Mixture((0.295, 0.315, 0.391), (5.87, 9.58, 12.20), (1.21, 0.94, 0.70)),
    ">8": Mixture((0.406, 0.373, 0.221), (5.95, 11.54, 11.24), (1.33, 0.69, 1.41)),
}
"""Run time by gang class; a crash or smoke test of about 65 s is 16 % of 1-GPU jobs."""

PHILLY_LONG_SHARE: dict[int, float] = {2: 0.265, 4: 0.548, 16: 0.725, 32: 0.200}
"""Weight of the hour-long components (the last of 2-4, the last two of >8) by gang size.

The pooled laws of the classes 2-4 and >8 stay as fitted; the split between the sizes is chosen
so that each size has its published share of the GPU-hours.
"""


def philly_gang_class(gang: int) -> str:
    """Return the key of `PHILLY_RUN_TIMES` that holds for a gang of `gang` accelerators."""
    if gang == 1:
        return "1"
    if gang < 8:
        return "2-4"
    return "8" if gang == 8 else ">8"


def philly_run_time(gang: int) -> Mixture:
    """Return the run-time law of one Philly gang size."""
    name = philly_gang_class(gang)
    law = PHILLY_RUN_TIMES[name]
    long_share = PHILLY_LONG_SHARE.get(gang)
    if long_share is None:
        return law
    first_long = 2 if name == "2-4" else 1
    return law.with_long_share(first_long, long_share)


HELIOS_GANG_SHARES: dict[int, float] = {
    1: 0.495,
    2: 0.070,
    4: 0.090,
    8: 0.240,
    16: 0.050,
    32: 0.032,
    64: 0.017,
    128: 0.006,
}
"""Our choice of a mix with Venus's mean of 6.7 GPUs per job."""

HELIOS_RUN_TIME = Mixture((1.0,), (log(206.0),), (2.69,))
"""Median 206 s and, cut at 54 days, mean 6,650 s (AcmeTrace's summary of Helios)."""


@dataclass(frozen=True, slots=True)
class BatchLaw:
    """How many jobs one session submits.

    One job with probability ``1 - several``; otherwise a discrete Pareto,
    ``P(size >= k) = (2 / k) ** alpha`` for k >= 2, cut at `cap`.

    Parameters
    ----------
    several : float
        Probability of more than one job.
    cap : int
        Largest batch.
    alpha : float
        Tail exponent.
    """

    several: float
    cap: int
    alpha: float = 1.02

    def capped(self, cap: int) -> BatchLaw:
        """Return the law with no batch above `cap` (1: every session submits one job)."""
        if cap < 2:
            return replace(self, several=0.0, cap=2)
        return replace(self, cap=min(self.cap, cap))


PHILLY_BATCHES: dict[str, BatchLaw] = {
    "1": BatchLaw(0.185, 1000),
    "2-4": BatchLaw(0.20, 16),
    "8": BatchLaw(0.08, 10),
    ">8": BatchLaw(0.13, 5),
}
"""Batch size by gang class: 18 % of all sessions submit several jobs (p90 20, cap 1,000). Sweeps
of hundreds use single GPUs; sessions of 2-4 GPUs submit 1.7 jobs, larger ones 1.2 (measured on
seven of the virtual clusters), which the caps reproduce."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How the rate of sessions varies.

    Parameters
    ----------
    by_hour : tuple of float
        24 factors, hour 0 first, mean about 1.
    by_weekday : tuple of float
        Seven factors, Monday first, mean about 1.
    variance : float
        Of the slow random factor around that seasonal mean.
    correlation : float
        Of the slow factor from one hour to the next.
    """

    by_hour: tuple[float, ...]
    by_weekday: tuple[float, ...]
    variance: float
    correlation: float


VENUS_BY_HOUR = (
    *(0.90, 0.66, 0.60, 0.38, 0.27, 0.21, 0.19, 0.22, 0.37, 0.80, 1.29, 1.47),
    *(1.16, 1.30, 1.56, 1.66, 1.73, 1.73, 1.28, 1.31, 1.34, 1.36, 1.15, 1.04),
)
VENUS_BY_WEEKDAY = (1.02, 1.10, 1.27, 1.20, 0.95, 0.68, 0.77)

GENTD26_BY_HOUR = (
    *(0.06, 0.08, 0.03, 0.01, 0.00, 0.00, 0.00, 0.00, 0.05, 1.60, 2.81, 2.39),
    *(0.61, 2.31, 2.71, 3.31, 2.72, 2.15, 0.67, 0.36, 0.33, 0.40, 0.28, 0.13),
)
GENTD26_BY_WEEKDAY = (1.01, 1.38, 1.29, 1.65, 0.80, 0.24, 0.62)

PHILLY_RHYTHM = Rhythm(
    # Nearly flat: the first harmonic has an amplitude of .10 (its phase is our choice).
    by_hour=tuple(1.0 + 0.10 * cos(2 * pi * (hour - 15) / 24) for hour in range(24)),
    by_weekday=(0.99, 1.12, 1.14, 1.14, 1.07, 0.84, 0.70),
    # 11.8 sessions an hour have an hourly index of dispersion of 1.97, so the rate's variance
    # is 0.97 / 11.8 = 0.082 of its mean squared; the seasonal factors account for 0.030.
    variance=0.052,
    # Counts are correlated by .50 at one hour and .27 at 24; Poisson noise is half of their
    # variance, so the factor itself must be this persistent.
    correlation=0.9,
)
# The variance is chosen so that hourly job counts have Venus's coefficient of variation, 1.17.
VENUS_RHYTHM = Rhythm(VENUS_BY_HOUR, VENUS_BY_WEEKDAY, variance=0.15, correlation=0.9)
