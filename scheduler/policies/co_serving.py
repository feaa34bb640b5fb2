"""Services and training on one fleet: how many replicas to keep, five ways.

All of them fill what the services leave with the same training rule, shortest remaining time
first; ours also move gangs that had to start spread over nodes. The threshold autoscaler sees
only the present; the static ones know the peak; `Foresight` knows the forecast curve, which is the
recorded one, and `Forecasting` nothing but the past.
"""

from __future__ import annotations

import bisect
import math
from collections import deque

from scheduler.core.problem import Mode
from scheduler.core.units import us_from_s
from scheduler.policies.autoscale import make_room
from scheduler.policies.consolidate import Consolidation
from scheduler.policies.forecast import DemandForecast
from scheduler.policies.present import ServiceNow
from scheduler.policies.provision import (
    StaticPeak,
    firm_per_s,
    in_time,
    lacking,
    rate_per_accelerator,
    top_up,
    with_headroom,
)
from scheduler.policies.srtf import Srtf
from scheduler.policies.view import View

IN_TIME_PROBABILITY = 0.9999
"""Probability that a request is taken up in time, where its service states none."""

MISS_COST_S = 900.0
"""Accelerator-seconds that a missed request is worth (a quarter of an accelerator-hour), where
its service states no probability: capacity against unforeseen demand is kept up to the quantile
at which one more of it would stand idle for more than that (Arrow, Harris and Marschak, "Optimal
inventory policy", Econometrica 19(3), 1951). All services then lose where it saves most."""

KEEP_LOADS = 2.0
"""A replica stops only when it is not needed for this many load times: below two, starting it
again would hold the accelerators for longer than they would be free."""

TARGET_UTILISATION = 0.7
"""Of the threshold autoscaler (Knative's container-concurrency-target-percentage)."""

TOLERANCE = 0.1
"""Within this of the target, the threshold autoscaler does nothing (Kubernetes' default)."""

STABILISATION_S = 300.0
"""It scales down to the highest wish of this long (Kubernetes' default); so does `Forecasting`."""

DEPRECIATION_H = 3 * 365 * 24.0
"""Hours over which a purchase price is spread where no rental price is known."""


def present(state: ServiceNow, now_us: int) -> tuple[int, float]:
    """Return the step of the demand curve in force, and its rate."""
    step = max(0, bisect.bisect_right(state.times_us, now_us) - 1)
    return step, float(state.service.demand_per_s[step])


def shrink(view: View, index: int, state: ServiceNow, keep_per_s: float) -> None:
    """Stop the replicas that `keep_per_s` can do without: least efficient and youngest first.

    One that serves does not go while others, which are to take over, still load.
    """
    modes = view.problem.service_modes[index]
    mine = [(n, r) for n, r in view.replicas.items() if r.service == index]
    left = len(mine)
    keep_per_s *= 1 - 1e-9
    serving = math.fsum(modes[r.mode].rate for _, r in mine if r.serves_us <= view.now_us)
    for number, replica in sorted(mine, key=lambda e: (-e[1].mode, -e[0])):
        if left <= state.service.min_replicas:
            return
        rate = modes[replica.mode].rate if replica.serves_us <= view.now_us else 0.0
        spare = firm_per_s(view, index, state, number) >= keep_per_s
        if spare and (not rate or serving - rate >= keep_per_s):
            view.stop_replica(number)
            serving -= rate
            left -= 1


def grow(view: View, index: int, state: ServiceNow, target_per_s: float) -> None:
    """Start replicas up to `target_per_s`; training gives way where there is no room."""
    top_up(view, index, state, target_per_s, "best")
    while lacking(view, index, state, target_per_s) and make_room(view, index):
        before = state.coming_per_s
        top_up(view, index, state, target_per_s, "best")
        if state.coming_per_s <= before:
            return


class Foresight:
    """Capacity for the demand that is known to come, a load time ahead of it.

    Parameters
    ----------
    probability : float
        That a request is taken up in time, for services that state none.
    """

    def __init__(self, probability: float = IN_TIME_PROBABILITY) -> None:
        self._probability = probability

    def provision(self, view: View) -> None:
        """Stop the replicas that are not needed, start those that will be."""
        for index, state in enumerate(view.services):
            if state.ended:
                continue
            ahead_us = us_from_s(state.service.load_s)
            keep_us = us_from_s(KEEP_LOADS * state.service.load_s)
            now_us = view.now_us
            shrink(view, index, state, self._along(view, index, state, now_us + keep_us))
            grow(view, index, state, self._along(view, index, state, now_us + ahead_us))
            wake(view, state, ahead_us)

    def _along(self, view: View, index: int, state: ServiceNow, until_us: int) -> float:
        """Return the capacity that the curve asks for from now on until then."""
        first, _ = present(state, view.now_us)
        last = bisect.bisect_right(state.times_us, until_us)
        peak = float(state.service.demand_per_s[first : max(last, first + 1)].max())
        stated = state.service.headroom_probability
        return in_time(view, index, state, peak, self._probability if stated is None else stated)


def wake(view: View, state: ServiceNow, ahead_us: int) -> None:
    """Ask to be called a load time before the next step of the curve."""
    following = bisect.bisect_right(state.times_us, view.now_us + ahead_us)
    if following < len(state.times_us):
        view.wake_at(state.times_us[following] - ahead_us)


class Forecasting:
    """As `Foresight`, for a demand known by its past alone.

    Capacity covers the present demand with the probability that a request is in time, and the
    quantile of `DemandForecast` that the service states; where it states none, the one at
    which a missed request is worth `miss_cost_s`.
    """

    def __init__(
        self, probability: float = IN_TIME_PROBABILITY, miss_cost_s: float = MISS_COST_S
    ) -> None:
        self._probability = probability
        self._miss_cost_s = miss_cost_s
        self._forecasts: dict[int, DemandForecast] = {}
        self._wish: dict[int, tuple[int, float]] = {}

    def provision(self, view: View) -> None:
        """Stop the replicas that are not needed, start those that may be."""
        for index, state in enumerate(view.services):
            if state.ended:
                continue
            step, rate = present(state, view.now_us)
            if self._wish.get(index, (-1, 0.0))[0] != step:
                self._wish[index] = step, self._capacity(view, index, state, step, rate)
            target = self._wish[index][1]
            shrink(view, index, state, target)
            grow(view, index, state, target)

    def _capacity(self, view: View, index: int, state: ServiceNow, step: int, rate: float) -> float:
        service = state.service
        if index not in self._forecasts:
            lead_us = us_from_s(service.load_s)
            hold_us = us_from_s(max(KEEP_LOADS * service.load_s, STABILISATION_S))
            self._forecasts[index] = DemandForecast(
                state.times_us, service.demand_per_s, lead_us, hold_us
            )
        forecast = self._forecasts[index]
        forecast.at(step)
        stated = service.headroom_probability
        if stated is not None:
            likely = in_time(view, index, state, rate, stated)
            return max(likely, forecast.quantile(stated))
        likely = forecast.quantile(self._worth(view, index, forecast.open_share))
        return max(in_time(view, index, state, rate, self._probability), likely)

    def _worth(self, view: View, index: int, open_share: float) -> float:
        """Return the quantile up to which capacity that may stand idle is worth its keep."""
        modes = view.problem.service_modes[index]
        if not modes or open_share <= 0:
            return 0.5
        held_s = 1 / (rate_per_accelerator(modes[0]) * open_share)
        return max(0.5, 1 - held_s / self._miss_cost_s)


def _highest_wish(
    wishes: deque[tuple[int, float]], now_us: int, wish: float, hold_us: int
) -> float:
    """Return the highest wish of the time just past, this one included."""
    wishes.append((now_us, wish))
    while wishes[0][0] < now_us - hold_us:
        wishes.popleft()
    return max(w for _, w in wishes)


class Threshold:
    """Replicas in proportion to the present utilisation, as Kubernetes' autoscaler does.

    Parameters
    ----------
    target : float
        Utilisation aimed at.
    """

    def __init__(self, target: float = TARGET_UTILISATION) -> None:
        self._target = target
        self._wishes: dict[int, deque[tuple[int, float]]] = {}

    def provision(self, view: View) -> None:
        """Compare the demand with what is there; services come before training."""
        for index, state in enumerate(view.services):
            if state.ended:
                continue
            _, rate = present(state, view.now_us)
            wish = rate / self._target
            there = firm_per_s(view, index, state)
            if there > 0 and abs(wish / there - 1) <= TOLERANCE:
                wish = there
            wishes = self._wishes.setdefault(index, deque())
            keep = _highest_wish(wishes, view.now_us, wish, us_from_s(STABILISATION_S))
            shrink(view, index, state, keep)
            grow(view, index, state, wish)


class Split:
    """Whole nodes for services, sized for the peak and kept for good; training has the rest."""

    def provision(self, view: View) -> None:
        """Start the peak's replicas, then fill the nodes they are on."""
        started = bool(view.replicas)
        StaticPeak("best").provision(view)
        if started:
            return
        for index in range(len(view.services)):
            nodes = {
                n for r in view.replicas.values() if r.service == index for n in r.placement.nodes
            }
            for m in range(len(view.problem.service_modes[index])):
                while (placement := view.place_replica(index, m, "best")) is not None:
                    if not nodes.issuperset(placement.nodes):
                        break
                    view.start_replica(index, m, placement)


class CheapestType:
    """The peak's replicas, all of the one type that is cheapest per request."""

    def provision(self, view: View) -> None:
        """Start the replicas that are missing, on that type only."""
        for index, state in enumerate(view.services):
            modes = view.problem.service_modes[index]
            if state.ended or not modes:
                continue
            cheapest = min(modes, key=lambda mode: (_usd_per_request(view, mode), mode.count))
            peak = float(state.service.demand_per_s.max())
            target = with_headroom(view, index, state, peak)
            m = modes.index(cheapest)
            while lacking(view, index, state, target):
                placement = view.place_replica(index, m, "best")
                if placement is None:
                    break
                view.start_replica(index, m, placement)


def _usd_per_request(view: View, mode: Mode) -> float:
    kind = view.problem.cluster.accelerators[view.problem.types[mode.type_index]]
    price = kind.usd_per_hour
    if price is None and kind.price_usd is not None:
        price = kind.price_usd / DEPRECIATION_H
    if price is None:
        return math.inf
    return price / rate_per_accelerator(mode)


class CoScheduled(Srtf):
    """Services by foresight; training fills the valleys and gives way in time."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Foresight()
        self._consolidation = Consolidation()

    def decide(self, view: View) -> None:
        """Look after the services, bring gangs together, and start the shortest jobs."""
        self._services.provision(view)
        self._consolidation.tidy(view)
        super().decide(view)


class CoScheduledCausal(CoScheduled):
    """As `CoScheduled`, with a forecast from the past alone."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Forecasting()


class ThresholdScaled(Srtf):
    """Services by utilisation threshold; training in what is left, and preempted for them."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Threshold()


class StaticSplit(Srtf):
    """Services own whole nodes for good."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Split()


class SingleType(Srtf):
    """Services on the one cheapest type, sized for the peak."""

    def __init__(self) -> None:
        super().__init__()
        self._services = CheapestType()


class PeakProvisioned(Srtf):
    """Services sized for the peak, for good."""
