"""Why free accelerators are free, right now.

For the free accelerators of one node, with F the free accelerators of its type in the
fleet and *shape* any (gang, level, slots) that a waiting job or an unserved service may
use on this type:

- nothing waits: ``no_demand``;
- jobs wait, none has a shape on this type: ``incompatible`` (one whose array has no turn for
  it has none on any);
- some shape has a legal placement now and one of its slots fits on this node: ``policy``,
  or ``power_cap`` where the power cap forbids each of those shapes;
- else some shape asks for at most F accelerators: ``shape``;
- else ``gang_wait``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.reach import Reach, Ways
from scheduler.core.run import Placement
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import HELD_BACK, IntArray

_NOTHING: frozenset[int] = frozenset()
_W: Final = 1.0
"""Watts within which sums of draws are taken for inexact."""
_NONE: Final = 1 << 30
"""More free accelerators than any node has."""
_KNOWN_CAP: Final = 4096
"""Sets of ways whose smallest gang is kept."""

_COMMON: Final = (Cause.NO_DEMAND, Cause.INCOMPATIBLE, Cause.SHAPE, Cause.GANG_WAIT)
"""Causes that all of a type share, but for what could be used now."""
_NO_DEMAND, _INCOMPATIBLE, _SHAPE, _GANG_WAIT = range(4)

Reached = dict[tuple[int, int], int]
"""Masks of pools by how many free accelerators make a node of theirs one that could be used now,
and one that only the power cap holds back."""


@dataclass(frozen=True, slots=True)
class _Asks:
    """What those that wait for a type ask for.

    Parameters
    ----------
    least : int
        Accelerators of the smallest gang of whole accelerators of this type alone.
    several : tuple of Mode
        Modes of several types.
    shares : tuple of Mode
        Modes of a part of an accelerator.
    most_w : float
        Draw of the hungriest gang.
    """

    least: int
    several: tuple[Mode, ...]
    shares: tuple[Mode, ...]
    most_w: float


class IdleBook:
    """Books free accelerator-time to causes, lazily, pool by pool.

    Whatever could not be used at all has the cause of its type, and of that the book keeps a
    clock for each: when it changes, no pool is touched. A pool is booked where something on
    it starts or ends, or becomes or ceases to be of use.

    Parameters
    ----------
    problem : Problem
        Cluster and modes.
    layout : Layout
        Its look-ups.
    occupancy : Occupancy
        The live free counts.
    power_allows : callable
        Whether the caps leave room for a mode on a placement.
    spare_w : callable
        Watts that every site may draw more.
    """

    TRANSIENT: tuple[str, ...] = ("_ways", "_asks_known", "_sites", "_elsewhere")

    def __init__(
        self,
        problem: Problem,
        layout: Layout,
        occupancy: Occupancy,
        power_allows: Callable[[Mode, Placement], bool],
        spare_w: Callable[[], float],
    ) -> None:
        pools, types = len(problem.pools), len(problem.types)
        self._layout = layout
        self._occupancy = occupancy
        self._power_allows = power_allows
        self._spare_w = spare_w
        self._caps_power = any(s.power_cap_w is not None for s in problem.cluster.sites)
        self._elsewhere = pools_elsewhere(problem)
        tables = [*problem.modes, *problem.service_modes]
        self._classes_known = len(problem.modes)
        self._ways = Ways(types, tables, by_power=self._caps_power)
        self._reach = Reach(layout, occupancy, self._ways)
        self._sites = [
            {
                site: sum(self._reach.place(p) for p in here if p not in away)
                for site, away in enumerate(self._elsewhere)
            }
            for here in layout.type_pools
        ]
        self._asks_known: dict[tuple[int, int], _Asks] = {}
        self._near_cap = [False] * types
        self._classes = self._short = _NOTHING
        self._wanted = [0] * types
        self._unwanted = _NO_DEMAND
        self._reached: list[Reached] = [{} for _ in range(types)]
        self._cause = [_NO_DEMAND] * types
        self._cause_since = [0] * types
        self._clocks = [[0] * len(_COMMON) for _ in range(types)]
        self._booked_until = [0] * pools
        self._clocks_then = [[0] * len(_COMMON) for _ in range(pools)]
        self._free_us_then = [0] * pools
        self._usable = [(0, 0)] * pools  # free now and of use: at once; but for the power cap
        self._common = occupancy.pool_free.copy()  # free now and of no use
        self._amounts = [[0] * len(Cause) for _ in range(pools)]
        occupancy.touched.clear()

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> bool:
        """Classify what is free from `now_us` on; what did not change is not looked at.

        Returns whether it must be asked again after the next instant even if nothing waits
        then and nothing is short.

        Parameters
        ----------
        now_us : int
            Present instant, after every decision at it.
        waiting : mapping of int to int
            Its keys are the wants of the waiting jobs: their classes, where nobody has more
            rights than another.
        short : frozenset of int
            Services whose demand exceeds the capacity of their replicas.
        """
        touched, classes = self._occupancy.touched, frozenset(waiting)
        if classes != self._classes or short != self._short:
            types = self._want(classes, short)
        elif touched:
            types = {}
        else:
            return bool(classes or short)
        changed: dict[int, list[int]] = {}
        for p in touched:
            self._book(p, now_us)
            changed.setdefault(self._layout.pool_type[p], []).append(p)
        touched.clear()
        types.update(dict.fromkeys(changed))
        spare_w = self._spare_w() - _W if self._caps_power else math.inf
        for t, mask in enumerate(self._wanted):
            if mask:
                asks = self._asks(t)
                if asks.several or asks.most_w > spare_w or self._near_cap[t]:
                    types[t] = None  # what changed elsewhere may change the answer here
        for t in types:
            self._classify(t, changed.get(t, ()), spare_w, now_us)
        return bool(classes or short)

    def close(self, end_us: int) -> IntArray:
        """Return accelerator-microseconds by pool and cause, shape (pools, causes)."""
        pools = range(len(self._amounts))
        for p in pools:
            self._book(p, end_us)
        return np.array(self._amounts, dtype=np.int64).reshape(len(pools), len(Cause))

    # --- what could be used ------------------------------------------------------

    def _want(self, classes: frozenset[int], services: frozenset[int]) -> dict[int, None]:
        """Take note of what waits from now on; return the types for which that is news."""
        ways, before, unwanted = self._ways, self._wanted, self._unwanted
        wanted = [0] * len(before)
        for c in classes:
            if c != HELD_BACK:
                for t, mask in ways.of_table[c]:
                    wanted[t] |= mask
        for s in services:
            for t, mask in ways.of_table[self._classes_known + s]:
                wanted[t] |= mask
        self._classes, self._short, self._wanted = classes, services, wanted
        self._unwanted = _INCOMPATIBLE if classes or services else _NO_DEMAND
        return {
            t: None
            for t, mask in enumerate(wanted)
            if mask != before[t] or (not mask and self._unwanted != unwanted)
        }

    def _asks(self, t: int) -> _Asks:
        """Return what those that wait for a type ask for."""
        key = t, self._wanted[t]
        found = self._asks_known.get(key)
        if found is None:
            if len(self._asks_known) >= _KNOWN_CAP:
                self._asks_known.clear()
            modes = [w.mode for i, w in enumerate(self._ways.of_type[t]) if key[1] >> i & 1]
            plain = [m for m in modes if len(m.groups) == 1 and m.share_milli == WHOLE_MILLI]
            found = self._asks_known[key] = _Asks(
                min((mode.groups[0].count for mode in plain), default=_NONE),
                tuple(mode for mode in modes if len(mode.groups) > 1),
                tuple(mode for mode in modes if mode.share_milli < WHOLE_MILLI),
                max(mode.power_w for mode in modes),
            )
        return found

    def _classify(self, t: int, changed: Iterable[int], spare_w: float, now_us: int) -> None:
        """Find what of a type could be used from now on, and why the rest could not."""
        reached: Reached = {}
        cause = self._unwanted
        if self._wanted[t]:
            asks, occupancy = self._asks(t), self._occupancy
            fits = asks.least <= occupancy.free_in_all(t) or any(
                occupancy.suffices(mode) for mode in (*asks.several, *asks.shares)
            )
            cause = _SHAPE if fits else _GANG_WAIT
            self._near_cap[t] = asks.most_w > spare_w
            reached = self._capped_reach(t) if self._near_cap[t] else self._plain_reach(t)
        again = dict.fromkeys(changed)
        if reached != self._reached[t]:
            differ = 0
            for key in reached.keys() | self._reached[t].keys():
                differ |= reached.get(key, 0) ^ self._reached[t].get(key, 0)
            for p in self._reach.pools(t, differ):
                self._book(p, now_us)
                again[p] = None
            self._reached[t] = reached
        if cause != self._cause[t]:
            self._tick(t, now_us)
            self._cause[t] = cause
        for p in again:
            self._count(p, reached)

    def _plain_reach(self, t: int) -> Reached:
        """Return what could be used where no power cap says no."""
        found: Reached = {}
        left, ways = self._reach.every(t), self._ways.of_type[t]
        wanted = self._wanted[t]
        while wanted and left:
            number = (wanted & -wanted).bit_length() - 1
            way = ways[number]
            here = self._reach.where(t, number) & left
            if here:
                left ^= here
                found[way.least, _NONE] = found.get((way.least, _NONE), 0) | here
            wanted &= ~way.kin
        return found

    def _capped_reach(self, t: int) -> Reached:
        """Return what could be used, and what but for the power cap."""
        found: Reached = {}
        left, ways = self._reach.every(t), self._ways.of_type[t]
        capped: list[tuple[int, int]] = []  # smallest slot, pools
        wanted = self._wanted[t]
        while wanted and left:
            number = (wanted & -wanted).bit_length() - 1
            way = ways[number]
            here = self._reach.where(t, number) & left
            if not here:
                wanted &= ~(way.kin if not self._reach.where(t, number) else 1 << number)
                continue
            wanted &= ~(1 << number)
            for site, inside in self._sites[t].items():
                some = here & inside
                if not some:
                    continue
                if self._cap_allows(way.mode, site):
                    left &= ~some
                    _share_out(found, way.least, some, capped)
                else:
                    for _, pools in capped:
                        some &= ~pools
                    capped.append((way.least, some))
        _share_out(found, _NONE, left, capped)
        found.pop((_NONE, _NONE), None)
        return found

    def _cap_allows(self, mode: Mode, site: int) -> bool:
        """Return whether the caps leave room for a mode that has a placement, here if it can."""
        where = self._occupancy
        placement = where.find(mode, barred=self._elsewhere[site]) or where.find(mode)
        return placement is not None and self._power_allows(mode, placement)

    # --- the books ---------------------------------------------------------------

    def _tick(self, t: int, now_us: int) -> list[int]:
        """Return how long each common cause has been that of the type."""
        clocks = self._clocks[t]
        clocks[self._cause[t]] += now_us - self._cause_since[t]
        self._cause_since[t] = now_us
        return clocks

    def _book(self, pool: int, now_us: int) -> None:
        """Book what was free since the pool was last booked.

        While nothing waits nobody takes note of what starts and ends: what was free then
        beyond what was known to be, or less, had the cause that its type has now.
        """
        elapsed_us = now_us - self._booked_until[pool]
        if not elapsed_us:
            return
        t, amounts = self._layout.pool_type[pool], self._amounts[pool]
        clocks, then = self._tick(t, now_us), self._clocks_then[pool]
        common, (policy, capped) = self._common[pool], self._usable[pool]
        for kind, cause in enumerate(_COMMON):
            amounts[cause] += common * (clocks[kind] - then[kind])
            then[kind] = clocks[kind]
        amounts[Cause.POLICY] += policy * elapsed_us
        amounts[Cause.POWER_CAP] += capped * elapsed_us
        free_us = self._occupancy.free_us(pool, now_us)
        known_us = (common + policy + capped) * elapsed_us
        amounts[_COMMON[self._cause[t]]] += free_us - self._free_us_then[pool] - known_us
        self._free_us_then[pool] = free_us
        self._booked_until[pool] = now_us

    def _count(self, pool: int, reached: Reached) -> None:
        """Count what of a pool could be used from now on."""
        policy = capped = 0
        place = self._reach.place(pool)
        for (allowed, but_for_cap), pools in reached.items():
            if pools & place:
                for free, nodes in self._occupancy.by_free(pool):
                    if free >= allowed:
                        policy += free * nodes.bit_count()
                    elif free >= but_for_cap:
                        capped += free * nodes.bit_count()
                break
        self._usable[pool] = policy, capped
        self._common[pool] = self._occupancy.pool_free[pool] - policy - capped


def _share_out(found: Reached, least: int, pools: int, capped: Iterable[tuple[int, int]]) -> None:
    """Note that `least` is enough in `pools`, beside what the power cap holds back there."""
    for most, some in capped:
        both = pools & some
        if both:
            found[least, most] = found.get((least, most), 0) | both
            pools ^= both
    if pools:
        found[least, _NONE] = found.get((least, _NONE), 0) | pools


def pools_elsewhere(problem: Problem) -> list[frozenset[int]]:
    """Return the pools of all other sites, by site."""
    return [
        frozenset(p for p, pool in enumerate(problem.pools) if pool.site_index != site)
        for site in range(len(problem.cluster.sites))
    ]
