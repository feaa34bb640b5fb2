"""How many replicas a service keeps: the provisioning part of a policy."""

from __future__ import annotations

import bisect
from typing import Protocol

from scheduler.core.occupancy import Fit
from scheduler.core.problem import Mode
from scheduler.policies.view import ServiceNow, View

BURST_HEADROOM = 0.1
"""Capacity kept above the demand curve, as a share of it."""


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
                top_up(view, index, state, peak * (1 + BURST_HEADROOM), self._fit)


def needed_capacity(state: ServiceNow, from_us: int, until_us: int) -> float:
    """Return the highest demand in ``[from_us, until_us]`` with burst headroom."""
    first = max(0, bisect.bisect_right(state.times_us, from_us) - 1)
    last = bisect.bisect_right(state.times_us, until_us)
    peak = float(state.service.demand_per_s[first : max(last, first + 1)].max())
    return peak * (1 + BURST_HEADROOM)


def top_up(view: View, index: int, state: ServiceNow, target_per_s: float, fit: Fit) -> None:
    """Start replicas until their rate reaches `target_per_s` or no room is left."""
    modes = view.problem.service_modes[index]
    while modes and lacking(view, index, state, target_per_s):
        found = next(
            (
                (m, placement)
                for m, mode in enumerate(modes)
                if (placement := view.place(mode, fit)) is not None
            ),
            None,
        )
        if found is None:
            return
        view.start_replica(index, *found)


def lacking(view: View, index: int, state: ServiceNow, target_per_s: float) -> bool:
    """Return whether the service is short of `target_per_s` or of its least replicas."""
    if state.coming_per_s < target_per_s * (1 - 1e-9):
        return True
    replicas = sum(1 for r in view.replicas.values() if r.service == index)
    return replicas < state.service.min_replicas


def rate_per_accelerator(mode: Mode) -> float:
    """Return requests per second and accelerator."""
    return mode.rate / mode.count
