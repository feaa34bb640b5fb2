"""Draw of each site now, against its cap, and the energy of a finished run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from scheduler.core.occupancy import Layout
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import AllocationColumns, Down, Placement, ReplicaAllocation
from scheduler.core.units import DAY_S, HOUR_S, US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.power import node_w


class PowerMeter:
    """Site draw: host overhead and idle watts of all nodes, plus what gangs add.

    Nodes that are down count too: their power must be there when they come back.
    """

    def __init__(self, problem: Problem, layout: Layout) -> None:
        cluster = problem.cluster
        self.layout = layout
        self.pool_site = [pool.site_index for pool in problem.pools]
        self.pool_idle_w = [
            cluster.accelerators[problem.types[pool.type_index]].idle_w for pool in problem.pools
        ]
        self._node_base_w = [
            node_w(cluster.accelerators[node.accelerator], node.count, 0, node.overhead_w)
            for node in cluster.nodes
        ]
        self.cap_w = [site.power_cap_w for site in cluster.sites]
        self.caps_power = any(cap is not None for cap in self.cap_w)
        self.base_w = [0.0] * len(cluster.sites)
        for index, base_w in enumerate(self._node_base_w):
            self.base_w[self.pool_site[layout.node_pool[index]]] += base_w
        self.gang_w = [0.0] * len(cluster.sites)

    def node_base_w(self, node: int) -> float:
        """Return the draw of an idle node that is up."""
        return self._node_base_w[node]

    def site_of(self, node: int) -> int:
        """Return the site index of a node."""
        return self.pool_site[self.layout.node_pool[node]]

    def added_w(self, mode: Mode, placement: Placement) -> dict[int, float]:
        """Return what a gang draws above idle, by site index."""
        per_accelerator_w, share = mode.power_w / mode.count, mode.share_milli / WHOLE_MILLI
        added: dict[int, float] = {}
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            pool = self.layout.node_pool[node]
            site = self.pool_site[pool]
            extra = count * (per_accelerator_w - self.pool_idle_w[pool] * share)
            added[site] = added.get(site, 0.0) + extra
        return added

    def allows(self, mode: Mode, placement: Placement) -> bool:
        """Return whether every site stays within its cap with the gang added."""
        for site, extra in self.added_w(mode, placement).items():
            cap = self.cap_w[site]
            if cap is not None and self.base_w[site] + self.gang_w[site] + extra > cap + 1e-6:
                return False
        return True

    def spare_w(self) -> float:
        """Return what every site may draw more within its cap."""
        drawn = zip(self.cap_w, self.base_w, self.gang_w, strict=True)
        return min(
            (cap - base - gang for cap, base, gang in drawn if cap is not None), default=math.inf
        )

    def add(self, mode: Mode, placement: Placement, sign: int) -> None:
        """Count a gang in (`sign` 1) or out (-1)."""
        for site, extra in self.added_w(mode, placement).items():
            self.gang_w[site] += sign * extra


def energy_of(
    problem: Problem,
    meter: PowerMeter,
    allocations: AllocationColumns,
    replicas: Iterable[ReplicaAllocation],
    downs: Iterable[Down],
    horizon_us: int,
) -> tuple[float, float, float]:
    """Return joules, US dollars and grams of CO2 of a run.

    Parameters
    ----------
    problem, meter : Problem, PowerMeter
        Cluster and its power model.
    allocations, replicas
        Everything that was held.
    downs : iterable of Down
        Nodes that drew nothing for a while.
    horizon_us : int
        End of the accounting period.

    Returns
    -------
    tuple of float
        Energy at the plug of the hosts (before PUE), cost and carbon (after PUE, by site
        and hour of the day; the run starts at midnight of each site). Sums are exact, so
        that they do not depend on an order.
    """
    rows: list[tuple[int, float, int, int]] = [
        (site, base_w, 0, horizon_us) for site, base_w in enumerate(meter.base_w)
    ]
    rows += [
        (meter.site_of(d.node), -meter.node_base_w(d.node), d.start_us, d.end_us)
        for d in downs
        if not d.count  # else the node stays on
    ]
    for r in replicas:
        mode = problem.service_modes[r.service][r.mode]
        added = meter.added_w(mode, r.placement)
        rows += [(site, extra, r.start_us, r.end_us) for site, extra in added.items()]
    some = np.array(rows, dtype=np.float64).reshape(-1, 4)
    site, watts, start_us, end_us = np.concatenate([some, _added_by(problem, meter, allocations)]).T
    total_j, cost_usd, carbon_g = [], [], []
    for s, place in enumerate(problem.cluster.sites):
        mine = site == s
        w, start_s, end_s = watts[mine], start_us[mine] / US_PER_S, end_us[mine] / US_PER_S
        facility_kw = w * place.pue / 1000.0
        total_j += (w * (end_s - start_s)).tolist()
        cost_usd += (facility_kw * _between_h(place.usd_per_kwh, start_s, end_s)).tolist()
        carbon_g += (facility_kw * _between_h(place.carbon_g_per_kwh, start_s, end_s)).tolist()
    return math.fsum(total_j), math.fsum(cost_usd), math.fsum(carbon_g)


def _added_by(problem: Problem, meter: PowerMeter, held: AllocationColumns) -> FloatArray:
    """Return rows of (site, watts above idle, start, end), one per node that a job held."""
    each_w, first = flat_by_mode(problem, lambda mode: mode.power_w / mode.count)
    row, nodes, counts = held.parts()
    kind = first[problem.workload.jobs.class_index[held.job]] + held.mode
    pool = np.array(meter.layout.node_pool, dtype=np.int64)[nodes]
    idle_w = np.array(meter.pool_idle_w, dtype=np.float64)[pool]
    site = np.array(meter.pool_site, dtype=np.float64)[pool]
    share, _ = flat_by_mode(problem, lambda mode: mode.share_milli / WHOLE_MILLI)
    watts = counts * (each_w[kind][row] - idle_w * share[kind][row])
    return np.stack([site, watts, held.start_us[row], held.end_us[row]], axis=1)


def flat_by_mode(problem: Problem, figure: Callable[[Mode], float]) -> tuple[FloatArray, IntArray]:
    """Return a figure of every mode of every class in one row, and where each class begins."""
    values = np.array([figure(m) for modes in problem.modes for m in modes], dtype=np.float64)
    lengths = [len(modes) for modes in problem.modes]
    return values, np.cumsum([0, *lengths], dtype=np.int64)[:-1]


def _between_h(by_hour: Sequence[float], start_s: FloatArray, end_s: FloatArray) -> FloatArray:
    """Return the integral of a daily curve over each interval, in its unit times hours."""
    if len(by_hour) == 1:
        return np.asarray(by_hour[0] * (end_s - start_s) / HOUR_S)
    sums = np.concatenate(([0.0], np.cumsum(by_hour)))
    hourly = np.asarray(by_hour)

    def until(at_s: FloatArray) -> FloatArray:
        days, rest_s = np.divmod(at_s, DAY_S)
        hour = np.minimum((rest_s // HOUR_S).astype(np.int64), len(hourly) - 1)
        return np.asarray(days * sums[-1] + sums[hour] + hourly[hour] * (rest_s / HOUR_S - hour))

    return until(end_s) - until(start_s)
