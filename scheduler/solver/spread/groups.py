"""Machines that need not be told apart, and regions that only thin links join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.spread import SpreadInstance


@dataclass(frozen=True, slots=True)
class Group:
    """Machines of equal rates in one region.

    Parameters
    ----------
    rates : tuple of float
        Tokens/s by layers held, made non-increasing.
    region : int
        Index of the region.
    machines : tuple of int
        Indices in the instance.
    """

    rates: tuple[float, ...]
    region: int
    machines: tuple[int, ...]

    def rate(self, layers: int) -> float:
        """Return tokens/s of one machine that holds `layers` (0 if it cannot)."""
        return self.rates[layers - 1] if 1 <= layers <= len(self.rates) else 0.0


def regions_of(instance: SpreadInstance, flow: float) -> tuple[int, ...]:
    """Return each machine's region: machines joined by links that carry `flow` alone.

    A link in one direction joins, so no link between regions carries `flow`. Regions are
    numbered by their first machine.
    """
    fat = np.maximum(instance.links, instance.links.T) >= flow
    region = [-1] * len(instance)
    count = 0
    for first in range(len(instance)):
        if region[first] >= 0:
            continue
        open_ = [first]
        region[first] = count
        while open_:
            at = open_.pop()
            for other in np.nonzero(fat[at])[0].tolist():
                if region[other] < 0:
                    region[other] = count
                    open_.append(other)
        count += 1
    return tuple(region)


def groups_of(instance: SpreadInstance, region: tuple[int, ...]) -> tuple[Group, ...]:
    """Return the groups of equal machines, by region and then by first machine."""
    found: dict[tuple[int, tuple[float, ...]], list[int]] = {}
    for i, rates in enumerate(instance.rates):
        found.setdefault((region[i], rates), []).append(i)
    ordered = sorted(found.items(), key=lambda e: (e[0][0], e[1][0]))
    return tuple(Group(rates, r, tuple(machines)) for (r, rates), machines in ordered)
