"""Why free accelerators are free where not everybody may use everything.

The definition is that of `scheduler.simulate.idle`, with what each want may use in the place
of what is free: its shapes are the modes that its quota has room for, a node that is not for
it (labels, reservations) is none of its own, and gangs are placed, and accelerators counted,
on what it may take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.reach import smallest_slot
from scheduler.core.workload import HELD_BACK, IntArray
from scheduler.simulate.access import Access
from scheduler.simulate.ground import Ground
from scheduler.simulate.idle import pools_elsewhere

Shapes = tuple[tuple[tuple[int, Mode], ...], ...]
"""By accelerator type, every distinct way in which something that waits may use it, each with
the size of its smallest slot on this type, the smallest first."""

Rates = tuple[tuple[Cause, int], ...]
"""Free accelerators of a pool by cause, each once."""

_NONE: Final = 1 << 30
"""More free accelerators than any node has."""


@dataclass(slots=True)
class Claim:
    """Something that waits, and what it may use.

    Parameters
    ----------
    shapes : Shapes
        Of the modes that its quota has room for.
    barred : frozenset of int
        Nodes that are not for it.
    where : Occupancy
        What it may use of what is free.
    reach : dict of int to tuple of int
        By pool, what `GuardedIdleBook` finds of `where`.
    cap_allows : dict of int to dict
        By type, what the power cap says of `shapes`.
    """

    shapes: Shapes
    barred: frozenset[int]
    where: Occupancy
    reach: dict[int, tuple[int, int]] = field(default_factory=dict)
    cap_allows: dict[int, dict[tuple[int, int], bool]] = field(default_factory=dict)


class GuardedIdleBook:
    """Books free accelerator-time to causes, asking of each node who may use it.

    Parameters
    ----------
    problem, layout, ground
        Cluster and modes, look-ups, free accelerators and power.
    access : Access
        The rules on who may use what.
    """

    TRANSIENT: tuple[str, ...] = ("_able_known", "_elsewhere")

    def __init__(self, problem: Problem, layout: Layout, ground: Ground, access: Access) -> None:
        pools = len(problem.pools)
        self._problem = problem
        self._layout = layout
        self._occupancy = ground.occupancy
        self._power_allows = ground.power_allows
        self._caps_power = any(s.power_cap_w is not None for s in problem.cluster.sites)
        self._elsewhere = pools_elsewhere(problem)
        self._access = access
        self._able_known: dict[tuple[int, tuple[bool, ...]], Shapes] = {}
        self._nothing: Shapes = ((),) * len(problem.types)
        self._rates: list[Rates] = [
            ((Cause.NO_DEMAND, free),) for free in self._occupancy.pool_free
        ]
        self._since = [0] * pools
        self._amounts = [[0] * len(Cause) for _ in range(pools)]
        self._occupancy.touched.clear()

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> bool:
        """Classify what is free from `now_us` on (see `IdleBook.refresh`)."""
        occupancy, layout = self._occupancy, self._layout
        claims = self._claims(waiting, short) if any(occupancy.type_free) else []
        own = [c for c in claims if c.barred or c.where is not occupancy]
        for pool, nodes in enumerate(layout.pool_nodes):
            rates: dict[Cause, int] = {}
            if not occupancy.pool_free[pool]:
                self._set(pool, (), now_us)
                continue
            if not own:  # nodes with as much free are alike: one of each answers for all
                alike = [
                    (nodes[(mask & -mask).bit_length() - 1], free * mask.bit_count())
                    for free, mask in occupancy.by_free(pool)
                ]
            else:
                alike = self._alike(nodes, own)
            for node, free in alike:
                cause = self._why(claims, node, pool) if claims else Cause.NO_DEMAND
                rates[cause] = rates.get(cause, 0) + free
            self._set(pool, tuple(rates.items()), now_us)
        occupancy.touched.clear()
        return True

    def close(self, end_us: int) -> IntArray:
        """Return accelerator-microseconds by pool and cause, shape (pools, causes)."""
        for p, rates in enumerate(self._rates):
            self._set(p, rates, end_us)
        return np.array(self._amounts, dtype=np.int64).reshape(len(self._rates), len(Cause))

    def _set(self, pool: int, rates: Rates, now_us: int) -> None:
        """Book what is free to the causes so far; from `now_us` on it goes to others."""
        elapsed, amounts = now_us - self._since[pool], self._amounts[pool]
        for cause, count in self._rates[pool]:
            amounts[cause] += count * elapsed
        self._rates[pool] = rates
        self._since[pool] = now_us

    def _alike(self, nodes: tuple[int, ...], own: list[Claim]) -> list[tuple[int, int]]:
        """Return one node of each kind, and the free accelerators of all nodes of the kind."""
        kinds: dict[tuple[object, ...], tuple[int, int]] = {}
        for node in nodes:
            free = self._occupancy.free[node]
            if free:
                key = (free, *((c.where.free[node], node in c.barred) for c in own))
                first, total = kinds.get(key, (node, 0))
                kinds[key] = first, total + free
        return list(kinds.values())

    def _claims(self, waiting: Mapping[int, int], short: frozenset[int]) -> list[Claim]:
        """Return everything that waits, with what it may use."""
        access, problem, occupancy = self._access, self._problem, self._occupancy
        found = []
        for want in sorted(waiting):
            if want == HELD_BACK:
                found.append(Claim(self._nothing, frozenset(), occupancy))
                continue
            modes = problem.modes[access.class_of(want)]
            able = self._able(modes, [access.permits(want, mode) for mode in modes])
            found.append(Claim(able, access.barred(want), access.hide(want, occupancy)))
        for service in sorted(short):
            modes = problem.service_modes[service]
            able = self._able(modes, [access.permits_replica(service, mode) for mode in modes])
            found.append(Claim(able, access.reserved_nodes(), access.hide_reserved(occupancy)))
        return found

    def _able(self, modes: tuple[Mode, ...], permitted: list[bool]) -> Shapes:
        """Return the shapes of the modes that are permitted."""
        key = id(modes), tuple(permitted)
        if key not in self._able_known:
            able = (mode for mode, may in zip(modes, permitted, strict=True) if may)
            self._able_known[key] = self._by_type(able)
        return self._able_known[key]

    def _by_type(self, modes: Iterable[Mode]) -> Shapes:
        seen: list[dict[tuple[object, ...], Mode]] = [{} for _ in self._problem.types]
        for mode in modes:
            power = mode.power_w if self._caps_power else 0.0
            for group in mode.groups:
                seen[group.type_index].setdefault((mode.level, mode.groups, power), mode)
        found = [
            [(smallest_slot(mode, t), mode) for mode in here.values()]
            for t, here in enumerate(seen)
        ]
        return tuple(tuple(sorted(here, key=itemgetter(0))) for here in found)

    def _why(self, claims: list[Claim], node: int, pool: int) -> Cause:
        """Return why the free accelerators of one node are free."""
        t = self._layout.pool_type[pool]
        here = [claim for claim in claims if node not in claim.barred and claim.shapes[t]]
        if not here:
            return Cause.INCOMPATIBLE
        held_back = False
        for claim in here:
            if pool not in claim.reach:
                cap_allows = claim.cap_allows.setdefault(t, {})
                claim.reach[pool] = self._reach(claim.shapes[t], pool, claim.where, cap_allows)
            allowed, capped = claim.reach[pool]
            if claim.where.free[node] >= allowed:
                return Cause.POLICY
            if claim.where.free[node] >= capped:
                held_back = True
        if held_back:
            return Cause.POWER_CAP
        fits = any(c.where.suffices(mode) for c in here for _, mode in c.shapes[t])
        return Cause.SHAPE if fits else Cause.GANG_WAIT

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
