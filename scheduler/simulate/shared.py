"""The ledger of shared accelerators: what sharers hold, and why the rest of each is idle.

A sharer holds its share; what is left of an open accelerator is idle, and booked to a cause by
the same questions as an accelerator that is free. With *rest* the part of one that is left:

- nothing waits: ``no_demand``;
- jobs wait, none may use this type: ``incompatible``;
- a share that waits has room in this rest, by its size and its memory, and its node takes
  jobs: ``policy``, or ``power_cap`` where the cap forbids each of them;
- some waiting job asks for at most what is free of the type, rests counted: ``shape``;
- else ``gang_wait``.

Amounts are counted in thousandths of an accelerator times microseconds, exactly. What sharers
hold and leave of a pool comes to whole accelerator-microseconds together, as an open
accelerator is one; each cause gets its own, rounded down, and those with the largest remainders
one more until the sum is right (Hamilton's method; of equal ones the first).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.ledger import Cause
from scheduler.core.occupancy import Layout
from scheduler.core.problem import Mode, Problem
from scheduler.core.run import AllocationColumns, Placement
from scheduler.core.sharing import SharedOccupancy, placed
from scheduler.core.units import WHOLE_MILLI
from scheduler.core.workload import HELD_BACK, IntArray
from scheduler.simulate.access import Access
from scheduler.simulate.ground import Ground
from scheduler.simulate.guarded_idle import GuardedIdleBook
from scheduler.simulate.held import splits_us
from scheduler.simulate.idle import IdleBook
from scheduler.simulate.power_meter import flat_by_mode

PowerAllows = Callable[[Mode, Placement], bool]

_Rates = tuple[tuple[Cause, int], ...] | Cause
"""Thousandths left in a pool by cause; a cause alone: all of them, however many."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """Jobs or a service that wait: the modes they may have, and what they may use for them."""

    by_type: tuple[tuple[Mode, ...], ...]
    barred: frozenset[int]
    where: SharedOccupancy


class RestBook:
    """Books what is left of open accelerators to causes, pool by pool.

    Parameters
    ----------
    problem : Problem
        Cluster and modes.
    layout : Layout
        Its look-ups.
    occupancy : SharedOccupancy
        What is left, live.
    power_allows : callable
        Whether the caps leave room for a mode on a placement.
    access : Access or None
        The rules on who may use what.
    """

    TRANSIENT: tuple[str, ...] = ("_modes_of",)

    def __init__(
        self,
        problem: Problem,
        layout: Layout,
        occupancy: SharedOccupancy,
        power_allows: PowerAllows,
        access: Access | None,
    ) -> None:
        pools = len(problem.pools)
        self._problem = problem
        self._layout = layout
        self._occupancy = occupancy
        self._power_allows = power_allows
        self._access = access
        self._rates: list[_Rates] = [Cause.NO_DEMAND] * pools
        self._since = [0] * pools  # instant, or where a cause stands alone, left until then
        self._amounts = [[0] * len(Cause) for _ in range(pools)]
        self._modes_of: dict[object, tuple[tuple[Mode, ...], ...]] = {}
        self._waits: object = None
        self._linked = False  # whether what changes on one type may decide causes on another
        self._caps_power = any(s.power_cap_w is not None for s in problem.cluster.sites)

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> None:
        """Classify what is left from `now_us` on; see `IdleBook.refresh`."""
        waits = (frozenset(waiting), short)
        pools: Iterable[int] = range(len(self._rates))
        if waits == self._waits and self._access is None:
            touched = self._occupancy.touched
            if not touched:
                return
            if not self._linked:
                types = {self._layout.pool_type[p] for p in touched}
                pools = [p for t in sorted(types) for p in self._layout.type_pools[t]]
        claims = self._claims(waiting, short)
        if waits != self._waits:
            self._waits = waits
            modes = {m for claim in claims for here in claim.by_type for m in here}
            self._linked = self._caps_power or any(len(m.groups) > 1 for m in modes)
        for pool in pools:
            self._set(pool, self._causes(claims, pool), now_us)

    def close(self, end_us: int) -> list[list[int]]:
        """Return thousandths times microseconds by pool and cause."""
        for pool, rates in enumerate(self._rates):
            self._set(pool, rates, end_us)
        return self._amounts

    def _set(self, pool: int, rates: _Rates, now_us: int) -> None:
        """Book what is left to the causes so far; from `now_us` on it goes to others."""
        occupancy, old, amounts = self._occupancy, self._rates[pool], self._amounts[pool]
        if isinstance(old, tuple):
            for cause, milli in old:
                amounts[cause] += milli * (now_us - self._since[pool])
        else:
            amounts[old] += occupancy.rest_us(pool, now_us) - self._since[pool]
        self._rates[pool] = rates
        self._since[pool] = now_us if isinstance(rates, tuple) else occupancy.rest_us(pool, now_us)

    # --- who waits ---------------------------------------------------------------

    def _claims(self, waiting: Mapping[int, int], short: frozenset[int]) -> list[_Claim]:
        problem, access, occupancy = self._problem, self._access, self._occupancy
        found: list[_Claim] = []
        for want in sorted(waiting):
            if want == HELD_BACK:
                found.append(_Claim(self._by_type(()), frozenset(), occupancy))
            elif access is None:
                found.append(_Claim(self._by_type(problem.modes[want]), frozenset(), occupancy))
            else:
                modes = problem.modes[access.class_of(want)]
                able = tuple(m for m in modes if access.permits(want, m))
                where = access.hide(want, occupancy)
                assert isinstance(where, SharedOccupancy)
                found.append(_Claim(self._by_type(able), access.barred(want), where))
        for service in sorted(short):
            modes, barred, hidden = problem.service_modes[service], frozenset[int](), occupancy
            if access is not None:
                modes = tuple(m for m in modes if access.permits_replica(service, m))
                barred = access.reserved_nodes()
                where = access.hide_reserved(occupancy)
                assert isinstance(where, SharedOccupancy)
                hidden = where
            found.append(_Claim(self._by_type(modes), barred, hidden))
        return found

    def _by_type(self, modes: Sequence[Mode]) -> tuple[tuple[Mode, ...], ...]:
        """Return modes by the types that they use."""
        key = tuple(map(id, modes))
        if key not in self._modes_of:
            types = range(len(self._problem.types))
            self._modes_of[key] = tuple(
                tuple(m for m in modes if any(g.type_index == t for g in m.groups)) for t in types
            )
        return self._modes_of[key]

    # --- why ---------------------------------------------------------------------

    def _causes(self, claims: list[_Claim], pool: int) -> _Rates:
        if not claims:
            return Cause.NO_DEMAND
        occupancy, t = self._occupancy, self._layout.pool_type[pool]
        here = [claim for claim in claims if claim.by_type[t]]
        if not here:
            return Cause.INCOMPATIBLE
        rates: dict[Cause, int] = {}
        if not occupancy.pool_rest[pool]:
            return ()
        if self._access is None:
            size, nodes = self._layout.pool_size[pool], self._layout.pool_nodes[pool]
            for room, memory, mask in occupancy.rests(pool):
                node = nodes[((mask & -mask).bit_length() - 1) // size]
                cause = self._why(here, t, node, room, memory)
                rates[cause] = rates.get(cause, 0) + room * mask.bit_count()
            if occupancy.closed_rest[pool]:
                cause = self._blocked(here, t)
                rates[cause] = rates.get(cause, 0) + occupancy.closed_rest[pool]
            return tuple(rates.items())
        for node in self._layout.pool_nodes[pool]:
            mine = [claim for claim in here if node not in claim.barred]
            for _, room, memory in occupancy.open_on(node):
                if not mine:
                    cause = Cause.INCOMPATIBLE
                elif node in occupancy.down:
                    cause = self._blocked(mine, t)
                else:
                    cause = self._why(mine, t, node, room, memory)
                rates[cause] = rates.get(cause, 0) + room
        return tuple(rates.items())

    def _why(self, here: list[_Claim], t: int, node: int, room: int, memory: int) -> Cause:
        """Return why a rest on a node that is up is idle, of those that may use it."""
        held_back = False
        for claim in here:
            for mode in claim.by_type[t]:
                if (
                    mode.share_milli <= room
                    and mode.memory_bytes <= memory
                    and mode.share_milli < WHOLE_MILLI
                    and claim.where.usable(node)
                ):
                    if self._power_allows(mode, placed(mode, node, 0)):
                        return Cause.POLICY
                    held_back = True
        return Cause.POWER_CAP if held_back else self._blocked(here, t)

    def _blocked(self, here: list[_Claim], t: int) -> Cause:
        enough = any(claim.where.suffices(mode) for claim in here for mode in claim.by_type[t])
        return Cause.SHAPE if enough else Cause.GANG_WAIT


class SharedIdleBook:
    """The idle time of accelerators that are free, and of what is left of shared ones.

    Parameters
    ----------
    whole : IdleBook or GuardedIdleBook
        Of those that are free.
    rests : RestBook
        Of what is left.
    """

    def __init__(self, whole: IdleBook | GuardedIdleBook, rests: RestBook) -> None:
        self.rests = rests
        self._whole = whole

    def refresh(self, now_us: int, waiting: Mapping[int, int], short: frozenset[int]) -> bool:
        """Classify both; see `IdleBook.refresh`."""
        self.rests.refresh(now_us, waiting, short)
        return self._whole.refresh(now_us, waiting, short)

    def close(self, end_us: int) -> IntArray:
        """Return accelerator-microseconds by pool and cause of those that are free."""
        return self._whole.close(end_us)


def idle_book(
    problem: Problem, ground: Ground, access: Access | None
) -> IdleBook | GuardedIdleBook | SharedIdleBook:
    """Return the book that the idle time of a problem needs, and no more than that."""
    layout, allows = ground.layout, ground.power_allows
    whole: IdleBook | GuardedIdleBook
    if access is not None:
        whole = GuardedIdleBook(problem, layout, ground, access)
    else:
        whole = IdleBook(problem, layout, ground.occupancy, allows, ground.meter.spare_w)
    if ground.shared is None:
        return whole
    return SharedIdleBook(whole, RestBook(problem, layout, ground.shared, allows, access))


def shared_us(
    problem: Problem, layout: Layout, held: AllocationColumns, rests: Sequence[Sequence[int]]
) -> IntArray:
    """Return accelerator-microseconds by pool and cause of all accelerators that were shared.

    Parameters
    ----------
    problem, layout : Problem, Layout
        Modes, and the pools of nodes.
    held : AllocationColumns
        All allocations; those of whole accelerators are left out.
    rests : sequence of sequence of int
        From `RestBook.close`, at the end of `held`.
    """
    whole = np.array([[m // WHOLE_MILLI for m in row] for row in rests], dtype=np.int64)
    milli = np.array([[m % WHOLE_MILLI for m in row] for row in rests], dtype=np.int64)
    share, first = flat_by_mode(problem, lambda mode: mode.share_milli)
    milli_of = share[first[problem.workload.jobs.class_index[held.job]] + held.mode].astype(
        np.int64
    )
    sharers = np.flatnonzero(milli_of < WHOLE_MILLI)
    held, milli_of = held.rows(sharers), milli_of[sharers]
    pool = np.array(layout.node_pool, dtype=np.int64)[held.parts()[1]]
    for cause, each_us in splits_us(problem, held):
        amount = milli_of * each_us
        np.add.at(whole[:, cause], pool, amount // WHOLE_MILLI)
        np.add.at(milli[:, cause], pool, amount % WHOLE_MILLI)
    units: IntArray = milli // WHOLE_MILLI
    return whole + units + _rounded(milli % WHOLE_MILLI)


def _rounded(milli: IntArray) -> IntArray:
    """Return the units that go to the largest remainders of each row, shape as given."""
    more = np.zeros_like(milli)
    for row, remainders in enumerate(milli):
        units, left = divmod(int(remainders.sum()), WHOLE_MILLI)
        assert not left, "what sharers hold and leave are whole accelerators together"
        more[row, np.argsort(-remainders, kind="stable")[:units]] = 1
    return more
