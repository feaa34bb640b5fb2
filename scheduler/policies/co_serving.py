"""Services and training on one fleet: how many replicas to keep, five ways.

All of them fill what the services leave with the same training rule (shortest remaining time
first), so that what differs is the provisioning alone. The threshold autoscaler sees only the
present; the static ones know the peak; `Foresight` knows the forecast curve, which is the
recorded one, or with ``causal=True`` nothing but the past.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from statistics import NormalDist

import numpy as np

from scheduler.core.problem import Mode
from scheduler.core.units import us_from_s
from scheduler.policies.autoscale import make_room
from scheduler.policies.provision import BURST_HEADROOM, StaticPeak, rate_per_accelerator, top_up
from scheduler.policies.srtf import Srtf
from scheduler.policies.view import ServiceNow, View

HEADROOM_PROBABILITY = 0.99
"""Probability that the requests of a burst window stay within the capacity."""

CAUSAL_PROBABILITY = 0.8
"""The same where nothing but the past is known, and each step of it is noise in part."""

BURST_WINDOW_S = 10.0
"""Least window in which requests may bunch; longer where the time to the first token is."""

KEEP_LOADS = 2.0
"""A replica stops only when it is not needed for this many load times: below two, starting it
again would hold the accelerators for longer than they would be free."""

TARGET_UTILISATION = 0.7
"""Of the threshold autoscaler (Knative's container-concurrency-target-percentage)."""

TOLERANCE = 0.1
"""Within this of the target, the threshold autoscaler does nothing (Kubernetes' default)."""

STABILISATION_S = 300.0
"""It scales down to the highest wish of this long (Kubernetes' default)."""

PAST_S = 3 * 3600.0
FEWEST_STEPS = 30
UNKNOWN_GROWTH = 1.3
"""Growth over a load time that is assumed until there is a past to learn from."""

DEPRECIATION_H = 3 * 365 * 24.0
"""Hours over which a purchase price is spread where no rental price is known."""


def burst_capacity(
    rate_per_s: float,
    probability: float = HEADROOM_PROBABILITY,
    window_s: float = BURST_WINDOW_S,
) -> float:
    """Return the capacity that the requests of a window stay within, with `probability`.

    The requests of a window are Poisson with mean ``rate window``; the normal quantile of
    their number, per second, is ``rate + z sqrt(rate / window)``.
    """
    z = max(0.0, NormalDist().inv_cdf(probability))
    return rate_per_s + z * math.sqrt(max(0.0, rate_per_s) / window_s)


def present(state: ServiceNow, now_us: int) -> tuple[int, float]:
    """Return the step of the demand curve in force, and its rate."""
    step = max(0, bisect.bisect_right(state.times_us, now_us) - 1)
    return step, float(state.service.demand_per_s[step])


def shrink(view: View, index: int, state: ServiceNow, keep_per_s: float) -> None:
    """Stop the replicas that `keep_per_s` can do without: least efficient and youngest first."""
    modes = view.problem.service_modes[index]
    mine = [(n, r) for n, r in view.replicas.items() if r.service == index]
    left = len(mine)
    for number, replica in sorted(mine, key=lambda e: (-e[1].mode, -e[0])):
        spare = state.coming_per_s - modes[replica.mode].rate >= keep_per_s * (1 - 1e-9)
        if left > state.service.min_replicas and spare:
            view.stop_replica(number)
            left -= 1


def grow(view: View, index: int, state: ServiceNow, target_per_s: float) -> None:
    """Start replicas up to `target_per_s`; training gives way where there is no room."""
    top_up(view, index, state, target_per_s, "best")
    while state.coming_per_s < target_per_s * (1 - 1e-9) and make_room(view, index):
        before = state.coming_per_s
        top_up(view, index, state, target_per_s, "best")
        if state.coming_per_s <= before:
            return


class Foresight:
    """Capacity for the forecast over the load time, plus headroom stated as a probability.

    Parameters
    ----------
    probability : float
        That a burst window stays within the capacity (and, from the past alone, that the
        demand does not outgrow it while replicas load).
    causal : bool
        Forecast from the demand seen so far: the present times the growth over a load time
        that was not exceeded with `probability` in the past hours.
    """

    def __init__(self, probability: float = HEADROOM_PROBABILITY, *, causal: bool = False) -> None:
        self._probability = probability
        self._causal = causal
        self._wishes: dict[int, deque[tuple[int, float]]] = {}

    def provision(self, view: View) -> None:
        """Stop the replicas that are not needed, start those that will be."""
        for index, state in enumerate(view.services):
            if state.ended:
                continue
            ahead_us = us_from_s(state.service.load_s)
            if self._causal:
                target = self._capacity(state, self._grown(state, view.now_us))
                keep = self._highest(index, view.now_us, target)
            else:
                keep_us = us_from_s(KEEP_LOADS * state.service.load_s)
                target = self._along(state, view.now_us, view.now_us + ahead_us)
                keep = self._along(state, view.now_us, view.now_us + keep_us)
                self._wake(view, state, ahead_us)
            shrink(view, index, state, keep)
            grow(view, index, state, target)

    def _along(self, state: ServiceNow, from_us: int, until_us: int) -> float:
        """Return the capacity that the curve asks for within an interval."""
        first, _ = present(state, from_us)
        last = bisect.bisect_right(state.times_us, until_us)
        peak = float(state.service.demand_per_s[first : max(last, first + 1)].max())
        return self._capacity(state, peak)

    def _capacity(self, state: ServiceNow, rate_per_s: float) -> float:
        window_s = max(BURST_WINDOW_S, state.service.ttft_s)
        return burst_capacity(rate_per_s, self._probability, window_s)

    def _grown(self, state: ServiceNow, now_us: int) -> float:
        """Return what the demand may grow to while a replica loads, from the past alone."""
        step, rate = present(state, now_us)
        lead_us = us_from_s(state.service.load_s)
        oldest = bisect.bisect_left(state.times_us, now_us - us_from_s(PAST_S))
        times = np.array(state.times_us[oldest : step + 1])
        rates = state.service.demand_per_s[oldest : step + 1]
        # a replica asked for at one step serves a load time later, until the step after
        then = np.searchsorted(times, times + lead_us, side="right") - 1
        then = np.minimum(then + 1, len(times) - 1)
        complete = times + lead_us <= times[-1]
        if complete.sum() < FEWEST_STEPS:
            return rate * UNKNOWN_GROWTH
        scale = max(float(rates.mean()), 1e-9)
        grown = (rates[then] - rates)[complete] / (rates[complete] + 0.1 * scale)
        most = float(np.quantile(grown, self._probability))
        return rate + max(0.0, most) * (rate + 0.1 * scale)

    def _highest(self, index: int, now_us: int, wish: float) -> float:
        """Return the highest wish of the last `STABILISATION_S`, this one included."""
        return _highest_wish(self._wishes.setdefault(index, deque()), now_us, wish)

    def _wake(self, view: View, state: ServiceNow, ahead_us: int) -> None:
        """Ask to be called a load time before the next steps of the curve."""
        following = bisect.bisect_right(state.times_us, view.now_us + ahead_us)
        if following < len(state.times_us):
            view.wake_at(state.times_us[following] - ahead_us)


def _highest_wish(wishes: deque[tuple[int, float]], now_us: int, wish: float) -> float:
    wishes.append((now_us, wish))
    while wishes[0][0] < now_us - us_from_s(STABILISATION_S):
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
            there = state.coming_per_s
            if there > 0 and abs(wish / there - 1) <= TOLERANCE:
                wish = there
            keep = _highest_wish(self._wishes.setdefault(index, deque()), view.now_us, wish)
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
            for m, mode in enumerate(view.problem.service_modes[index]):
                while (placement := view.place(mode, "best")) is not None:
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
            target = float(state.service.demand_per_s.max()) * (1 + BURST_HEADROOM)
            m = modes.index(cheapest)
            while state.coming_per_s < target * (1 - 1e-9):
                placement = view.place(cheapest, "best")
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


class CoScheduledCausal(Srtf):
    """As `CoScheduled`, with a forecast from the past alone."""

    def __init__(self) -> None:
        super().__init__()
        self._services = Foresight(CAUSAL_PROBABILITY, causal=True)


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
