"""Checks a provisioning answer against its case, from the definitions."""

from __future__ import annotations

import math
from collections.abc import Iterator

from scheduler.core.provisioning import ProvisioningAnswer, ProvisioningCase
from scheduler.core.run import Violation

LOAD = 1e-6
"""Load above 1 per machine that rounding may leave."""


def verify_provisioning(case: ProvisioningCase, answer: ProvisioningAnswer) -> list[Violation]:
    """Return every rule that `answer` breaks; empty when it holds."""
    return [*_served(case, answer), *_loads(case, answer), *_money(case, answer)]


def _served(case: ProvisioningCase, answer: ProvisioningAnswer) -> Iterator[Violation]:
    """``served``: every bucket with requests is routed in full, to machines that can serve it."""
    steps, buckets = case.demand_per_s.shape
    for t in range(steps):
        for b in range(buckets):
            shares = [float(x) for x in answer.share[t, b]]
            if min(shares) < 0:
                yield Violation("served", f"step {t}, bucket {b}: a share is negative")
            if case.demand_per_s[t, b] <= 0:
                continue
            if not math.isclose(math.fsum(shares), 1.0, rel_tol=LOAD):
                yield Violation(
                    "served", f"step {t}, bucket {b}: {math.fsum(shares):.9g} is routed"
                )
            for offer, share in zip(case.offers, shares, strict=True):
                if share > LOAD and offer.requests_per_s[b] <= 0:
                    text = f"step {t}, bucket {b}: {offer.name} cannot serve these requests"
                    yield Violation("served", text)


def _loads(case: ProvisioningCase, answer: ProvisioningAnswer) -> Iterator[Violation]:
    """``load``: no type is asked for more than its machines do; ``supply``: nor for more."""
    steps, buckets = case.demand_per_s.shape
    for t in range(steps):
        for g, offer in enumerate(case.offers):
            count = int(answer.machines[t, g])
            load = math.fsum(
                float(case.demand_per_s[t, b]) * float(answer.share[t, b, g])
                / float(offer.requests_per_s[b])
                for b in range(buckets)
                if offer.requests_per_s[b] > 0
            )  # fmt: skip
            if load > count + LOAD * max(1, count):
                text = f"step {t}: {offer.name} is asked for {load:.9g} machines of {count}"
                yield Violation("load", text)
            if count < 0 or (offer.supply is not None and count > offer.supply):
                text = f"step {t}: {count} of {offer.name}, the supply is {offer.supply}"
                yield Violation("supply", text)


def _money(case: ProvisioningCase, answer: ProvisioningAnswer) -> Iterator[Violation]:
    """``cost``: the cost is that of the machines; ``bound``: the bound is not above it."""
    total = 0.0
    for g, offer in enumerate(case.offers):
        running = 0
        for t, hours in enumerate(case.hours):
            count = int(answer.machines[t, g])
            started = max(0, count - running)
            total += offer.usd_per_hour * (hours * count + case.start_hours * started)
            running = count
    if not math.isclose(total, answer.cost_usd, rel_tol=1e-9, abs_tol=1e-9):
        yield Violation("cost", f"{answer.cost_usd:.9g} is told, the machines cost {total:.9g}")
    if answer.bound_usd > answer.cost_usd * (1 + 1e-9):
        yield Violation("bound", f"{answer.bound_usd:.9g} is above the cost")
