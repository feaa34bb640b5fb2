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

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.workload import HELD_BACK, IntArray

Shapes = tuple[tuple[tuple[int, Mode], ...], ...]
"""By accelerator type, every distinct way in which something that waits may use it, each with
the size of its smallest slot on this type, the smallest first."""

Rates = tuple[tuple[Cause, int], ...] | Cause
"""Free accelerators of a pool by cause, each once; a cause alone: all of them, however many."""

_NOTHING: frozenset[int] = frozenset()
_NONE = 1 << 30
"""More free accelerators than any node has."""
_KNOWN_CAP = 4096
"""Sets of waiting classes whose shapes are kept."""


class IdleBook:
    """Books free accelerator-time to causes, lazily, pool by pool.

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
    """

    TRANSIENT: tuple[str, ...] = ("_known",)

    def __init__(
        self,
        problem: Problem,
        layout: Layout,
        occupancy: Occupancy,
        power_allows: Callable[[Mode, Placement], bool],
    ) -> None:
        pools = len(problem.pools)
        self._problem = problem
        self._layout = layout
        self._occupancy = occupancy
        self._power_allows = power_allows
        self._caps_power = any(s.power_cap_w is not None for s in problem.cluster.sites)
        self._elsewhere = [
            frozenset(p for p, pool in enumerate(problem.pools) if pool.site_index != site)
            for site in range(len(problem.cluster.sites))
        ]
        self._rates: list[Rates] = [Cause.NO_DEMAND] * pools
        self._since = [0] * pools  # instant, or where a cause stands alone, time free until then
        self._amounts = [[0] * len(Cause) for _ in range(pools)]
        self._known: dict[tuple[frozenset[int], frozenset[int]], Shapes] = {}
        self._shapes: Shapes = ((),) * len(problem.types)
        self._unwanted = Cause.NO_DEMAND
        self._classes = self._short = _NOTHING
        self._set_shapes(_NOTHING, _NOTHING)
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
            types = self._set_shapes(classes, short)
        elif touched:
            types = set()
        else:
            return bool(classes or short)
        pool_type, wanted = self._layout.pool_type, self._wanted
        for p in touched:
            if pool_type[p] in wanted:
                types.add(pool_type[p])
        touched.clear()
        if self._linked:
            types |= wanted
        for t in types:
            if t in wanted:
                self._classify(t, now_us)
            else:
                for p in self._layout.type_pools[t]:
                    self._set(p, self._unwanted, now_us)
        return bool(classes or short)

    def close(self, end_us: int) -> IntArray:
        """Return accelerator-microseconds by pool and cause, shape (pools, causes)."""
        for p, rates in enumerate(self._rates):
            self._set(p, rates, end_us)
        return np.array(self._amounts, dtype=np.int64).reshape(len(self._rates), len(Cause))

    def _set(self, pool: int, rates: Rates, now_us: int) -> None:
        """Book what is free to the causes so far; from `now_us` on it goes to others."""
        occupancy, old, amounts = self._occupancy, self._rates[pool], self._amounts[pool]
        if isinstance(old, tuple):
            elapsed = now_us - self._since[pool]
            for cause, count in old:
                amounts[cause] += count * elapsed
        else:
            amounts[old] += occupancy.free_us(pool, now_us) - self._since[pool]
        self._rates[pool] = rates
        self._since[pool] = now_us if isinstance(rates, tuple) else occupancy.free_us(pool, now_us)

    def _set_shapes(self, classes: frozenset[int], services: frozenset[int]) -> set[int]:
        """Take note of what waits from now on; return the types for which that is news."""
        before, unwanted = self._shapes, self._unwanted
        key = (classes, services)
        shapes = self._known.get(key)
        if shapes is None:
            if len(self._known) >= _KNOWN_CAP:
                self._known.clear()
            shapes = self._known[key] = self._shapes_of(classes, services)
        self._classes, self._short, self._shapes = classes, services, shapes
        self._wanted = frozenset(t for t, here in enumerate(shapes) if here)
        self._unwanted = Cause.INCOMPATIBLE if classes or services else Cause.NO_DEMAND
        self._linked = self._caps_power or any(len(m.groups) > 1 for ms in shapes for _, m in ms)
        return {
            t
            for t, here in enumerate(shapes)
            if here != before[t] or (not here and self._unwanted != unwanted)
        }

    def _shapes_of(self, classes: Iterable[int], services: Iterable[int]) -> Shapes:
        problem = self._problem
        tables = [problem.modes[c] for c in sorted(classes) if c != HELD_BACK]
        tables += [problem.service_modes[s] for s in sorted(services)]
        return self._by_type(mode for modes in tables for mode in modes)

    def _by_type(self, modes: Iterable[Mode]) -> Shapes:
        seen: list[dict[tuple[object, ...], Mode]] = [{} for _ in self._problem.types]
        for mode in modes:
            power = mode.power_w if self._caps_power else 0.0
            for group in mode.groups:
                seen[group.type_index].setdefault((mode.level, mode.groups, power), mode)
        found = [
            [(_smallest_slot(mode, t), mode) for mode in here.values()]
            for t, here in enumerate(seen)
        ]
        return tuple(tuple(sorted(here, key=itemgetter(0))) for here in found)

    def _classify(self, t: int, now_us: int) -> None:
        occupancy, here = self._occupancy, self._shapes[t]
        blocked: Cause | None = None
        cap_allows: dict[tuple[int, int], bool] = {}
        for p in self._layout.type_pools[t]:
            if not occupancy.pool_free[p]:
                if self._rates[p]:
                    self._set(p, (), now_us)
                continue
            allowed, capped = self._reach(here, p, occupancy, cap_allows)
            rates: dict[Cause, int] = {}
            for free, nodes in occupancy.by_free(p):
                if free >= allowed:
                    cause = Cause.POLICY
                elif free >= capped:
                    cause = Cause.POWER_CAP
                else:
                    if blocked is None:
                        fits = some_gang_fits(here, occupancy)
                        blocked = Cause.SHAPE if fits else Cause.GANG_WAIT
                    cause = blocked
                rates[cause] = rates.get(cause, 0) + free * nodes.bit_count()
            self._set(p, tuple(rates.items()), now_us)

    def _reach(
        self,
        here: Sequence[tuple[int, Mode]],
        pool: int,
        where: Occupancy,
        cap_allows: dict[tuple[int, int], bool],
    ) -> tuple[int, int]:
        """Return how many free accelerators make a node of the pool one that can be used now.

        That is the smallest slot of a gang that may start with a slot in the pool, and the
        smallest of one that only the power cap holds back. `cap_allows` keeps what the cap says,
        by position in `here` and site.
        """
        capped = _NONE
        fleet = self._problem.pools[pool]
        for position, (least, mode) in enumerate(here):
            if mode.level:
                if not where.has_room(mode, fleet.domains[mode.level - 1]):
                    continue
            elif not where.has_node(pool, mode.groups[0].count):
                continue
            if not self._caps_power:
                return least, capped
            key = position, fleet.site_index
            if key not in cap_allows:
                cap_allows[key] = self._cap_allows(mode, fleet.site_index, where)
            if cap_allows[key]:
                return least, capped
            capped = min(capped, least)
        return _NONE, capped

    def _cap_allows(self, mode: Mode, site: int, where: Occupancy) -> bool:
        """Return whether the caps leave room for a mode that has a placement, here if it can."""
        placement = where.find(mode, barred=self._elsewhere[site]) or where.find(mode)
        return placement is not None and self._power_allows(mode, placement)


def _smallest_slot(mode: Mode, t: int) -> int:
    return min(g.count % g.per_node or g.per_node for g in mode.groups if g.type_index == t)


def some_gang_fits(here: Iterable[tuple[int, Mode]], where: Occupancy) -> bool:
    """Return whether some shape asks for no more accelerators than are free, in whatever form."""
    free = where.type_free
    return any(all(free[g.type_index] >= g.count for g in mode.groups) for _, mode in here)
