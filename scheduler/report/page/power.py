"""Energy, its cost and its carbon, by site and hour."""

from __future__ import annotations

import numpy as np

from scheduler.core.units import US_PER_S, WHOLE_MILLI
from scheduler.core.workload import FloatArray
from scheduler.report.page.bins import HOUR_S, Bins
from scheduler.report.page.history import History

_J_PER_KWH = 3.6e6


def energy_over_time(history: History, bins: Bins) -> FloatArray:
    """Return kilowatt-hours at the hosts, US dollars and kilograms of CO2.

    Dollars and carbon include PUE and follow the tariff and the grid of each hour; the run
    begins at midnight of each site, as the run's own sums assume.

    Returns
    -------
    ndarray of float64, shape (3, sites, bins)
        Summed, they are the run's `energy_j`, `cost_usd` and `carbon_g`.
    """
    sites = history.problem.cluster.sites
    width_us = min(bins.width_us, HOUR_S * US_PER_S)
    while bins.width_us % width_us or (HOUR_S * US_PER_S) % width_us:
        width_us = int(np.gcd(bins.width_us, width_us))
    fine = Bins(width_us, bins.end_us)
    joules = _joules(history, fine)
    hour = np.arange(fine.count) * fine.width_us // (HOUR_S * US_PER_S)
    out = np.zeros((3, len(sites), bins.count))
    coarse = np.arange(fine.count) * fine.width_us // bins.width_us
    for s, site in enumerate(sites):
        facility_kwh = joules[s] * site.pue / _J_PER_KWH
        usd = np.asarray(site.usd_per_kwh)[hour % len(site.usd_per_kwh)]
        grams = np.asarray(site.carbon_g_per_kwh)[hour % len(site.carbon_g_per_kwh)]
        for row, values in enumerate(
            (joules[s] / _J_PER_KWH, facility_kwh * usd, facility_kwh * grams / 1000)
        ):
            out[row, s] = np.bincount(coarse, values, minlength=bins.count)
    return out


def _joules(history: History, bins: Bins) -> FloatArray:
    """Return joules by site and bin: idle draw of what is up, and what each gang adds."""
    facts = history.facts
    cluster = history.problem.cluster
    idle_w = [cluster.accelerators[n.accelerator].idle_w for n in cluster.nodes]
    rows: list[tuple[int, int, float, int]] = []
    for i, node in enumerate(cluster.nodes):
        up_w = node.overhead_w + node.count * idle_w[i]
        rows.append((0, history.end_us, up_w, facts.node_site[i]))
        rows += [(start, end, -up_w, facts.node_site[i]) for start, end in facts.downs[i]]
    for hold in history.holds:
        each_w = hold.mode.power_w / hold.mode.count
        share = hold.mode.share_milli / WHOLE_MILLI
        added: dict[int, float] = {}
        for i, count in hold.held:
            site = facts.node_site[i]
            added[site] = added.get(site, 0.0) + count * (each_w - idle_w[i] * share)
        rows += [(hold.start_us, hold.end_us, watts, site) for site, watts in added.items()]
    start, end, rate, site_of = (np.array(column) for column in zip(*rows, strict=True))
    return bins.amounts(start, end, rate, site_of.astype(np.int64), len(cluster.sites))
