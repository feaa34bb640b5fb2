"""How many replicas a service keeps: the provisioning part of a policy.

Whatever a policy aims at, it counts only capacity that stands when what the service provides
for has failed (`firm_per_s`): its spare replicas, or nodes with the probability it states.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from scheduler.core.occupancy import Fit
from scheduler.core.problem import Mode
from scheduler.physics.queueing import capacity_in_time, slots_of
from scheduler.policies.present import RunningReplica, ServiceNow
from scheduler.policies.view import View

BURST_HEADROOM = 0.1
"""Capacity kept above the demand curve, as a share of it, where no probability is stated."""

UNLIKELY = 1e-12
"""Combinations of failed nodes less probable than this are left out."""


class Provisioner(Protocol):
    """The part of a policy that looks after services."""

    def provision(self, view: View) -> None:
        """Start and stop replicas for the present."""
        ...


class StaticPeak:
    """Provision every service for its peak, for good: what most sites do.

    Replicas are of the mode with the highest rate per accelerator, or the next best while
    that one has no room.
    """

    def __init__(self, fit: Fit = "first") -> None:
        self._fit: Fit = fit

    def provision(self, view: View) -> None:
        """Start the replicas that are missing."""
        for index, state in enumerate(view.services):
            if not state.ended:
                peak = float(state.service.demand_per_s.max())
                top_up(view, index, state, with_headroom(view, index, state, peak), self._fit)


def with_headroom(view: View, index: int, state: ServiceNow, rate_per_s: float) -> float:
    """Return the capacity to keep for a rate: by the probability stated, else a flat share."""
    probability = state.service.headroom_probability
    if probability is None:
        return rate_per_s * (1 + BURST_HEADROOM)
    return in_time(view, index, state, rate_per_s, probability)


def in_time(
    view: View, index: int, state: ServiceNow, rate_per_s: float, probability: float
) -> float:
    """Return the capacity at which a request is taken up in time with `probability`.

    Slots are those of the service's most efficient replica. Steady arrivals do not bunch.
    """
    modes = view.problem.service_modes[index]
    service = state.service
    if service.arrivals != "poisson" or not modes:
        return rate_per_s
    slots_per_rate = slots_of(service, modes[0].rate) / modes[0].rate
    return capacity_in_time(rate_per_s, probability, slots_per_rate, service.ttft_s)


def needed_capacity(
    view: View, index: int, state: ServiceNow, from_us: int, until_us: int
) -> float:
    """Return the capacity for the highest demand in ``[from_us, until_us]``."""
    first = max(0, bisect.bisect_right(state.times_us, from_us) - 1)
    last = bisect.bisect_right(state.times_us, until_us)
    peak = float(state.service.demand_per_s[first : max(last, first + 1)].max())
    return with_headroom(view, index, state, peak)


def top_up(view: View, index: int, state: ServiceNow, target_per_s: float, fit: Fit) -> None:
    """Start replicas until their rate reaches `target_per_s` or no room is left."""
    modes = view.problem.service_modes[index]
    while modes and lacking(view, index, state, target_per_s):
        found = next(
            (
                (m, placement)
                for m in range(len(modes))
                if (placement := view.place_replica(index, m, fit)) is not None
            ),
            None,
        )
        if found is None:
            return
        view.start_replica(index, *found)


def lacking(view: View, index: int, state: ServiceNow, target_per_s: float) -> bool:
    """Return whether the service is short of `target_per_s` or of its least replicas."""
    if firm_per_s(view, index, state) < target_per_s * (1 - 1e-9):
        return True
    replicas = sum(1 for r in view.replicas.values() if r.service == index)
    return replicas < state.service.min_replicas


def firm_per_s(view: View, index: int, state: ServiceNow, without: int = -1) -> float:
    """Return the capacity that may be counted on, but for the replica numbered `without`.

    All of it where the service provides for no failures; else what is left when its spare
    replicas have failed, the largest first, and what is left of nodes that fail, with the
    availability it asks for.
    """
    service, modes = state.service, view.problem.service_modes[index]
    if not service.spare_replicas and not service.availability:
        gone = view.replicas.get(without)
        return state.coming_per_s - (0.0 if gone is None else modes[gone.mode].rate)
    held = [r for n, r in view.replicas.items() if r.service == index and n != without]
    rates = sorted((modes[r.mode].rate for r in held), reverse=True)
    firm = math.fsum(rates[service.spare_replicas :])
    if service.availability:
        up = up_share(view)
        firm = min(firm, sure_capacity(_by_nodes(held, modes), up, service.availability))
    return firm


def up_share(view: View) -> float:
    """Return the share of time that a node is up: failures against mean repairs."""
    failures = view.problem.cluster.failures
    if math.isinf(failures.node_mtbf_s):
        return 1.0
    repair_s = failures.repair_s * math.exp(failures.repair_sigma**2 / 2)
    return failures.node_mtbf_s / (failures.node_mtbf_s + repair_s)


def _by_nodes(
    held: Iterable[RunningReplica], modes: tuple[Mode, ...]
) -> dict[frozenset[int], float]:
    """Return the capacity that falls when any node of a set does."""
    capacity: dict[frozenset[int], float] = {}
    for replica in held:
        nodes = frozenset(replica.placement.nodes)
        capacity[nodes] = capacity.get(nodes, 0.0) + modes[replica.mode].rate
    return capacity


def sure_capacity(capacity: Mapping[frozenset[int], float], up: float, probability: float) -> float:
    """Return the largest capacity that stands with `probability` while nodes fail.

    Parameters
    ----------
    capacity : mapping of frozenset of int to float
        Capacity that stands as long as all of its nodes are up. Sets fall independently of
        one another; where two share a node this is somewhat too cautious.
    up : float
        Probability that a node is up.
    probability : float
        That of the answer.
    """
    lost = {0.0: 1.0}
    for nodes, rate in sorted(capacity.items(), key=lambda e: (e[1], sorted(e[0]))):
        fails = 1 - up ** len(nodes)
        if fails <= 0:
            continue
        after: dict[float, float] = {}
        for amount, chance in lost.items():
            for gone, part in ((amount, chance * (1 - fails)), (amount + rate, chance * fails)):
                if part > UNLIKELY:
                    key = round(gone, 9)
                    after[key] = after.get(key, 0.0) + part
        lost = after
    total, chance = math.fsum(capacity.values()), 0.0
    for amount in sorted(lost):
        chance += lost[amount]
        if chance >= probability:
            return max(0.0, total - amount)
    return 0.0


def rate_per_accelerator(mode: Mode) -> float:
    """Return requests per second and accelerator."""
    return mode.rate / mode.count
