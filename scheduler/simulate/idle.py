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

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import Placement
from scheduler.core.workload import HELD_BACK, IntArray

Shapes = tuple[tuple[Mode, ...], ...]
"""By accelerator type, every distinct way in which something that waits may use it."""

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

    TRANSIENT = ("_known",)

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
        self._rates: list[dict[Cause, int]] = [{} for _ in range(pools)]
        self._since = [0] * pools
        self._amounts = [[0] * len(Cause) for _ in range(pools)]
        self._known: dict[tuple[frozenset[int], frozenset[int]], Shapes] = {}
        self._classes = self._short = _NOTHING
        self._set_shapes(_NOTHING, _NOTHING)
        occupancy.touched[:] = range(pools)

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> None:
        """Classify what is free from `now_us` on; what did not change is not looked at.

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
        touched = self._occupancy.touched
        classes = frozenset(waiting) if waiting else _NOTHING
        if classes != self._classes or short != self._short:
            self._classes, self._short = classes, short
            self._set_shapes(classes, short)
            every = True
        elif not touched:
            return
        else:
            every = self._linked
        layout = self._layout
        if not every and len(touched) == 1 and layout.pool_type[touched[0]] not in self._wanted:
            (p,) = touched  # the usual case where nothing waits
            free = self._occupancy.pool_free[p]
            self._set(p, {self._unwanted: free} if free else {}, now_us)
            touched.clear()
            return
        if every:
            pools: Iterable[int] = range(len(self._rates))
            types: Iterable[int] = self._wanted
        else:
            pools = touched if len(touched) == 1 else dict.fromkeys(touched)
            types = self._wanted and sorted(self._wanted & {layout.pool_type[p] for p in pools})
        pool_free, pool_type, wanted = self._occupancy.pool_free, layout.pool_type, self._wanted
        for p in pools:
            if pool_type[p] not in wanted:
                free = pool_free[p]
                self._set(p, {self._unwanted: free} if free else {}, now_us)
        for t in types:
            self._classify(t, layout.type_pools[t], self._shapes[t], now_us)
        touched.clear()

    def close(self, end_us: int) -> IntArray:
        """Return accelerator-microseconds by pool and cause, shape (pools, causes)."""
        for p in range(len(self._rates)):
            self._set(p, {}, end_us)
        return np.array(self._amounts, dtype=np.int64).reshape(len(self._rates), len(Cause))

    def _set(self, pool: int, rates: dict[Cause, int], now_us: int) -> None:
        old = self._rates[pool]
        if old == rates:
            return
        elapsed = now_us - self._since[pool]
        if elapsed and old:
            amounts = self._amounts[pool]
            for cause, count in old.items():
                amounts[cause] += count * elapsed
        self._rates[pool] = rates
        self._since[pool] = now_us

    def _set_shapes(self, classes: frozenset[int], services: frozenset[int]) -> None:
        """Take note of what waits from now on."""
        key = (classes, services)
        shapes = self._known.get(key)
        if shapes is None:
            if len(self._known) >= _KNOWN_CAP:
                self._known.clear()
            shapes = self._known[key] = self._shapes_of(classes, services)
        self._shapes = shapes
        self._wanted = frozenset(t for t, here in enumerate(shapes) if here)
        self._unwanted = Cause.INCOMPATIBLE if classes or services else Cause.NO_DEMAND
        self._linked = self._caps_power or any(len(m.groups) > 1 for ms in shapes for m in ms)

    def _shapes_of(self, classes: Iterable[int], services: Iterable[int]) -> Shapes:
        problem = self._problem
        seen: list[dict[tuple[object, ...], Mode]] = [{} for _ in problem.types]
        tables = [problem.modes[c] for c in sorted(classes) if c != HELD_BACK]
        tables += [problem.service_modes[s] for s in sorted(services)]
        for modes in tables:
            for mode in modes:
                power = mode.power_w if self._caps_power else 0.0
                for group in mode.groups:
                    key = (mode.level, mode.groups, power)
                    seen[group.type_index].setdefault(key, mode)
        return tuple(tuple(found.values()) for found in seen)

    def _classify(
        self, t: int, pools: tuple[int, ...], here: tuple[Mode, ...], now_us: int
    ) -> None:
        occupancy = self._occupancy
        if not occupancy.type_free[t]:
            for p in pools:
                if self._rates[p]:
                    self._set(p, {}, now_us)
            return
        by_site: dict[int, list[tuple[Mode, bool]]] = {}
        blocked = Cause.SHAPE if self._some_gang_fits(here) else Cause.GANG_WAIT
        for p in pools:
            if not occupancy.pool_free[p]:
                self._set(p, {}, now_us)
                continue
            site = self._problem.pools[p].site_index if self._caps_power else 0
            if site not in by_site:
                by_site[site] = self._startable(here, site, occupancy)
            startable = by_site[site]
            allowed = capped = _NONE
            if startable:
                allowed = self._least_slot(startable, p, t, occupancy, power_ok=True)
                capped = self._least_slot(startable, p, t, occupancy, power_ok=False)
            rates: dict[Cause, int] = {}
            for f, nodes in enumerate(occupancy.counts[p]):
                if not f or not nodes:
                    continue
                if f >= allowed:
                    cause = Cause.POLICY
                elif f >= capped:
                    cause = Cause.POWER_CAP
                else:
                    cause = blocked
                rates[cause] = rates.get(cause, 0) + f * nodes
            self._set(p, rates, now_us)

    def _startable(
        self, here: tuple[Mode, ...], site: int, where: Occupancy
    ) -> list[tuple[Mode, bool]]:
        """Return the modes with a legal placement, and whether the site's cap allows it."""
        if not self._caps_power:
            return [(mode, True) for mode in here if where.holds(mode)]
        pools = self._problem.pools
        barred = frozenset(p for p, pool in enumerate(pools) if pool.site_index != site)
        found = []
        for mode in here:
            inside = where.find(mode, barred=barred)
            placement = inside or where.find(mode)
            if placement is not None:
                found.append((mode, self._power_allows(mode, placement)))
        return found

    def _some_gang_fits(self, here: tuple[Mode, ...]) -> bool:
        free = self._occupancy.type_free
        return any(all(free[g.type_index] >= g.count for g in m.groups) for m in here)

    def _least_slot(
        self,
        startable: list[tuple[Mode, bool]],
        pool: int,
        t: int,
        where: Occupancy,
        *,
        power_ok: bool,
    ) -> int:
        """Return the smallest free count of a node of `pool` that a startable shape can use."""
        least = _NONE
        for mode, allowed in startable:
            if allowed is not power_ok:
                continue
            for group in mode.groups:
                if group.type_index != t or group.slots[-1] >= least:
                    continue
                if mode.level:
                    domain = self._problem.pools[pool].domains[mode.level - 1]
                    if not where.has_room(mode, domain):
                        continue
                least = group.slots[-1]
        return least
