"""Who goes first: orders of jobs by a key, the smallest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.random import stream
from scheduler.core.units import US_PER_S
from scheduler.policies.view import View

TIRESIAS_LIMITS: Final = (3250.0, 7200.0, 18000.0)
"""Accelerator-seconds at which a job falls to the next queue (queue limits of Tiresias's
published simulator)."""

QUANTUM_S: Final = 600.0
"""Service by which a running job must be ahead before one that had less takes its place."""

LEASE_S: Final = 1200.0
"""Themis's lease: accelerators are offered anew every twenty minutes."""

_QUEUE: Final = 1e9  # queues are further apart than job indices


class Service:
    """Time that jobs have held accelerators, as the policy itself saw it."""

    def __init__(self) -> None:
        self._had_us: dict[int, int] = {}
        self._since_us: dict[int, int] = {}

    def started(self, job: int, now_us: int) -> None:
        """Note a start."""
        self._since_us[job] = now_us

    def had_s(self, view: View, job: int) -> float:
        """Return the seconds a job has held its gang."""
        since_us = self._since_us.get(job)
        if since_us is not None:
            running_us = view.now_us - since_us
            if job in view.running:
                return (self._had_us.get(job, 0) + running_us) / US_PER_S
            self._had_us[job] = self._had_us.get(job, 0) + running_us
            del self._since_us[job]
        return self._had_us.get(job, 0) / US_PER_S


Key = Callable[[View, int, Service], float]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of jobs.

    Parameters
    ----------
    key : callable
        ``key(view, job, service)``; the smallest goes first, ties to the lower index.
    margin : callable
        By how much the key of a running job must exceed that of one that takes its place.
    moves : bool
        Whether the key of a waiting job changes as time passes.
    lease_s : float
        Jobs are stopped for others at most this often; 0: whenever one comes.
    """

    key: Key
    margin: Callable[[View, int], float] = lambda view, job: 0.0
    moves: bool = False
    lease_s: float = 0.0


def _restart_s(view: View, job: int) -> float:
    return view.restart_us(job) / US_PER_S


def _remaining(view: View, job: int, _: Service) -> float:
    return view.remaining_s(job)


def _queue(view: View, job: int, service: Service) -> float:
    """Two-dimensional attained service, by queues; first come, first served in each."""
    held = service.had_s(view, job) * view.modes(job)[0].size
    return sum(held >= limit for limit in TIRESIAS_LIMITS) * _QUEUE + job


def _unfairness(view: View, job: int, service: Service) -> float:
    """Return minus Themis's rho: finish time here over that on an equal part of the fleet."""
    left_s = max(1.0, view.remaining_s(job))
    whole_s = left_s + service.had_s(view, job)
    elapsed_s = view.now_s - float(view.problem.workload.jobs.release_s[job])
    jobs = len(view.waiting) + len(view.running)
    part = sum(view.problem.capacity()) / jobs
    alone_s = whole_s * max(1.0, view.modes(job)[0].size / part)
    return -(elapsed_s + left_s) / alone_s


def _random() -> Order:
    generator = stream(0, "random order")
    drawn: dict[int, float] = {}

    def key(view: View, job: int, _: Service) -> float:
        if not drawn:
            ranks = generator.permutation(len(view.problem.workload.jobs))
            drawn.update(enumerate(np.asarray(ranks, dtype=np.float64).tolist()))
        return drawn[job]

    return Order(key)


ORDERS: Final[Mapping[str, Callable[[], Order]]] = MappingProxyType(
    {
        "fifo": lambda: Order(lambda view, job, service: float(job)),
        "sjf": lambda: Order(_remaining, _restart_s),
        "srtf": lambda: Order(_remaining, _restart_s),
        "ljf": lambda: Order(lambda view, job, service: -view.remaining_s(job)),
        "smallest": lambda: Order(lambda view, job, service: view.modes(job)[0].size),
        "las": lambda: Order(
            lambda view, job, service: service.had_s(view, job),
            lambda view, job: max(QUANTUM_S, _restart_s(view, job)),
            lease_s=QUANTUM_S,
        ),
        "tiresias": lambda: Order(_queue, lambda view, job: 0.5 * _QUEUE, lease_s=60.0),
        "themis": lambda: Order(_unfairness, lambda view, job: 0.1, moves=True, lease_s=LEASE_S),
        "random": _random,
    }
)
"""Makers of orders by name.

``sjf`` and ``srtf``: least remaining run time (W. Smith, Naval Research Logistics 3, 1956; L.
Schrage, Operations Research 16, 1968). ``las``: least attained service (L. Kleinrock, Queueing
Systems 2, 1976). ``tiresias``: discretised two-dimensional LAS (J. Gu et al., NSDI 2019).
``themis``: worst finish-time fairness first, by leases (K. Mahajan et al., NSDI 2020; its
auction is left out, and bids are true).
"""
