"""Requests of different lengths to different types, as services of their own.

A type that is cheap for short requests may be dear for long ones. A service whose lengths are
known as buckets is divided by the exact assignment of buckets to types
(`scheduler.solver.provisioning`): each type's share becomes a service with the demand, the
lengths and the type of its own, which every policy, the engine and the verifier then treat like
any other. Nothing is divided that would not become cheaper by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from scheduler.core.errors import InfeasibleError
from scheduler.core.problem import Problem
from scheduler.core.provisioning import Offer, ProvisioningCase
from scheduler.core.workload import FloatArray, Service, Workload
from scheduler.solver.provisioning import provision

LEAST_SAVING: Final = 0.02
"""Share of the cost that a division must save: two services round up to whole replicas twice,
and share no headroom."""

LEAST_SHARE: Final = 0.01
"""Share of the requests below which a type gets no service of its own."""


@dataclass(frozen=True, slots=True)
class LengthBucket:
    """Requests of like length.

    Parameters
    ----------
    prompt_tokens, output_tokens : float
        Mean request of the bucket.
    share : float
        Of the service's requests.
    """

    prompt_tokens: float
    output_tokens: float
    share: float


@dataclass(frozen=True, slots=True)
class Division:
    """A service and what became of it.

    Parameters
    ----------
    services : tuple of Service
        The service itself, or one per type.
    whole_usd_per_hour, divided_usd_per_hour : float
        Cost at the peak in one piece and divided, in replicas of the cheapest types (in
        accelerators, where some type has no price).
    """

    services: tuple[Service, ...]
    whole_usd_per_hour: float
    divided_usd_per_hour: float


def divide(
    problem: Problem,
    service: int,
    buckets: Sequence[LengthBucket],
    build: Callable[[Workload], Problem],
) -> Division:
    """Divide a service by the length of its requests, where that is cheaper at its peak.

    Parameters
    ----------
    problem : Problem
        The fleet; other services are not looked at.
    service : int
        Which.
    buckets : sequence of LengthBucket
        Its lengths; shares sum to 1.
    build : callable
        Makes a problem of a workload on this fleet (`scheduler.physics.problem.build_problem`),
        for the rates of every bucket.
    """
    spec = problem.workload.services[service]
    parts = [
        replace(spec, name=f"{spec.name}#{i}", prompt_tokens=b.prompt_tokens,
                output_tokens=b.output_tokens)
        for i, b in enumerate(buckets)
    ]  # fmt: skip
    rated = build(replace(problem.workload, services=tuple(parts)))
    peak = float(spec.demand_per_s.max())
    share = np.array([b.share for b in buckets])
    apart = _offers(rated)
    one = ProvisioningCase(
        spec.name, np.array([[peak]]), (1.0,), tuple(_mixed(o, share) for o in apart)
    )
    many = ProvisioningCase(spec.name, peak * share[None, :], (1.0,), apart)
    try:
        answer = provision(many)
    except InfeasibleError:
        return Division((spec,), math.inf, math.inf)
    try:
        before = provision(one).cost_usd
    except InfeasibleError:  # no type serves all of its requests, or they are too few
        before = math.inf
    if answer.cost_usd > before * (1 - LEAST_SAVING):
        return Division((spec,), before, before)
    made = _services(spec, buckets, apart, answer.share[0])
    return Division(made, before, answer.cost_usd)


def _mixed(offer: Offer, share: FloatArray) -> Offer:
    """Return the offer rated for the mix: what each bucket takes of a machine adds up."""
    asked = share > 0
    if (offer.requests_per_s[asked] <= 0).any():
        return replace(offer, requests_per_s=np.zeros(1))
    rate = 1 / float((share[asked] / offer.requests_per_s[asked]).sum())
    return replace(offer, requests_per_s=np.array([rate]))


def _offers(rated: Problem) -> tuple[Offer, ...]:
    """Return an offer per type: its replica that is best per accelerator over all buckets."""
    services = range(len(rated.service_modes))
    kinds = rated.cluster.accelerators
    prices = [kinds[name].usd_per_hour for name in rated.types]
    there = [0] * len(rated.types)
    for pool in rated.pools:
        there[pool.type_index] += pool.size * len(pool.nodes)
    offers = []
    for index, name in enumerate(rated.types):
        rates: dict[int, list[float]] = {}
        for row, s in enumerate(services):
            for mode in rated.service_modes[s]:
                if mode.type_index == index:
                    found = rates.setdefault(mode.count, [0.0] * len(services))
                    found[row] = max(found[row], mode.rate)
        if not rates:
            continue
        count = max(rates, key=lambda c: (sum(rates[c]) / c, -c))
        price = prices[index]
        if price is None or None in prices:
            price = 1.0
        offers.append(Offer(name, price * count, np.array(rates[count]), there[index] // count))
    return tuple(offers)


def _services(
    spec: Service, buckets: Sequence[LengthBucket], offers: Sequence[Offer], share: FloatArray
) -> tuple[Service, ...]:
    """Return a service per type that has requests; crumbs go along with the largest."""
    amount = share * np.array([b.share for b in buckets])[:, None]
    largest = int(amount.sum(axis=0).argmax())
    for g in range(len(offers)):
        able = (offers[largest].requests_per_s[amount[:, g] > 0] > 0).all()
        if g != largest and able and amount[:, g].sum() < LEAST_SHARE:
            amount[:, largest] += amount[:, g]
            amount[:, g] = 0.0
    made = []
    for g, offer in enumerate(offers):
        part = float(amount[:, g].sum())
        if part <= 0:
            continue
        prompt = sum(b.prompt_tokens * a for b, a in zip(buckets, amount[:, g], strict=True))
        output = sum(b.output_tokens * a for b, a in zip(buckets, amount[:, g], strict=True))
        made.append(
            replace(
                spec,
                name=f"{spec.name} on {offer.name}",
                demand_per_s=spec.demand_per_s * part,
                prompt_tokens=float(prompt) / part,
                output_tokens=float(output) / part,
                accelerators=(offer.name,),
            )
        )
    return tuple(made)
