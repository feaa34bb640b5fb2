"""Why free accelerators are free where not everybody may use everything.

The definition is that of `scheduler.simulate.idle`, with what each want may use in the place
of what is free: its shapes are the modes that its quota has room for, a node that is not for
it (labels, reservations) is none of its own, and gangs are placed, and accelerators counted,
on what it may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode, Problem
from scheduler.core.workload import HELD_BACK
from scheduler.simulate.access import Access
from scheduler.simulate.ground import Ground
from scheduler.simulate.idle import IdleBook


@dataclass(slots=True)
class Claim:
    """Something that waits, and what it may use.

    Parameters
    ----------
    modes : tuple of Mode
        Those its quota has room for.
    barred : frozenset of int
        Nodes that are not for it.
    where : Occupancy
        What it may use of what is free.
    startable : dict of int to list
        By site, the modes with a placement, and whether the site's cap allows it.
    """

    modes: tuple[Mode, ...]
    barred: frozenset[int]
    where: Occupancy
    startable: dict[int, list[tuple[Mode, bool]]] = field(default_factory=dict)


class GuardedIdleBook(IdleBook):
    """Books free accelerator-time to causes, asking of each node who may use it.

    Parameters
    ----------
    problem, layout, ground
        Cluster and modes, look-ups, free accelerators and power.
    access : Access
        The rules on who may use what.
    """

    def __init__(self, problem: Problem, layout: Layout, ground: Ground, access: Access) -> None:
        super().__init__(problem, layout, ground.occupancy, ground.power_allows)
        self._access = access

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> None:
        """Classify what is free from `now_us` on (see `IdleBook.refresh`)."""
        occupancy, layout = self._occupancy, self._layout
        claims = self._claims(waiting, short) if any(occupancy.type_free) else []
        own = [c for c in claims if c.barred or c.where is not occupancy]
        for pool, size in enumerate(layout.pool_size):
            rates: dict[Cause, int] = {}
            if not occupancy.pool_free[pool]:
                self._set(pool, rates, now_us)
                continue
            nodes = layout.pool_nodes[pool]
            if not own:  # nodes with as much free are alike: one of each answers for all
                counts, masks = occupancy.counts[pool], occupancy.masks[pool]
                alike = [
                    (nodes[(masks[f] & -masks[f]).bit_length() - 1], f * counts[f])
                    for f in range(1, size + 1)
                    if counts[f]
                ]
            else:
                alike = self._alike(nodes, own)
            for node, free in alike:
                cause = self._why(claims, node, pool) if claims else Cause.NO_DEMAND
                rates[cause] = rates.get(cause, 0) + free
            self._set(pool, rates, now_us)
        occupancy.touched.clear()

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
                found.append(Claim((), frozenset(), occupancy))
                continue
            modes = problem.modes[access.class_of(want)]
            able = tuple(mode for mode in modes if access.permits(want, mode))
            found.append(Claim(able, access.barred(want), access.hide(want, occupancy)))
        for service in sorted(short):
            modes = problem.service_modes[service]
            able = tuple(mode for mode in modes if access.permits_replica(service, mode))
            found.append(Claim(able, access.reserved_nodes(), access.hide_reserved(occupancy)))
        return found

    def _why(self, claims: list[Claim], node: int, pool: int) -> Cause:
        """Return why the free accelerators of one node are free."""
        t = self._layout.pool_type[pool]
        here = [
            claim
            for claim in claims
            if node not in claim.barred
            and any(g.type_index == t for m in claim.modes for g in m.groups)
        ]
        if not here:
            return Cause.INCOMPATIBLE
        capped = False
        site = self._problem.pools[pool].site_index if self._caps_power else 0
        for claim in here:
            if site not in claim.startable:
                claim.startable[site] = self._startable(claim.modes, site, claim.where)
            startable, free = claim.startable[site], claim.where.free[node]
            if free >= self._least_slot(startable, pool, t, claim.where, power_ok=True):
                return Cause.POLICY
            if free >= self._least_slot(startable, pool, t, claim.where, power_ok=False):
                capped = True
        if capped:
            return Cause.POWER_CAP
        fits = any(
            any(g.type_index == t for g in m.groups)
            and all(claim.where.type_free[g.type_index] >= g.count for g in m.groups)
            for claim in here
            for m in claim.modes
        )
        return Cause.SHAPE if fits else Cause.GANG_WAIT
