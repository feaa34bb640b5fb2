"""Column generation and rounding: patterns of one node, and how many nodes get each.

Patterns come from two sources. One is the best pattern of each shape at the prices of the
master. The other fills the whole cluster node by node, so that its patterns go together; where
the pooled relaxation says how much of a class a shape takes, it keeps to that. Once the master
is close to its bound, whole numbers are fixed and the rest is solved again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.master import Master, MasterAnswer, pattern_counts
from scheduler.solver.packing.node_fill import NodeFiller, Pattern
from scheduler.solver.packing.pooled import Pooled
from scheduler.solver.packing.table import PackingTable

ROUNDS: Final = 40
"""Rounds of pricing for the whole cluster, at most."""

DIVE_ROUNDS: Final = 4
"""Rounds of pricing each time that something has been fixed."""

CLOSE: Final = 1e-4
"""Share of the accelerators by which the master may miss the bound when rounding begins."""

_OWN: Final = 0.3  # weight of the master's prices, beside those of the pooled relaxation
_NOISE: Final = 0.2
_FIRST_PHASE: Final = 0.55  # of the time, when pricing for the whole cluster ends
_ALL_PHASES: Final = 0.9  # of the time, when pricing ends altogether
_STALL: Final = 6  # rounds of little gain after which pricing ends
_LITTLE: Final = 2e-5  # of the accelerators
_STEP: Final = 0.2  # of the nodes left, fixed at least each time
_PAYS_MILLI: Final = 1e-3  # thousandths of an accelerator; less is noise of the solver
_TINY: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Filling:
    """How many nodes of a shape get a pattern."""

    shape: int
    pattern: Pattern
    nodes: int


@dataclass(slots=True)
class Rest:
    """What is not fixed yet: pods that must and may be placed, and nodes, by class and shape."""

    least: IntArray
    most: IntArray
    nodes: IntArray

    def take(self, filling: Filling) -> None:
        """Fix the nodes of a filling."""
        counts = filling.nodes * pattern_counts(filling.pattern, len(self.most))
        self.most -= counts
        self.least = np.maximum(self.least - counts, 0)
        self.nodes[filling.shape] -= filling.nodes

    def times(self, shape: int, counts: IntArray) -> int:
        """Return how many more nodes of a shape could get a pattern."""
        used = counts > 0
        return int(min(self.nodes[shape], (self.most[used] // counts[used]).min(initial=1 << 40)))


class ColumnGeneration:
    """Patterns for one table.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    least : ndarray of int64, shape (classes,)
        Pods that must be placed.
    pooled : Pooled
        Relaxation to start from.
    bound_milli : float
        What no packing exceeds, proved.
    rng : Generator
        Orders and noise in whole fillings.
    out_of_time : callable
        Whether a share of the time has passed; asked between steps.
    """

    def __init__(
        self,
        table: PackingTable,
        least: IntArray,
        pooled: Pooled,
        bound_milli: float,
        rng: np.random.Generator,
        out_of_time: Callable[[float], bool],
    ) -> None:
        self.table, self.pooled, self.bound_milli = table, pooled, bound_milli
        self.rng, self.out_of_time = rng, out_of_time
        self.filler = NodeFiller(table)
        self.demand = table.demand_milli
        self.rest = Rest(least.copy(), table.count.copy(), table.nodes.copy())
        self.master = self._new_master()
        self.time_share = _FIRST_PHASE
        self.value_milli = 0.0
        self.patterns_made = 0

    def _new_master(self) -> Master:
        return Master(self.table, self.rest.least, self.rest.most, self.rest.nodes)

    def fillings(self) -> list[Filling]:
        """Return whole numbers of nodes for patterns that respect the number of pods."""
        self._cover(self.pooled.prices.pod, self.pooled.taken)
        answer = self._improve(ROUNDS, self.bound_milli)
        self.time_share = _ALL_PHASES
        self.value_milli = answer.value
        fixed: list[Filling] = []
        while self.rest.nodes.any() and self.rest.most.any():
            found = self._round(answer)
            if not found:
                break
            fixed += found
            self._renew()
            answer = self._improve(DIVE_ROUNDS, float("inf"))
        return fixed

    def _improve(self, rounds: int, target: float) -> MasterAnswer:
        """Add patterns until the master is close to the target, or nothing pays any more."""
        little = _LITTLE * self.table.capacity_milli
        close = target - CLOSE * self.table.capacity_milli
        answer = self.master.solve()
        values = [answer.value]
        for turn in range(rounds):
            stalled = len(values) > _STALL and answer.value < values[-1 - _STALL] + little
            if stalled or answer.value >= close or self.out_of_time(self.time_share):
                break
            found = 0
            for own in (_OWN, 1.0) if turn else (1.0,):
                prices = (1 - own) * self.pooled.prices.pod + own * answer.pod_prices
                found = self._price(prices, answer)
                if found:
                    break
            if turn % 2:
                self._cover(prices, self.pooled.taken if turn % 4 == 1 else None)
            elif not found:
                break
            answer = self.master.solve()
            values.append(answer.value)
        return answer

    def _price(self, prices: FloatArray, answer: MasterAnswer) -> int:
        """Add the best pattern of each shape where it pays; return how many were added."""
        added = 0
        gain = self.demand - answer.pod_prices
        for s in np.flatnonzero(self.rest.nodes).tolist():
            worth = self.demand - prices
            pattern = self.filler.fill(s, worth, self.rest.most, self.filler.room(s))
            earned = float(pattern_counts(pattern, len(gain)) @ gain)
            if earned > answer.node_prices[s] + _PAYS_MILLI:
                added += self.master.add(s, pattern)
        self.patterns_made += added
        return added

    def _cover(self, prices: FloatArray, limit: FloatArray | None) -> None:
        """Fill all nodes, one pattern as often as it goes, and add these patterns."""
        left, nodes = self.rest.most.copy(), self.rest.nodes.copy()
        noise = self.rng.uniform(1 - _NOISE, 1 + _NOISE, len(left))
        worth = np.maximum(self.demand - prices, 0) + self.demand * noise + 1.0
        for s in self.rng.permutation(len(nodes)).tolist():
            mine = left.copy()
            if limit is not None:
                mine = np.minimum(mine, np.ceil(limit[s] - _TINY).astype(np.int64))
            while nodes[s] and not self.out_of_time(self.time_share):
                pattern = self.filler.fill(s, worth, mine, self.filler.room(s))
                if not pattern:
                    break
                counts = pattern_counts(pattern, len(left))
                used = counts > 0
                times = int(min(nodes[s], (mine[used] // counts[used]).min()))
                nodes[s] -= times
                mine -= times * counts
                left -= times * counts
                self.patterns_made += self.master.add(s, pattern)

    def _round(self, answer: MasterAnswer) -> list[Filling]:
        """Fix whole parts, and the largest fractions until enough nodes are fixed."""
        amounts = sorted(answer.used.items(), key=lambda item: (-((item[1] + _TINY) % 1), item[0]))
        enough = max(1, int(_STEP * self.rest.nodes.sum()))
        fixed: list[Filling] = []
        for up in (False, True):
            for (s, pattern), amount in amounts:
                if up and sum(f.nodes for f in fixed) >= enough:
                    break
                wanted = 1 if up else int(amount + _TINY)
                times = min(wanted, self.rest.times(s, self.master.patterns[s, pattern]))
                if times > 0:
                    filling = Filling(s, pattern, times)
                    self.rest.take(filling)
                    fixed.append(filling)
        return fixed

    def _renew(self) -> None:
        """Begin a master for the rest, with the patterns that are still possible."""
        old = self.master.patterns
        self.master = self._new_master()
        for (s, pattern), counts in old.items():
            if self.rest.times(s, counts):
                self.master.add(s, pattern)
