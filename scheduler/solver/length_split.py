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

HEADROOM_REPLICAS: Final = 1
"""Beyond the demand, for bursts: what a division has of it twice."""

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


def divided(
    problem: Problem, build: Callable[[Workload], Problem], told: Callable[[str], None] | None
) -> Problem:
    """Return the problem with every service divided whose lengths are known, where cheaper.

    Parameters
    ----------
    problem : Problem
        Whose services may have `lengths`.
    build : callable
        As for `divide`.
    told : callable or None
        Is given a line about each service that was divided.
    """
    services = problem.workload.services
    made: list[Service] = []
    for s, service in enumerate(services):
        buckets = [LengthBucket(prompt, output, share) for share, prompt, output in service.lengths]
        if len(buckets) < 2:
            made.append(service)
            continue
        division = divide(problem, s, buckets, build)
        taken = {other.name for other in services}
        if any(part.name in taken for part in division.services if part is not service):
            made.append(service)
            continue
        made += division.services
        if told is not None and division.services != (service,):
            told(_told(service, division))
    if len(made) == len(services):
        return problem
    return build(replace(problem.workload, services=tuple(made)))


def _told(service: Service, division: Division) -> str:
    peak = float(service.demand_per_s.max())
    parts = "; ".join(
        f"{part.name} ({100 * float(part.demand_per_s.max()) / peak:.0f} % of the requests,"
        f" {part.prompt_tokens:.0f} + {part.output_tokens:.0f} tokens)"
        for part in division.services
    )
    if math.isinf(division.whole_usd_per_hour):
        saved = "no type serves them all"
    else:
        share = 1 - division.divided_usd_per_hour / division.whole_usd_per_hour
        saved = f"{100 * share:.0f} % cheaper at its peak"
    return f"service {service.name} is divided by length, {saved}: {parts}"


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
    if not spec.demand_per_s.any():
        return Division((spec,), 0.0, 0.0)
    parts = [
        replace(spec, name=f"{spec.name}#{i}", prompt_tokens=b.prompt_tokens,
                output_tokens=b.output_tokens, lengths=())
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
    mixed = replace(
        spec, lengths=tuple((b.share, b.prompt_tokens, b.output_tokens) for b in buckets)
    )
    made = _services(spec, buckets, apart, answer.share[0])
    if len(made) < 2 or not _cheaper(problem, mixed, made, build):
        return Division((spec,), before, before)
    return Division(made, before, answer.cost_usd)


def _cheaper(
    problem: Problem,
    spec: Service,
    made: Sequence[Service],
    build: Callable[[Workload], Problem],
) -> bool:
    """Return whether the services are cheaper over the whole curve, by the rates they will have.

    At the peak many replicas share the loss of rounding up; at night each service still holds
    its own, and at all times its own headroom. In one piece the service has its cheapest type
    at every step.
    """
    rated = build(replace(problem.workload, services=(spec, *made)))
    whole, *parts = (_curve_cost(rated, s) for s in range(len(made) + 1))
    divided = sum(part.min(axis=0) for part in parts)
    length_s = np.diff(spec.times_s, append=max(spec.end_s or 0.0, spec.times_s[-1]))
    if not length_s.any():
        length_s = np.ones_like(length_s)  # one step, and no end
    best = whole.min(axis=0)
    if np.isinf(best).any():  # no type serves all of its requests
        return True
    return bool(divided @ length_s <= best @ length_s * (1 - LEAST_SAVING))


def _curve_cost(rated: Problem, service: int) -> FloatArray:
    """Return the cost per hour of whole replicas, by type and step of demand."""
    spec = rated.workload.services[service]
    offers = _offers(replace(rated, service_modes=(rated.service_modes[service],)))
    if not offers:
        return np.full((1, len(spec.demand_per_s)), np.inf)
    rates = np.array([o.requests_per_s[0] for o in offers])[:, None]
    replicas = np.ceil(spec.demand_per_s / rates) + HEADROOM_REPLICAS
    price = np.array([o.usd_per_hour for o in offers])[:, None]
    return np.asarray(np.maximum(replicas, spec.min_replicas) * price)


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
                lengths=_shares(buckets, amount[:, g]),
            )
        )
    return tuple(made)


def _shares(
    buckets: Sequence[LengthBucket], amount: FloatArray
) -> tuple[tuple[float, float, float], ...]:
    """Return the lengths of a part; none where its requests are all alike."""
    total = float(amount.sum())
    found = tuple(
        (float(a) / total, b.prompt_tokens, b.output_tokens)
        for b, a in zip(buckets, amount, strict=True)
        if a > 0
    )
    return found if len(found) > 1 else ()
