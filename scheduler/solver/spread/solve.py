"""The search for the highest flow, and the front of flow against depth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

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

PRECISION = 1e-4
"""Relative step at which the search for the highest flow of a chain stops."""

MOST_REGIONS = 4
MOST_ORDERS = 24
EVALUATIONS = 20_000
"""Max-flows of the local search."""


@dataclass(slots=True)
class _Search:
    """What is shared by the parts of one search."""

    instance: SpreadInstance
    meter: FlowMeter
    high: float
    rng: np.random.Generator
    plans: list[SpreadPlan] = field(default_factory=list)

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
    instance: SpreadInstance, *, seed: int = 0, evaluations: int = EVALUATIONS, front: bool = True
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
    front : bool
        Whether to look for plans of fewer stages too.
    """
    high = throughput_bound(instance)
    search = _Search(instance, FlowMeter(instance), high, stream(seed, "wire"))
    region = regions_of(instance, high)
    if max(region) == 0:
        _best_chain(search)
    else:
        _best_over_regions(search, region)
    empty = SpreadPlan(((0, 0),) * len(instance), 0.0, 0)
    best = max(search.plans, key=lambda p: p.flow, default=empty)
    bound, name = flow_bound(instance, best.flow)
    if best.flow < bound * (1 - TOLERANCE):
        rng = stream(seed, "spread")
        intervals, _ = improve(
            instance, search.meter, best.intervals, rng, evaluations, bound * (1 - TOLERANCE)
        )
        best = max(best, search.keep(intervals), key=lambda p: p.flow)
    if front:
        _shallower(search, best)
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
    attempt: Callable[[float], tuple[float, int] | None], low: float, high: float
) -> None:
    """Raise the target flow by halving until it cannot be met; `attempt` keeps what it finds."""
    top = high
    while high > max(low, 1e-3 * top) * (1 + PRECISION):
        middle = (low + high) / 2
        got = attempt(middle)
        if got is not None:
            low = max(low, got[0])
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
) -> tuple[float, int] | None:
    """Keep a chain at `flow` and return what it carries, and its depth; None: there is none."""
    segments = [s for s in segments_at(groups, flow) if s.machines >= width]
    layers = search.instance.layers
    short = most_depth is not None
    chain = chain_at(groups, segments, layers, most_depth=most_depth, shortest=short)
    if chain is None:
        return None
    plan = search.keep_chain(groups, chain, flow)
    return plan.flow, chain.depth


def _best_chain(search: _Search) -> None:
    groups = groups_of(search.instance, (0,) * len(search.instance))
    if _chain(search, groups, search.high * (1 - 1e-9)) is None:
        _highest(lambda flow: _chain(search, groups, flow), 0.0, search.high)


def _shallower(search: _Search, best: SpreadPlan) -> None:
    """Look for plans of fewer and fewer stages."""
    region = regions_of(search.instance, search.high)
    if max(region) or not best.depth:
        return
    groups = groups_of(search.instance, (0,) * len(search.instance))
    high, depth = best.flow, best.depth
    while depth > 1:
        depth -= 1
        known = max((p.flow for p in search.plans if p.depth <= depth), default=0.0)
        _highest(
            lambda flow, d=depth: _chain(search, groups, flow, most_depth=d), known, high
        )
        within = [p for p in search.plans if p.depth <= depth]
        if not within:
            return
        top = max(within, key=lambda p: (p.flow, -p.depth))
        high, depth = top.flow, min(depth, top.depth)


# --- several regions: chains that cross, side by side ----------------------------------------------


def _best_over_regions(search: _Search, region: Sequence[int]) -> None:
    """Keep the best chain of every subset of regions, and the best sets of disjoint chains."""
    instance = search.instance
    groups = groups_of(instance, tuple(region))
    count = max(region) + 1
    if count > MOST_REGIONS:
        _ignoring_links(search)
        return
    best: dict[frozenset[int], SpreadPlan] = {}
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            plan = _best_crossing(search, groups, chosen)
            if plan is not None:
                best[frozenset(chosen)] = plan
    for one, other in combinations(best, 2):
        if not one & other:
            pairs = zip(best[one].intervals, best[other].intervals, strict=True)
            search.keep([a if a[1] else b for a, b in pairs])


def _best_crossing(
    search: _Search, groups: Sequence[Group], regions: Sequence[int]
) -> SpreadPlan | None:
    """Keep and return the best chain through all of `regions`, in any order."""
    instance = search.instance
    inside = [m for g in groups if g.region in regions for m in g.machines]
    if sum(len(instance.rates[m]) for m in inside) < instance.layers:
        return None
    found: list[SpreadPlan] = []
    orders = list(permutations(regions))[:MOST_ORDERS]

    def attempt(flow: float) -> tuple[float, int] | None:
        inside = [g for g, group in enumerate(groups) if group.region in regions]
        segments = [s for s in segments_at(groups, flow) if s.counts[0][0] in inside]
        known: dict[tuple[int, int], list[Junction]] = {}
        got: SpreadPlan | None = None
        for order in list(orders):
            crossings = []
            for pair in zip(order, order[1:], strict=False):
                if pair not in known:
                    known[pair] = junctions_between(instance, groups, *pair, flow)
                crossings.append(known[pair])
            chain = chain_at(groups, segments, instance.layers, junctions=crossings)
            if chain is None:
                continue
            plan = search.keep_chain(groups, chain, flow, order)
            found.append(plan)
            if got is None or plan.flow > got.flow:
                got = plan
            if plan.flow >= flow * (1 - TOLERANCE):
                orders.remove(order)
                orders.insert(0, order)  # what worked is tried first next time
                break
        return None if got is None else (got.flow, got.depth)

    _highest(attempt, 0.0, search.high)
    return max(found, key=lambda p: p.flow, default=None)


def _ignoring_links(search: _Search) -> None:
    """Keep chains of ever wider segments, wired as their links allow."""
    groups = groups_of(search.instance, (0,) * len(search.instance))
    for width in range(1, MOST_MACHINES):
        _highest(lambda flow, w=width: _chain(search, groups, flow, width=w), 0.0, search.high)
