"""Services as bands: demand, capacity that serves, capacity that still loads."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final

from scheduler.core.units import us_from_s
from scheduler.report.page.history import History
from scheduler.report.words import plain

MOST_STEPS: Final = 2000


def service_bands(history: History, tick_us: int) -> list[dict[str, Any]]:
    """Return one entry per service: step curves in requests per second.

    Entry ``i`` of a curve holds from ``at[i]`` ticks on. Where there are more than
    `MOST_STEPS` changes, steps are left out evenly; the sums are those of the whole run.
    """
    out = []
    for index, service in enumerate(history.problem.workload.services):
        serving = history.servings[index]
        off_us = history.end_us if service.end_s is None else us_from_s(service.end_s)
        steps_us = [us_from_s(t) for t in service.times_s.tolist()]
        at_us = list(serving.at_us[:-1])
        replicas = [h for h in history.holds if h.service == index]
        ready = _sums(
            at_us, [(h.start_us + h.overhead_us, h.end_us, h.mode.rate) for h in replicas]
        )
        coming = _sums(at_us, [(h.start_us, h.end_us, h.mode.rate) for h in replicas])
        held = _sums(at_us, [(h.start_us, h.end_us, float(h.mode.count)) for h in replicas])
        demand = [
            float(service.demand_per_s[bisect_right(steps_us, t) - 1]) if t < off_us else 0.0
            for t in at_us
        ]
        every = max(1, -(-len(at_us) // MOST_STEPS))
        keep = range(0, len(at_us), every)
        out.append(
            {
                "name": plain(service.name),
                "at": [at_us[i] // tick_us for i in keep],
                "demand": [round(demand[i], 4) for i in keep],
                "ready": [round(ready[i], 4) for i in keep],
                "coming": [round(coming[i], 4) for i in keep],
                "held": [round(held[i]) for i in keep],
                "demanded": serving.demanded,
                "served": serving.served,
            }
        )
    return out


def _sums(at_us: list[int], rates: list[tuple[int, int, float]]) -> list[float]:
    """Return, from each instant on, the sum of the rates in force."""
    change: dict[int, float] = {}
    for start, end, rate in rates:
        if start < end:
            change[start] = change.get(start, 0.0) + rate
            change[end] = change.get(end, 0.0) - rate
    sums = dict(zip(sorted(change), accumulate(change[t] for t in sorted(change)), strict=True))
    instants = sorted(sums)
    return [abs(sums[instants[i - 1]]) if (i := bisect_right(instants, t)) else 0.0 for t in at_us]
