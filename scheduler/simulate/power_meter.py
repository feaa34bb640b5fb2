"""Draw of each site now, against its cap, and the energy of a finished run."""

from __future__ import annotations

import math
from collections.abc import Iterable

from scheduler.core.occupancy import Layout
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Down, Placement
from scheduler.core.units import s_from_us
from scheduler.physics.power import EnergyCost, energy_cost, node_w


class PowerMeter:
    """Site draw: host overhead and idle watts of all nodes, plus what gangs add.

    Nodes that are down count too: their power must be there when they come back.
    """

    def __init__(self, problem: Problem, layout: Layout) -> None:
        cluster = problem.cluster
        self._layout = layout
        self._pool_site = [pool.site_index for pool in problem.pools]
        self._pool_idle_w = [
            cluster.accelerators[problem.types[pool.type_index]].idle_w for pool in problem.pools
        ]
        self._node_base_w = [
            node_w(cluster.accelerators[node.accelerator], node.count, 0, node.overhead_w)
            for node in cluster.nodes
        ]
        self.cap_w = [site.power_cap_w for site in cluster.sites]
        self.base_w = [0.0] * len(cluster.sites)
        for index, base_w in enumerate(self._node_base_w):
            self.base_w[self._pool_site[layout.node_pool[index]]] += base_w
        self.gang_w = [0.0] * len(cluster.sites)

    def node_base_w(self, node: int) -> float:
        """Return the draw of an idle node that is up."""
        return self._node_base_w[node]

    def site_of(self, node: int) -> int:
        """Return the site index of a node."""
        return self._pool_site[self._layout.node_pool[node]]

    def added_w(self, mode: Mode, placement: Placement) -> dict[int, float]:
        """Return what a gang draws above idle, by site index."""
        per_accelerator_w = mode.power_w / mode.count
        added: dict[int, float] = {}
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            pool = self._layout.node_pool[node]
            site = self._pool_site[pool]
            extra = count * (per_accelerator_w - self._pool_idle_w[pool])
            added[site] = added.get(site, 0.0) + extra
        return added

    def allows(self, mode: Mode, placement: Placement) -> bool:
        """Return whether every site stays within its cap with the gang added."""
        for site, extra in self.added_w(mode, placement).items():
            cap = self.cap_w[site]
            if cap is not None and self.base_w[site] + self.gang_w[site] + extra > cap + 1e-6:
                return False
        return True

    def add(self, mode: Mode, placement: Placement, sign: int) -> None:
        """Count a gang in (`sign` 1) or out (-1)."""
        for site, extra in self.added_w(mode, placement).items():
            self.gang_w[site] += sign * extra


def energy_of(
    problem: Problem,
    meter: PowerMeter,
    held: Iterable[tuple[Mode, Placement, int, int]],
    downs: Iterable[Down],
    horizon_us: int,
) -> tuple[float, float, float]:
    """Return joules, US dollars and grams of CO2 of a run.

    Parameters
    ----------
    problem, meter : Problem, PowerMeter
        Cluster and its power model.
    held : iterable of (Mode, Placement, start_us, end_us)
        Every allocation of jobs and replicas.
    downs : iterable of Down
        Nodes that drew nothing for a while.
    horizon_us : int
        End of the accounting period.

    Returns
    -------
    tuple of float
        Energy at the plug of the hosts (before PUE), cost and carbon (after PUE, by site
        and hour of the day; the run starts at midnight of each site).
    """
    sites = problem.cluster.sites
    spent = [EnergyCost(0.0, 0.0, 0.0) for _ in sites]

    def book(site: int, watts: float, start_us: int, end_us: int) -> None:
        spent[site] += energy_cost(watts, s_from_us(start_us), s_from_us(end_us), sites[site])

    for site in range(len(sites)):
        book(site, meter.base_w[site], 0, horizon_us)
    for down in downs:
        book(meter.site_of(down.node), -meter.node_base_w(down.node), down.start_us, down.end_us)
    for mode, placement, start_us, end_us in held:
        for site, extra in meter.added_w(mode, placement).items():
            book(site, extra, start_us, end_us)
    return (
        math.fsum(part.energy_j for part in spent),
        math.fsum(part.cost_usd for part in spent),
        math.fsum(part.carbon_g for part in spent),
    )
