"""Services: demand, capacity and what was served, rebuilt from the replicas."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from scheduler.core.run import Run, Violation
from scheduler.core.units import US_PER_S, s_from_us, us_from_s
from scheduler.core.workload import ModelPhysics, Service
from scheduler.verify.facts import RELATIVE, Facts, Hold, Span


@dataclass(frozen=True, slots=True)
class Serving:
    """One service over the run, in steps: entry ``i`` holds from ``at_us[i]`` on.

    Replicas share the demand in proportion to their rates, so that each is used to the
    same share, served over capacity. Of steady arrivals all that the capacity can do is
    served; of random ones, those that wait no longer than the time to the first token.

    Parameters
    ----------
    at_us : tuple of int
        From 0 to the horizon, which is the last entry.
    short : tuple of bool
        Whether the demand exceeds the rate of all replicas, loading ones included.
    used_us : tuple of float
        Integral of the used share of the capacity up to each instant.
    demanded, served : float
        Requests over the horizon.
    """

    at_us: tuple[int, ...]
    short: tuple[bool, ...]
    used_us: tuple[float, ...]
    demanded: float
    served: float

    def used_between(self, start_us: int, end_us: int) -> float:
        """Return the used share of capacity integrated over an interval, in microseconds."""
        return self._used_until(end_us) - self._used_until(start_us)

    def short_spans(self) -> list[Span]:
        """Return the intervals in which demand exceeds what all replicas could serve."""
        steps = zip(pairwise(self.at_us), self.short, strict=True)
        return [span for span, short in steps if short]

    def _used_until(self, at_us: int) -> float:
        i = min(bisect_right(self.at_us, at_us) - 1, len(self.at_us) - 2)
        if i < 0:
            return 0.0
        width = self.at_us[i + 1] - self.at_us[i]
        share = (self.used_us[i + 1] - self.used_us[i]) / width
        return self.used_us[i] + share * (at_us - self.at_us[i])


def servings_of(facts: Facts, holds: Sequence[Hold]) -> list[Serving]:
    """Return every service's history from the holds of its replicas."""
    replicas: list[list[Hold]] = [[] for _ in facts.problem.workload.services]
    for hold in holds:
        if hold.service >= 0:
            replicas[hold.service].append(hold)
    return [_serving_of(facts, s, of_service) for s, of_service in enumerate(replicas)]


def _serving_of(facts: Facts, service: int, replicas: Sequence[Hold]) -> Serving:
    spec = facts.problem.workload.services[service]
    off_us = facts.end_us if spec.end_s is None else min(facts.end_us, us_from_s(spec.end_s))
    steps_us = [us_from_s(t) for t in spec.times_s.tolist()]
    loaded = [(h.start_us + h.overhead_us, h.end_us, h.mode.rate) for h in replicas]
    held = [(h.start_us, h.end_us, h.mode.rate) for h in replicas]
    instants = {0, facts.end_us, off_us, *steps_us}
    instants.update(t for start, end, _ in loaded + held for t in (start, end))
    at_us = sorted(t for t in instants if 0 <= t <= facts.end_us)
    capacity = _totals(at_us, loaded)
    coming = _totals(at_us, held)
    slots = _totals(at_us, [
        (h.start_us + h.overhead_us, h.end_us, float(slots_of_replica(spec, h.mode.rate)))
        for h in replicas
    ])  # fmt: skip
    line = _Line(spec)
    short, used_us = [], [0.0]
    demanded, served = [], []
    for i, (start, end) in enumerate(pairwise(at_us)):
        step = bisect_right(steps_us, start) - 1
        demand = float(spec.demand_per_s[step]) if step >= 0 and start < off_us else 0.0
        short.append(demand > coming[i] * (1 + RELATIVE))
        rate = line.served(demand, round(slots[i]), capacity[i])
        used_us.append(used_us[-1] + ((end - start) * rate / capacity[i] if rate > 0 else 0.0))
        demanded.append(demand * s_from_us(end - start))
        served.append(rate * s_from_us(end - start))
    return Serving(
        tuple(at_us), tuple(short), tuple(used_us), math.fsum(demanded), math.fsum(served)
    )


def slots_of_replica(spec: Service, rate_per_s: float) -> int:
    """Return the requests that a replica works on at once: as stated, else by Little's law."""
    if spec.concurrency > 0:
        return spec.concurrency
    if not isinstance(spec.physics, ModelPhysics):
        return 1
    return max(1, round(rate_per_s * spec.output_tokens * spec.tpot_s))


class _Line:
    """Requests served in time, by the balance equations of M/M/n with constant patience."""

    def __init__(self, spec: Service) -> None:
        self._random = spec.arrivals == "poisson"
        self._patience_s = spec.ttft_s
        self._known: dict[tuple[float, int, float], float] = {}

    def served(self, demand: float, slots: int, capacity: float) -> float:
        """Return requests/s in time."""
        if not self._random:
            return min(demand, capacity)
        if demand <= 0 or slots < 1 or capacity <= 0:
            return 0.0
        key = (demand, slots, capacity)
        if key not in self._known:
            self._known[key] = demand * (1 - late_share(*key, self._patience_s))
        return self._known[key]


def late_share(demand: float, slots: int, capacity: float, patience_s: float) -> float:
    """Return the share of random arrivals that wait for longer than `patience_s`.

    With P the probability of n - 1 in service: fewer have ``P / B`` together, B being
    Erlang's loss of n - 1 servers; all n are busy with ``P L int_0^T e^{(L - C) x} dx``
    before the patience T runs out and ``P L e^{(L - C) T} / C`` beyond it, where arrivals
    are lost.
    """
    if slots < 1 or capacity <= 0:
        return 1.0
    erlangs = demand * slots / capacity
    fewer = 1.0
    for servers in range(1, slots):
        fewer = 1.0 + fewer * servers / erlangs
    surplus = demand - capacity
    if surplus * patience_s > 650:
        return surplus / demand
    grown = math.exp(surplus * patience_s)
    within = patience_s if abs(surplus * patience_s) < 1e-9 else (grown - 1) / surplus
    beyond = grown / capacity
    return demand * beyond / (fewer + demand * (within + beyond))


def _totals(at_us: Sequence[int], rates: Sequence[tuple[int, int, float]]) -> list[float]:
    """Return, from each instant on, the sum of the rates in force then."""
    position = {t: i for i, t in enumerate(at_us)}
    ups: list[list[float]] = [[] for _ in at_us]
    downs: list[list[float]] = [[] for _ in at_us]
    for start, end, rate in rates:
        if start < end and start in position and end in position:
            ups[position[start]].append(rate)
            downs[position[end]].append(rate)
    live: dict[float, int] = {}
    totals = []
    for i in range(len(at_us)):
        for rate in downs[i]:
            live[rate] -= 1
        for rate in ups[i]:
            live[rate] = live.get(rate, 0) + 1
        totals.append(math.fsum(rate * count for rate, count in live.items()))
    return totals


def requests_counted(facts: Facts, run: Run, servings: Sequence[Serving]) -> Iterator[Violation]:
    """``served``, ``demanded``: requests are the integrals of the curves."""
    services = facts.problem.workload.services
    for name, amounts in (("demanded", run.demanded), ("served", run.served)):
        if len(amounts) != len(services):
            yield Violation(name, f"{len(amounts)} entries for {len(services)} services")
            continue
        for spec, serving, amount in zip(services, servings, amounts, strict=True):
            due = serving.demanded if name == "demanded" else serving.served
            if not math.isclose(amount, due, rel_tol=1e-7, abs_tol=1e-6):
                text = f"service {spec.name}: {amount:.9g} requests {name}, {due:.9g} follow"
                yield Violation(name, text)


def switched_off(facts: Facts, holds: Sequence[Hold]) -> Iterator[Violation]:
    """``service_end``: no replica is held after its service is switched off."""
    services = facts.problem.workload.services
    for hold in holds:
        end_s = services[hold.service].end_s if hold.service >= 0 else None
        if end_s is not None and hold.end_us > us_from_s(end_s):
            over_s = (hold.end_us - us_from_s(end_s)) / US_PER_S
            text = f"held {over_s:.6g} s after the service was switched off"
            yield Violation("service_end", text, hold.who, "", s_from_us(hold.end_us))
