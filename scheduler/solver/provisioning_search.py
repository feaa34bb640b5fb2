"""Branch and bound on machine counts, for one step of time.

General solvers spend most of their time here on preparing: the program has a handful of
integers. So the linear program is kept warm (GLOP, only bounds change), and a bound is rounded
up to the next cost that whole machines can have at all.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scheduler.core.provisioning import Offer, ProvisioningCase
from scheduler.core.workload import FloatArray

MOST_NODES = 400
"""Nodes after which a general solver takes over."""

_WHOLE = 1e-7
_MOST_SUMS = 20_000


@dataclass(frozen=True, slots=True)
class Rented:
    """Machines by offer, and the share of each bucket that goes to each of them."""

    machines: tuple[int, ...]
    share: FloatArray


def without_dominated(case: ProvisioningCase) -> tuple[ProvisioningCase, list[int]]:
    """Return the case without offers that copies of another replace, and which are left.

    Offer h is dominated if some whole number of machines of an offer of unlimited supply
    costs no more and serves at least as much of every bucket.
    """
    used = np.asarray(case.demand_per_s.any(axis=0))
    gone: set[int] = set()
    for h, offer in enumerate(case.offers):
        if any(
            g != h and g not in gone and _replaces(other, offer, used)
            for g, other in enumerate(case.offers)
        ):
            gone.add(h)
    left = [g for g in range(len(case.offers)) if g not in gone]
    return replace(case, offers=tuple(case.offers[g] for g in left)), left


def _replaces(other: Offer, offer: Offer, used: np.ndarray) -> bool:
    if other.supply is not None or other.usd_per_hour <= 0:
        return False
    copies = math.floor(offer.usd_per_hour / other.usd_per_hour * (1 + 1e-12))
    better = copies * other.requests_per_s[used] >= offer.requests_per_s[used]
    return copies >= 1 and bool(better.all())


class CostLattice:
    """The costs that whole machines can have.

    Parameters
    ----------
    prices : sequence of float
        Of one machine each, positive.
    most : float
        Costs above this are not needed.
    """

    def __init__(self, prices: list[float], most: float) -> None:
        bases: list[float] = []
        for price in sorted(set(prices)):
            if not any(_is_whole(price / base) for base in bases):
                bases.append(price)
        self._least = bases[0]
        sums = np.zeros(1)
        for price in bases[1:]:
            counts = np.arange(math.floor(most / price) + 1)
            if len(sums) * len(counts) > _MOST_SUMS:
                sums = np.array([-math.inf])
                break
            sums = (sums[:, None] + price * counts[None, :]).ravel()
        self._sums = sums

    def at_least(self, value: float) -> float:
        """Return the least possible cost that is not below `value`."""
        if not math.isfinite(self._sums[0]):
            return value
        slack = _WHOLE * max(1.0, value)
        missing = np.maximum(0.0, np.ceil((value - slack - self._sums) / self._least))
        return max(value, float((self._sums + missing * self._least).min()))


def _is_whole(ratio: float) -> bool:
    return abs(ratio - round(ratio)) < 1e-12 * ratio


@dataclass(slots=True)
class _Relaxed:
    """The linear program with machine counts between bounds."""

    case: ProvisioningCase
    solver: Any = None
    counts: list[Any] = field(default_factory=list)
    shares: list[tuple[int, int, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from ortools.linear_solver import pywraplp

        self.solver = solver = pywraplp.Solver.CreateSolver("GLOP")
        solver.SetSolverSpecificParametersAsString("use_preprocessing:false use_dual_simplex:true")
        infinity = solver.infinity()
        rooms = []
        for offer in self.case.offers:
            self.counts.append(solver.NumVar(0, infinity, ""))
            solver.Objective().SetCoefficient(self.counts[-1], offer.usd_per_hour)
            rooms.append(solver.Constraint(-infinity, 0))
            rooms[-1].SetCoefficient(self.counts[-1], -1)
        for b, rate in enumerate(self.case.demand_per_s[0].tolist()):
            if rate <= 0:
                continue
            served = solver.Constraint(1, 1)
            for g, offer in enumerate(self.case.offers):
                able = float(offer.requests_per_s[b])
                if able > 0:
                    share = solver.NumVar(0, 1, "")
                    served.SetCoefficient(share, 1)
                    rooms[g].SetCoefficient(share, rate / able)
                    self.shares.append((b, g, share))
        solver.Objective().SetMinimization()

    def solve(self, low: tuple[int, ...], high: tuple[float, ...]) -> float:
        """Return the least cost within the bounds; infinity: there is none."""
        for count, least, most in zip(self.counts, low, high, strict=True):
            count.SetBounds(least, most)
        if self.solver.Solve() != self.solver.OPTIMAL:
            return math.inf
        return float(self.solver.Objective().Value())

    def rented(self, machines: tuple[int, ...]) -> Rented:
        """Return the machines with the present shares."""
        share = np.zeros((self.case.demand_per_s.shape[1], len(self.case.offers)))
        for b, g, variable in self.shares:
            share[b, g] = max(0.0, variable.solution_value())
        total = share.sum(axis=1, keepdims=True)
        return Rented(machines, np.divide(share, total, out=share, where=total > 0))


def cheapest_machines(case: ProvisioningCase) -> Rented | None:
    """Return the proved cheapest machines of a case of one step.

    None: it took too many nodes, or there is no answer; a general solver must tell.
    """
    relaxed = _Relaxed(case)
    prices = [o.usd_per_hour for o in case.offers]
    none = (0,) * len(prices)
    supply = tuple(math.inf if o.supply is None else float(o.supply) for o in case.offers)
    value = relaxed.solve(none, supply)
    if not math.isfinite(value) or min(prices) <= 0:
        return None
    best: list[tuple[float, Rented | None]] = [(math.inf, None)]
    lattice = CostLattice(prices, value + 3 * max(prices))

    def look(low: tuple[int, ...], high: tuple[float, ...]) -> tuple[float, list[float]] | None:
        """Solve a node, keep its rounding up if it is the cheapest so far."""
        least = relaxed.solve(low, high)
        if not math.isfinite(least):
            return None
        counts = [c.solution_value() for c in relaxed.counts]
        up = tuple(math.ceil(c - _WHOLE) for c in counts)
        cost = math.fsum(p * n for p, n in zip(prices, up, strict=True))
        if cost < best[0][0] - 1e-9 and all(n <= s for n, s in zip(up, supply, strict=True)):
            best[0] = (cost, relaxed.rented(up))
        return lattice.at_least(least), counts

    root = look(none, supply)
    if root is None:
        return None
    heap = [(root[0], 0, none, supply, root[1])]
    nodes = 0
    while heap and heap[0][0] < best[0][0] - 1e-9:
        _, _, low, high, counts = heapq.heappop(heap)
        parts = [abs(c - round(c)) for c in counts]
        split = max(range(len(parts)), key=lambda g: (parts[g] * prices[g], -g))
        if parts[split] <= _WHOLE:
            continue  # whole: its rounding is itself, and it has been kept
        at = math.floor(counts[split])
        for below in (True, False):
            new_low = low if below else (*low[:split], at + 1, *low[split + 1 :])
            new_high = (*high[:split], float(at), *high[split + 1 :]) if below else high
            node = look(new_low, new_high)
            nodes += 1
            if node is not None and node[0] < best[0][0] - 1e-9:
                heapq.heappush(heap, (node[0], nodes, new_low, new_high, node[1]))
        if nodes > MOST_NODES:
            return None
    return best[0][1]
