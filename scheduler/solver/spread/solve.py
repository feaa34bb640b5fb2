"""The search for the highest flow, and the front of flow against depth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations, islice, pairwise, permutations

import numpy as np

from scheduler.core.random import stream
from scheduler.core.run import Status
from scheduler.core.spread import Interval, SpreadAnswer, SpreadInstance, SpreadPlan
from scheduler.solver.spread.bound import TOLERANCE, flow_bound, throughput_bound
from scheduler.solver.spread.flow import FlowMeter
from scheduler.solver.spread.groups import Group, groups_of, regions_of
from scheduler.solver.spread.improve import improve
from scheduler.solver.spread.junctions import junctions_between
from scheduler.solver.spread.lay_out import intervals_of, stages_of, wire
from scheduler.solver.spread.segments import (
    MOST_MACHINES,
    Chain,
    Junction,
    chain_at,
    segments_at,
)
from scheduler.solver.spread.weave import ROUNDS, weave

PRECISION = 1e-4
"""Relative step at which the search for the highest flow of a chain stops."""

COARSE = 3e-3
"""The same for chains that cross regions, which the local search refines."""

MOST_REGIONS = 4
MOST_SOLVES = 20
LEAST_SOLVES = 4
MOST_IN_ALL = 40
"""Integer programs for the chains through one set of regions, of which none gets fewer than the
least, and through all sets; the front has as many again."""

MOST_ORDERS = 24
EVALUATIONS = 4_000
"""Max-flows of the local search."""


@dataclass(slots=True)
class _Search:
    """What is shared by the parts of one search."""

    instance: SpreadInstance
    meter: FlowMeter
    high: float
    rng: np.random.Generator
    plans: list[SpreadPlan] = field(default_factory=list)
    solves: int = 0
    proved: tuple[float, str] | None = None
    _until: float = math.inf
    _junctions: dict[tuple[int, int, float], list[Junction]] = field(default_factory=dict)

    def limit(self, seconds: float | None) -> None:
        """Set how long the search may go on from now."""
        if seconds is not None:
            self._until = time.monotonic() + seconds

    def late(self) -> bool:
        """Return whether its time is up."""
        return time.monotonic() >= self._until

    def junctions(
        self, groups: Sequence[Group], sender: int, receiver: int, flow: float
    ) -> list[Junction]:
        """Return the ways from region to region at `flow`, looked up once."""
        key = (sender, receiver, flow)
        if key not in self._junctions:
            found = junctions_between(self.instance, groups, sender, receiver, flow)
            self._junctions[key] = found
        return self._junctions[key]

    def keep(self, intervals: Sequence[Interval]) -> SpreadPlan:
        """Measure a placement and remember it."""
        flow = self.meter.flow(intervals)
        plan = SpreadPlan(tuple(intervals), flow, self.meter.depth(intervals))
        if plan.depth:
            self.plans.append(plan)
        return plan

    def keep_chain(
        self, groups: Sequence[Group], chain: Chain, flow: float, order: Sequence[int] = (0,)
    ) -> SpreadPlan:
        """Lay a chain out, and wire it anew where its links do not carry `flow`."""
        stages = stages_of(self.instance, groups, chain, order)
        plan = self.keep(intervals_of(self.instance, stages))
        if plan.flow < flow * (1 - TOLERANCE):
            wired = wire(self.instance, groups, stages, flow, self.rng)
            other = self.keep(intervals_of(self.instance, wired))
            plan = max(plan, other, key=lambda p: p.flow)
        return plan


def solve_spread(
    instance: SpreadInstance,
    *,
    seed: int = 0,
    evaluations: int = EVALUATIONS,
    annealings: int = ROUNDS,
    front: bool = True,
    time_limit_s: float | None = None,
) -> SpreadAnswer:
    """Return the placement of the highest flow found, with a bound and the front.

    Parameters
    ----------
    instance : SpreadInstance
        Machines and links.
    seed : int
        Of the local search.
    evaluations : int
        Max-flows that the local search may spend, where chains alone do not meet the bound.
    annealings : int
        Annealings over whole chains, at most, where links or counts leave a gap.
    front : bool
        Whether to look for plans of fewer stages too.
    time_limit_s : float or None
        After it no further step of the search for the highest flow is begun. An answer that it
        cuts short is not repeatable.
    """
    high = throughput_bound(instance)
    search = _Search(instance, FlowMeter(instance), high, stream(seed, "wire"))
    search.limit(time_limit_s)
    region = regions_of(instance, high)
    if max(region) == 0:
        _best_chain(search)
    else:
        _woven_first(search, seed, annealings)
        _best_over_regions(search, region)
    empty = SpreadPlan(((0, 0),) * len(instance), 0.0, 0)
    best = max(search.plans, key=lambda p: p.flow, default=empty)
    bound, name = search.proved or flow_bound(instance, best.flow)
    if best.flow < bound * (1 - TOLERANCE):
        if max(region) == 0:
            rng = stream(seed, "weave")
            start, late = best.intervals, search.late
            woven = weave(instance, search.meter, start, rng, bound, rounds=annealings, late=late)
            best = max(best, search.keep(woven), key=lambda p: p.flow)
            bound, name = flow_bound(instance, best.flow)
        enough = bound * (1 - TOLERANCE)
        rng = stream(seed, "spread")
        intervals, _ = improve(instance, search.meter, best.intervals, rng, evaluations, enough)
        best = max(best, search.keep(intervals), key=lambda p: p.flow)
    if front:
        _shallower(search, best)
    # of plans that carry as much, the one of fewest stages
    same = [p for p in search.plans if p.flow >= best.flow * (1 - TOLERANCE)]
    best = min(same, key=lambda p: (p.depth, -p.flow), default=best)
    status = Status.OPTIMAL if best.flow >= bound * (1 - TOLERANCE) else Status.FEASIBLE
    return SpreadAnswer(best, max(bound, best.flow), name, status, _front(search.plans))


def _front(plans: Iterable[SpreadPlan]) -> tuple[SpreadPlan, ...]:
    """Return the plans that no other betters in flow and depth, deepest first."""
    kept: list[SpreadPlan] = []
    for plan in sorted(plans, key=lambda p: (p.depth, -p.flow)):
        if not kept or plan.flow > kept[-1].flow:
            kept.append(plan)
    return tuple(reversed(kept))


def _highest(
    attempt: Callable[[float], float | None],
    low: float,
    high: float,
    precision: float = PRECISION,
) -> None:
    """Raise the target flow by halving until it cannot be met; `attempt` keeps what it finds."""
    top = high
    while high > max(low, 1e-3 * top) * (1 + precision):
        middle = (low + high) / 2
        low = max(low, attempt(middle) or 0.0)
        if low < middle * (1 - TOLERANCE):
            high = middle


# --- one region: any order of segments will do ---------------------------------------------------


def _chain(
    search: _Search,
    groups: Sequence[Group],
    flow: float,
    *,
    most_depth: int | None = None,
    width: int = 1,
) -> float | None:
    """Keep a chain at `flow` and return what it carries; None: there is none."""
    segments = [s for s in segments_at(groups, flow) if s.machines >= width]
    layers = search.instance.layers
    short = most_depth is not None
    chain = chain_at(groups, segments, layers, most_depth=most_depth, shortest=short)
    return None if chain is None else search.keep_chain(groups, chain, flow).flow


def _best_chain(search: _Search) -> None:
    groups = groups_of(search.instance, (0,) * len(search.instance))
    if _chain(search, groups, search.high * (1 - 1e-9)) is None:
        _highest(partial(_chain, search, groups), 0.0, search.high)


def _ignoring_links(search: _Search) -> None:
    """Keep chains of ever wider segments, wired as their links allow."""
    groups = groups_of(search.instance, (0,) * len(search.instance))
    for width in range(1, MOST_MACHINES):
        _highest(partial(_chain, search, groups, width=width), 0.0, search.high)


# --- several regions: chains that cross, side by side --------------------------------------------


def _woven_first(search: _Search, seed: int, annealings: int) -> None:
    """Keep a chain woven from nothing: thin links are best seen while machines are chosen."""
    instance, nothing = search.instance, [(0, 0)] * len(search.instance)
    search.proved = flow_bound(instance, 0.0)
    search.high = min(search.high, search.proved[0])
    rng = stream(seed, "weave")
    high, late = search.high, search.late
    search.keep(weave(instance, search.meter, nothing, rng, high, rounds=annealings, late=late))


def _best_over_regions(search: _Search, region: Sequence[int]) -> None:
    """Keep the best chain of every subset of regions, and the best pairs of disjoint chains."""
    groups = groups_of(search.instance, tuple(region))
    count = max(region) + 1
    if count > MOST_REGIONS:
        _ignoring_links(search)
        return
    best: dict[frozenset[int], SpreadPlan] = {}
    everywhere = frozenset(range(count))
    for size in range(count, 0, -1):
        for chosen in combinations(range(count), size):
            inside = frozenset(chosen)
            reached = max((p.flow for p in search.plans), default=0.0)
            if reached >= search.high * (1 - TOLERANCE) or search.late():
                return
            both = (_within(search, groups, s) for s in (inside, everywhere - inside))
            if inside != everywhere and math.fsum(both) <= reached:
                continue  # not even beside the best chain of the other regions
            low = reached if inside == everywhere else 0.0
            plan = _best_crossing(search, groups, chosen, low=low)
            if plan is not None:
                best[inside] = plan
    for one, other in combinations(best, 2):
        if not one & other:
            pairs = zip(best[one].intervals, best[other].intervals, strict=True)
            search.keep([a if a[1] else b for a, b in pairs])


def _within(search: _Search, groups: Sequence[Group], regions: frozenset[int]) -> float:
    """Return a bound on what machines of `regions` alone can carry."""
    instance = search.instance
    inside = sorted(m for g in groups if g.region in regions for m in g.machines)
    if not inside:
        return 0.0
    return throughput_bound(replace(instance, rates=tuple(instance.rates[m] for m in inside)))


def _best_crossing(
    search: _Search,
    groups: Sequence[Group],
    regions: Sequence[int],
    *,
    most_depth: int | None = None,
    low: float = 0.0,
    high: float | None = None,
) -> SpreadPlan | None:
    """Keep and return the best chain of more than `low` through all of `regions`, in any order."""
    rates = search.instance.rates
    inside = [m for g in groups if g.region in regions for m in g.machines]
    if sum(len(rates[m]) for m in inside) < search.instance.layers:
        return None
    crossing = _Crossing(search, groups, regions, most_depth)
    top = high or search.high
    _highest(crossing.attempt, low, min(top, _within(search, groups, frozenset(regions))), COARSE)
    return max(crossing.found, key=lambda p: p.flow, default=None)


class _Crossing:
    """Chains through given regions."""

    def __init__(
        self,
        search: _Search,
        groups: Sequence[Group],
        regions: Sequence[int],
        most_depth: int | None,
    ) -> None:
        self._search = search
        self._groups = groups
        self._regions = frozenset(regions)
        self._orders = list(islice(permutations(regions), MOST_ORDERS))
        self._most_depth = most_depth
        all_told = MOST_IN_ALL if most_depth is None else 2 * MOST_IN_ALL
        most = min(search.solves + MOST_SOLVES, all_told)
        self._most_solves = max(most, search.solves + LEAST_SOLVES)
        self.found: list[SpreadPlan] = []

    def attempt(self, flow: float) -> float | None:
        """Keep chains at `flow` and return the most that one of them carries."""
        groups, instance = self._groups, self._search.instance
        segments = [
            s for s in segments_at(groups, flow) if groups[s.counts[0][0]].region in self._regions
        ]
        best: float | None = None
        for order in list(self._orders):
            if self._search.solves >= self._most_solves or (best and self._search.late()):
                break
            self._search.solves += 1
            pairs = list(pairwise(order))
            crossings = [
                self._search.junctions(groups, sender, receiver, flow) for sender, receiver in pairs
            ]
            chain = chain_at(
                groups,
                segments,
                instance.layers,
                junctions=crossings,
                most_depth=self._most_depth,
            )
            if chain is None:
                continue
            plan = self._search.keep_chain(groups, chain, flow, order)
            self.found.append(plan)
            best = max(best or 0.0, plan.flow)
            if plan.flow >= flow * (1 - TOLERANCE):
                self._orders.remove(order)
                self._orders.insert(0, order)  # what worked is tried first next time
                break
        return best


# --- fewer stages --------------------------------------------------------------------------------


def _shallower(search: _Search, best: SpreadPlan) -> None:
    """Look for plans of fewer and fewer stages."""
    region = regions_of(search.instance, search.high)
    count = max(region) + 1
    one = count == 1
    if not best.depth or (not one and count > MOST_REGIONS):
        return
    groups = groups_of(search.instance, region)
    high, depth = best.flow, best.depth
    while depth > 1:
        depth -= 1
        known = max((p.flow for p in search.plans if p.depth <= depth), default=0.0)
        if one:
            _highest(partial(_chain, search, groups, most_depth=depth), known, high)
        else:
            _best_crossing(search, groups, range(count), most_depth=depth, high=high)
        within = [p for p in search.plans if p.depth <= depth]
        if not within:
            return
        top = max(within, key=lambda p: (p.flow, -p.depth))
        high, depth = top.flow, min(depth, top.depth)
