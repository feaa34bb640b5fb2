"""Waiting for a free slot: who of a service's requests is taken up too late.

Requests of a service arrive at random (Poisson) around its demand curve, take a free slot of
some replica for as long as they are in work, wait in one line where there is none, and give up
once they have waited longer than the time to the first token permits: M/M/n with constant
patience. Its steady state is the SLO attainment of a step of demand and capacity; turned round,
it is the capacity that keeps a stated probability of being in time.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from scheduler.core.workload import ModelPhysics, Service

BISECTIONS: Final = 40
NEGLIGIBLE: Final = 1e-16


def slots_of(service: Service, rate_per_s: float) -> int:
    """Return how many requests a replica works on at once.

    What the service states; else, where the model is described, what Little's law gives for
    a replica that completes r requests/s of O output tokens each: ``r O tpot``; a replica
    known by a measured rate alone works on one at a time.
    """
    if service.concurrency > 0:
        return service.concurrency
    if not isinstance(service.physics, ModelPhysics):
        return 1
    return max(1, round(rate_per_s * service.output_tokens * service.tpot_s))


def miss_probability(rate_per_s: float, slots: int, work_per_s: float, patience_s: float) -> float:
    """Return the share of requests that a service in steady state takes up too late.

    M/M/n with constant patience: the virtual wait has density ``L P e^{-(C - L) x}`` up to the
    patience and ``L P e^{L T} e^{-C x}`` beyond it (L arrivals/s, C = n mu completions/s, T
    patience, P the probability of n - 1 in service); what lies beyond it is missed
    (Gnedenko and Kovalenko, "Introduction to queueing theory", 1968).

    Parameters
    ----------
    rate_per_s : float
        Arrivals.
    slots : int
        Requests in work at once.
    work_per_s : float
        Completions while all slots are busy.
    patience_s : float
        Longest wait.
    """
    if rate_per_s <= 0:
        return 0.0
    if slots < 1 or work_per_s <= 0:
        return 1.0
    load = rate_per_s / work_per_s * slots
    # in units of the probability of n - 1 in service, so that nothing overflows
    idle, term = 0.0, 1.0
    for k in range(slots - 1, -1, -1):
        idle += term
        term *= k / load
        if term < NEGLIGIBLE * idle:
            break
    spare = (work_per_s - rate_per_s) * patience_s
    if spare < -700:
        return 1 - work_per_s / rate_per_s
    waits = rate_per_s * patience_s * (-math.expm1(-spare) / spare if abs(spare) > 1e-12 else 1.0)
    beyond = rate_per_s / work_per_s * math.exp(-spare)
    return beyond / (idle + waits + beyond)


@lru_cache(maxsize=1 << 16)
def capacity_in_time(
    rate_per_s: float, probability: float, slots_per_rate: float, patience_s: float
) -> float:
    """Return the least capacity at which a request is taken up in time with `probability`.

    Parameters
    ----------
    rate_per_s : float
        Arrivals.
    probability : float
        In [0, 1).
    slots_per_rate : float
        Slots of a replica over its rate: the mean time, in seconds, that a request is in work.
    patience_s : float
        Longest wait.

    Returns
    -------
    float
        Requests/s; never below ``rate_per_s probability``, which is served at best.
    """
    if rate_per_s <= 0:
        return 0.0

    def enough(work_per_s: float) -> bool:
        slots = max(1, round(work_per_s * slots_per_rate))
        return miss_probability(rate_per_s, slots, work_per_s, patience_s) <= 1 - probability

    low = rate_per_s * probability
    high = rate_per_s + 1 / max(slots_per_rate, 1e-9)
    while not enough(high):
        high *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high
