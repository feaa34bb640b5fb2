"""Request by request: the check on the fluid model of services.

The engine takes a service for a fluid with a waiting line in its steady state. Here every
request of a run arrives by itself, takes a free slot of some replica for its whole residence,
waits in line for one, and gives up (a miss) once it has waited longer than the time to the
first token permits.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.core.workload import FloatArray
from scheduler.physics.queueing import miss_probability, slots_of


@dataclass(frozen=True, slots=True)
class ServingSpan:
    """A replica that serves over ``[start_s, end_s)``.

    Parameters
    ----------
    start_s, end_s : float
        When.
    rate_per_s : float
        Requests/s that it completes while all its slots are busy.
    slots : int
        Requests it works on at once.
    """

    start_s: float
    end_s: float
    rate_per_s: float
    slots: int


@dataclass(frozen=True, slots=True)
class Attainment:
    """Requests that arrived, and those that were taken up in time."""

    arrived: int
    in_time: int

    @property
    def share(self) -> float:
        """Return the SLO attainment; 1 where nothing arrived."""
        return self.in_time / self.arrived if self.arrived else 1.0


def serving_spans(problem: Problem, run: Run, service: int) -> list[ServingSpan]:
    """Return when, and how fast, each replica of a service served in a run.

    How many requests it works on at once is `scheduler.physics.queueing.slots_of`.
    """
    spec = problem.workload.services[service]
    spans = []
    for replica in run.replicas:
        if replica.service != service:
            continue
        rate = problem.service_modes[service][replica.mode].rate
        start_s = (replica.start_us + replica.overhead_us) / US_PER_S
        end_s = replica.end_us / US_PER_S
        if end_s > start_s and rate > 0:
            spans.append(ServingSpan(start_s, end_s, rate, slots_of(spec, rate)))
    return spans


def arrivals_of(
    times_s: FloatArray, demand_per_s: FloatArray, end_s: float, rng: np.random.Generator
) -> FloatArray:
    """Draw the arrivals of a Poisson process whose rate is the demand curve, ascending."""
    edges = np.append(times_s[times_s < end_s], end_s)
    rates = demand_per_s[: len(edges) - 1]
    counts = rng.poisson(rates * np.diff(edges))
    drawn = [
        rng.uniform(low, high, int(n))
        for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return np.sort(np.concatenate(drawn)) if drawn else np.zeros(0)


def play_requests(
    arrivals_s: FloatArray,
    spans: Sequence[ServingSpan],
    patience_s: float,
    rng: np.random.Generator,
) -> Attainment:
    """Play every request through the replicas, first come, first served.

    A request takes a slot of the replica with the largest share of free slots. Its residence is
    exponential with the replica's mean, ``slots / rate``. A replica that stops finishes what it
    has begun and takes nothing more.

    Parameters
    ----------
    arrivals_s : ndarray of float64
        Ascending.
    spans : sequence of ServingSpan
        Replicas.
    patience_s : float
        Longest wait.
    rng : Generator
        Draws residences.
    """
    residence = rng.standard_exponential(len(arrivals_s)).tolist()
    # events: (time, kind, replica); kinds in order: leave, open, close, arrive
    events = [(s.start_s, 1, i) for i, s in enumerate(spans)]
    events += [(s.end_s, 2, i) for i, s in enumerate(spans)]
    heapq.heapify(events)
    free = [0] * len(spans)
    open_: dict[int, None] = {}
    waiting: deque[tuple[float, int]] = deque()
    in_time = 0

    def take_up(now_s: float) -> int:
        """Give free slots to those who wait; return how many were in time."""
        taken = 0
        while waiting:
            if now_s - waiting[0][0] > patience_s:
                waiting.popleft()
                continue
            chosen = max(
                (i for i in open_ if free[i]),
                key=lambda i: (free[i] / spans[i].slots, -i),
                default=None,
            )
            if chosen is None:
                break
            _, request = waiting.popleft()
            free[chosen] -= 1
            span = spans[chosen]
            leaves_s = now_s + residence[request] * span.slots / span.rate_per_s
            heapq.heappush(events, (leaves_s, 0, chosen))
            taken += 1
        return taken

    def handle(until_s: float) -> int:
        taken = 0
        while events and events[0][0] <= until_s:
            now_s, kind, replica = heapq.heappop(events)
            if kind == 0:
                free[replica] += 1
            elif kind == 1:
                open_[replica] = None
                free[replica] = spans[replica].slots
            else:
                open_.pop(replica, None)
            if kind != 2:
                taken += take_up(now_s)
        return taken

    for request, now_s in enumerate(arrivals_s.tolist()):
        in_time += handle(now_s)
        waiting.append((now_s, request))
        in_time += take_up(now_s)
    in_time += handle(math.inf)
    return Attainment(len(arrivals_s), in_time)


def queueing_attainment(
    times_s: FloatArray,
    demand_per_s: FloatArray,
    spans: Sequence[ServingSpan],
    patience_s: float,
    end_s: float,
) -> float:
    """Return the SLO attainment with queueing, each step of demand and capacity by itself.

    The fluid model takes a service for infinitely large; small ones queue at loads below their
    capacity. This adds what they miss, from the steady state of each step.
    """
    instants = {0.0, end_s, *times_s[times_s < end_s].tolist()}
    instants.update(t for s in spans for t in (s.start_s, min(s.end_s, end_s)) if t <= end_s)
    edges = sorted(instants)
    asked: list[float] = []
    missed: list[float] = []
    for start_s, until_s in pairwise(edges):
        step = int(np.searchsorted(times_s, start_s, side="right")) - 1
        rate = float(demand_per_s[step])
        there = [s for s in spans if s.start_s <= start_s < s.end_s]
        work = math.fsum(s.rate_per_s for s in there)
        share = miss_probability(rate, sum(s.slots for s in there), work, patience_s)
        asked.append(rate * (until_s - start_s))
        missed.append(asked[-1] * share)
    total = math.fsum(asked)
    return 1 - math.fsum(missed) / total if total > 0 else 1.0
