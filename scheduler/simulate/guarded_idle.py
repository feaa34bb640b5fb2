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
from scheduler.simulate.idle import IdleBook, Shapes, some_gang_fits


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
        By pool, what `IdleBook` finds of `where`.
    cap_allows : dict of int to dict
        By type, what the power cap says of `shapes`.
    """

    shapes: Shapes
    barred: frozenset[int]
    where: Occupancy
    reach: dict[int, tuple[int, int]] = field(default_factory=dict)
    cap_allows: dict[int, dict[tuple[int, int], bool]] = field(default_factory=dict)


class GuardedIdleBook(IdleBook):
    """Books free accelerator-time to causes, asking of each node who may use it.

    Parameters
    ----------
    problem, layout, ground
        Cluster and modes, look-ups, free accelerators and power.
    access : Access
        The rules on who may use what.
    """

    TRANSIENT = (*IdleBook.TRANSIENT, "_able_known")

    def __init__(self, problem: Problem, layout: Layout, ground: Ground, access: Access) -> None:
        super().__init__(problem, layout, ground.occupancy, ground.power_allows)
        self._access = access
        self._able_known: dict[tuple[int, tuple[bool, ...]], Shapes] = {}

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
                found.append(Claim(self._shapes_of((), ()), frozenset(), occupancy))
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
        fits = any(some_gang_fits(claim.shapes[t], claim.where) for claim in here)
        return Cause.SHAPE if fits else Cause.GANG_WAIT
