"""What no placement of a spread model can exceed.

Each layer is held by machines whose rates sum to the flow F: a *cover*. A machine that holds k
layers is part of k covers, so it gives 1/k of itself to each. The linear program over all
covers, with as many layers as the machines allow, is a relaxation of every placement; its duals
price the machines, and the cheapest cover at those prices is a small knapsack. If the program
does not reach the model's layers, F cannot be carried.

Where regions are joined by links that carry less than F, two layers held by single machines of
different regions need a layer of at least two machines between them: nothing else can hand
the tokens over. So r regions with such layers take at least r - 1 layers of two or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scheduler.core.spread import SpreadInstance
from scheduler.solver.spread.groups import Group, groups_of, regions_of

TOLERANCE = 1e-6
_GRID = 256
_ROUNDS = 200
_MOST_REGIONS = 6
_SLACK = 1e-9
_LEAST_SHARE = 1e-4
"""Below this share of the throughput bound, no lower one is looked for."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A machine of a group that holds `layers`."""

    group: int
    layers: int
    rate: float


@dataclass(frozen=True, slots=True)
class _Cover:
    """Machines that together carry the flow through a layer."""

    items: tuple[_Item, ...]

    def share(self, group: int) -> float:
        """Return how much of the group's machines one layer takes."""
        return math.fsum(1 / i.layers for i in self.items if i.group == group)


def throughput_bound(instance: SpreadInstance) -> float:
    """Return the largest F with ``layers F <= sum over machines of max_k k min(rate_k, F)``."""
    breaks = sorted({r for rates in instance.rates for r in rates})

    def spare(flow: float) -> float:
        able = (
            max(k * min(r, flow) for k, r in enumerate(rates, start=1)) for rates in instance.rates
        )
        return math.fsum(able) - instance.layers * flow

    total = math.fsum(max(rates) for rates in instance.rates)
    for low, high in zip([0.0, *breaks][::-1], [*breaks, total][::-1], strict=True):
        if high <= low:
            continue
        if spare(high) >= -_SLACK * high:
            return high
        if low > 0 and spare(low) < 0:
            continue  # convex in between: negative throughout
        enough, much = low, high
        for _ in range(200):
            middle = (enough + much) / 2
            enough, much = (middle, much) if spare(middle) >= 0 else (enough, middle)
        if enough > 0:
            return much
    return 0.0


def flow_bound(instance: SpreadInstance, flow: float) -> tuple[float, str]:
    """Return a bound on the flow of every placement, and how it was proved.

    Parameters
    ----------
    instance : SpreadInstance
        What to bound.
    flow : float
        Reached by some placement; where the bound meets it to `TOLERANCE`, it is optimal.
    """
    high = min(throughput_bound(instance), float(instance.source.sum()), float(instance.sink.sum()))
    name = "throughput of all machines"
    low = max(flow * (1 + TOLERANCE / 2), _LEAST_SHARE * high)
    if low >= high:
        return max(high, flow), name
    if _can_carry(instance, high * (1 - 1e-9)):
        return high, name
    name = "covers of every layer"
    while high > low * (1 + TOLERANCE / 2):
        # the answer is often the flow itself: try that first, then halve
        middle = low if high == low else math.sqrt(low * high)
        if not _can_carry(instance, low):
            return low, name
        low, high = (middle, high) if _can_carry(instance, middle) else (low, middle)
    return high, name


def _can_carry(instance: SpreadInstance, flow: float) -> bool:
    """Return False where no placement carries `flow`."""
    region = regions_of(instance, flow)
    count = max(region) + 1
    if count == 1 or count > _MOST_REGIONS:
        groups = groups_of(instance, (0,) * len(instance))
        return _Covers(groups, flow).layers(frozenset([0]), 0, instance.layers)
    covers = _Covers(groups_of(instance, region), flow)
    return any(
        covers.layers(frozenset(chosen), max(0, size - 1), instance.layers)
        for size in range(count, -1, -1)
        for chosen in combinations(range(count), size)
    )


class _Covers:
    """The linear program over covers at one flow.

    Parameters
    ----------
    groups : sequence of Group
        Machines.
    flow : float
        Tokens/s that every layer must carry.
    """

    def __init__(self, groups: Sequence[Group], flow: float) -> None:
        self.groups = groups
        self.flow = flow
        self.items = [
            _Item(g, k, rate)
            for g, group in enumerate(groups)
            for k, rate in enumerate(group.rates, start=1)
            if rate > 0
        ]
        self.columns: list[_Cover] = []
        unit = flow / _GRID
        self._unit = unit
        self._weights = np.array([math.ceil(i.rate / unit - 1e-12) for i in self.items])

    def layers(self, single: frozenset[int], shared: int, wanted: int) -> bool:
        """Return whether the program reaches `wanted` layers.

        Parameters
        ----------
        single : frozenset of int
            Regions that may hold a layer by one machine.
        shared : int
            Layers that two or more machines hold, at least.
        wanted : int
            Layers of the model.
        """
        for _ in range(_ROUNDS):
            reached, prices = self._master(single, shared)
            if reached >= wanted * (1 - _SLACK):
                return True
            alone, alone_cost = self._cheapest_single(prices, single)
            both, both_cost = self._cheapest_shared(prices)
            if self._limit(prices, alone_cost, both_cost, shared) < wanted * (1 - _SLACK):
                return False
            new = [c for c in (alone, both) if c is not None and c not in self.columns]
            if not new:
                return True  # cannot be refuted
            self.columns += new
        return True

    def _limit(self, prices: Sequence[float], alone: float, both: float, shared: int) -> float:
        """Return the layers that no mix of covers exceeds, by the prices of the machines."""
        worth = math.fsum(p * len(g.machines) for p, g in zip(prices, self.groups, strict=True))
        if shared * both > worth * (1 + _SLACK):
            return 0.0
        cheapest = min(alone, both)
        if cheapest <= 0:
            return math.inf
        # the shared layers that must be, then the cheapest cover for what is left
        return shared + (worth - shared * both) / cheapest

    def _master(self, single: frozenset[int], shared: int) -> tuple[float, list[float]]:
        """Solve over the covers known so far; return layers reached and machine prices."""
        from ortools.linear_solver import pywraplp

        usable = [
            c for c in self.columns
            if len(c.items) > 1 or self.groups[c.items[0].group].region in single
        ]  # fmt: skip
        if not usable:
            return 0.0, [1.0] * len(self.groups)
        solver = pywraplp.Solver.CreateSolver("GLOP")
        amounts = [solver.NumVar(0, solver.infinity(), "") for _ in usable]
        missing = solver.NumVar(0, shared, "")
        rows = []
        for g, group in enumerate(self.groups):
            row = solver.Constraint(-solver.infinity(), len(group.machines))
            for amount, cover in zip(amounts, usable, strict=True):
                row.SetCoefficient(amount, cover.share(g))
            rows.append(row)
        pairs = solver.Constraint(shared, solver.infinity())
        pairs.SetCoefficient(missing, 1)
        for amount, cover in zip(amounts, usable, strict=True):
            if len(cover.items) > 1:
                pairs.SetCoefficient(amount, 1)
        goal = solver.Objective()
        for amount in amounts:
            goal.SetCoefficient(amount, 1)
        goal.SetCoefficient(missing, -1e3)
        goal.SetMaximization()
        if solver.Solve() != pywraplp.Solver.OPTIMAL:
            return 0.0, [1.0] * len(self.groups)
        prices = [max(0.0, row.dual_value()) for row in rows]
        reached = math.fsum(a.solution_value() for a in amounts)
        return (reached if missing.solution_value() < 1e-7 else 0.0), prices

    def _costs(self, prices: Sequence[float]) -> list[float]:
        return [prices[i.group] / i.layers for i in self.items]

    def _cheapest_single(
        self, prices: Sequence[float], single: frozenset[int]
    ) -> tuple[_Cover | None, float]:
        best, least = None, math.inf
        for item, cost in zip(self.items, self._costs(prices), strict=True):
            allowed = self.groups[item.group].region in single
            if allowed and item.rate >= self.flow * (1 - _SLACK) and cost < least:
                best, least = _Cover((item,)), cost
        return best, least

    def _cheapest_shared(self, prices: Sequence[float]) -> tuple[_Cover | None, float]:
        """Return the cheapest cover of two or more machines, exactly, by branch and bound."""
        costs = self._costs(prices)
        floor = self._floor(costs)
        order = sorted(range(len(self.items)), key=lambda i: (costs[i] / self.items[i].rate, i))
        cheapest = min(costs, default=math.inf)
        best: list[tuple[float, tuple[int, ...]]] = [(math.inf, ())]
        left = [len(g.machines) for g in self.groups]

        def visit(at: int, cost: float, need: float, taken: tuple[int, ...]) -> None:
            if need <= self.flow * _SLACK and len(taken) > 1:
                if cost < best[0][0] - 1e-12:
                    best[0] = (cost, taken)
                return
            if need <= self.flow * _SLACK:
                least = cheapest
            else:
                least = floor[min(_GRID, int(need / self._unit + 1e-12))]
                if not taken:
                    least = max(least, 0.0)
            if cost + least >= best[0][0] - 1e-12:
                return
            for position in range(at, len(order)):
                i = order[position]
                group = self.items[i].group
                if left[group]:
                    left[group] -= 1
                    rest = need - self.items[i].rate
                    visit(position, cost + costs[i], rest, (*taken, i))
                    left[group] += 1

        visit(0, 0.0, self.flow, ())
        cost, taken = best[0]
        if not taken:
            return None, math.inf
        return _Cover(tuple(self.items[i] for i in sorted(taken))), cost

    def _floor(self, costs: Sequence[float]) -> list[float]:
        """Return the least cost of covering each multiple of the grid, from below."""
        price = np.array(costs)
        least = np.zeros(_GRID + 1)
        for need in range(1, _GRID + 1):
            before = np.maximum(need - self._weights, 0)
            least[need] = float(np.min(price + least[before])) if len(price) else math.inf
        return [float(x) for x in least]
