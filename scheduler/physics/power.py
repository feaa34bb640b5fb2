"""Electric power of accelerators and nodes, and what their energy costs.

All functions are pure. Measured figures behind the constants: MLPerf Training v4.0 power
logs (nodes of eight H100: 6.8 kW on GPT-3, 5.1 kW where a small job is spread over 64
nodes, 1.9-2.8 kW between epochs), FlagPerf GEMM loops (A100: 338 of 400 W; Ascend 910B:
365 of 400 W).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

from scheduler.core.cluster import AcceleratorType, Site
from scheduler.core.units import DAY_S, HOUR_S
from scheduler.core.workload import FloatArray

COMPUTING: Final = 0.90
"""Part of the way from idle to peak power while kernels run."""

COMMUNICATING: Final = 0.45
"""The same while an accelerator waits for its links."""

DECODING: Final = 0.60
"""The same while tokens are decoded; prompts draw like training, close to the limit (Patel et
al., arXiv:2308.12908 and arXiv:2311.18677)."""

UNSTATED_BUSY: Final = 0.8
"""Share of the time in which a job of a measured table computes; tables do not say. With it
an H100 draws 0.8 of the way to its peak: nodes of eight took 0.6-0.95 (MLPerf Training v4.0,
less 1.5 kW for the host)."""

HOURS: Final = 24


def draw_w(accelerator: AcceleratorType, busy: float = 1.0) -> float:
    """Return the power of one accelerator that runs a job.

    Parameters
    ----------
    accelerator : AcceleratorType
        Its idle and peak power.
    busy : float
        Share of the time in which it computes; in the rest it communicates or waits in a
        pipeline.

    Returns
    -------
    float
        Watts.
    """
    return draw_between_w(accelerator.idle_w, accelerator.peak_w, busy)


Number = TypeVar("Number", float, FloatArray)


def draw_between_w(idle_w: Number, peak_w: Number, busy: Number) -> Number:
    """Return `draw_w` from idle and peak power; numbers or arrays of one shape."""
    return between_w(idle_w, peak_w, COMPUTING * busy + COMMUNICATING * (1 - busy))


def between_w(idle_w: Number, peak_w: Number, share: Number) -> Number:
    """Return the power some share of the way from idle to peak."""
    return idle_w + (peak_w - idle_w) * share


def node_w(
    accelerator: AcceleratorType, count: int, running: int, overhead_w: float, busy: float = 1.0
) -> float:
    """Return the power of a node of which `running` of `count` accelerators work.

    Parameters
    ----------
    accelerator : AcceleratorType
        Type of the node.
    count, running : int
        Accelerators in the node, and those that run jobs.
    overhead_w : float
        Host, fans and network cards.
    busy : float
        As in `draw_w`.

    Returns
    -------
    float
        Watts before PUE.
    """
    idle = (count - running) * accelerator.idle_w
    return overhead_w + idle + running * draw_w(accelerator, busy)


@dataclass(frozen=True, slots=True)
class EnergyCost:
    """Energy and what it costs.

    Parameters
    ----------
    energy_j : float
        Of the equipment, before PUE.
    cost_usd, carbon_g : float
        Of the facility: energy times PUE at the site's price and carbon of the hour.
    """

    energy_j: float
    cost_usd: float
    carbon_g: float

    def __add__(self, other: EnergyCost) -> EnergyCost:
        return EnergyCost(
            self.energy_j + other.energy_j,
            self.cost_usd + other.cost_usd,
            self.carbon_g + other.carbon_g,
        )


def energy_cost(power_w: float, start_s: float, end_s: float, site: Site) -> EnergyCost:
    """Return the cost of a constant power from `start_s` to `end_s`.

    Parameters
    ----------
    power_w : float
        Draw before PUE.
    start_s, end_s : float
        Seconds from a midnight of the site; `end_s` not before `start_s`.
    site : Site
        PUE, and price and carbon by hour of the day.
    """
    energy_j = power_w * (end_s - start_s)
    facility_kw = power_w * site.pue / 1000.0
    hours_usd = _integral_h(site.usd_per_kwh, end_s) - _integral_h(site.usd_per_kwh, start_s)
    hours_g = _integral_h(site.carbon_g_per_kwh, end_s) - _integral_h(
        site.carbon_g_per_kwh, start_s
    )
    return EnergyCost(energy_j, facility_kw * hours_usd, facility_kw * hours_g)


def _integral_h(by_hour: tuple[float, ...], time_s: float) -> float:
    """Return the integral of a daily curve from time 0, in its unit times hours."""
    if len(by_hour) == 1:
        return by_hour[0] * time_s / HOUR_S
    sums = _running_sums(by_hour)
    days, rest_s = divmod(time_s, DAY_S)
    hour = min(int(rest_s // HOUR_S), HOURS - 1)
    return days * sums[-1] + sums[hour] + by_hour[hour] * (rest_s / HOUR_S - hour)


@lru_cache(maxsize=256)
def _running_sums(by_hour: tuple[float, ...]) -> tuple[float, ...]:
    return (0.0, *itertools.accumulate(by_hour))
