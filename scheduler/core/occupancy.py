"""Which accelerators are free, by pool, and where a gang fits.

Nodes of a pool are interchangeable, so a pool keeps one bit mask per number of free
accelerators: bit ``i`` of mask ``f`` says that the pool's ``i``-th node is up and has at least
``f`` free. Finding a node is then a lowest-set-bit, whatever the fleet's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal

from scheduler.core.free_slots import FreeSlots
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Placement

_LOG: Final = 1024
"""Changes of a type that are kept."""

Fit = Literal["first", "best"]
"""First: lowest pool and node with room. Best: the tightest."""


@dataclass(frozen=True, slots=True)
class DomainPools:
    """A domain and its pools of one accelerator type."""

    domain: int
    pools: tuple[int, ...]


class Layout:
    """Look-ups that follow from a Problem and never change during a run.

    Attributes
    ----------
    node_pool, node_position : list of int
        Pool of each node and its place in that pool.
    type_pools : list of tuple of int
        Pools of each type.
    domains_of : dict
        ``(type_index, level) -> tuple of DomainPools`` for level 1 and up.
    first_mask : list of int
        Where the masks of each pool begin in `Occupancy.masks`: those of 0, 1, ... up to its
        node size, and one that is always empty.
    seats : list of tuple of int
        Of each node its bit in the masks, where those begin, its pool and its type.
    """

    __slots__ = (
        "_singles",
        "_within",
        "domains_of",
        "first_mask",
        "node_pool",
        "node_position",
        "pool_nodes",
        "pool_size",
        "pool_type",
        "problem",
        "seats",
        "type_pools",
    )

    def __init__(self, problem: Problem) -> None:
        nodes = len(problem.cluster.nodes)
        self.problem = problem
        self.node_pool = [0] * nodes
        self.node_position = [0] * nodes
        type_pools: list[list[int]] = [[] for _ in problem.types]
        grouped: dict[tuple[int, int], dict[int, list[int]]] = {}
        for p, pool in enumerate(problem.pools):
            type_pools[pool.type_index].append(p)
            for position, node in enumerate(pool.nodes):
                self.node_pool[node] = p
                self.node_position[node] = position
            for level, domain in enumerate(pool.domains, start=1):
                grouped.setdefault((pool.type_index, level), {}).setdefault(domain, []).append(p)
        self.type_pools = [tuple(pools) for pools in type_pools]
        self.domains_of = {
            key: tuple(DomainPools(d, tuple(ps)) for d, ps in sorted(by_domain.items()))
            for key, by_domain in grouped.items()
        }
        self._within = {
            (type_index, level, domain): tuple(pools)
            for (type_index, level), by_domain in grouped.items()
            for domain, pools in by_domain.items()
        }
        self.pool_type = [pool.type_index for pool in problem.pools]
        self.pool_size = [pool.size for pool in problem.pools]
        self.pool_nodes = [pool.nodes for pool in problem.pools]
        ends = accumulate((size + 2 for size in self.pool_size), initial=0)
        self.first_mask = list(ends)[:-1]
        self.seats = [
            (1 << position, self.first_mask[pool], pool, self.pool_type[pool])
            for position, pool in zip(self.node_position, self.node_pool, strict=True)
        ]
        self._singles: list[dict[int, Placement]] = [{} for _ in range(nodes)]

    def pools_within(self, domain: int, level: int, type_index: int) -> tuple[int, ...]:
        """Return the pools of a type inside a domain of a level."""
        return self._within.get((type_index, level, domain), ())

    def single(self, node: int, count: int) -> Placement:
        """Return the placement of `count` accelerators on one node, the same object each time."""
        made = self._singles[node]
        placement = made.get(count)
        if placement is None:
            placement = made[count] = Placement((node,), (count,))
        return placement


class Occupancy:
    """Free accelerators of every node, with fast search by pool.

    Attributes
    ----------
    free : list of int
        Free accelerators by node (0 while the node is down).
    masks : list of int
        ``masks[layout.first_mask[pool] + f]``: nodes of the pool that are up with at least `f`
        free, a bit each.
    pool_free, type_free : list of int
        Free accelerators by pool and by type.
    now_us : int
        Present instant, for `free_us`; set by whoever lets time pass.
    down : set of int
        Nodes that are down.
    log : list of list of int
        By type, the pools whose free accelerators changed, in order; the oldest are dropped.
    dropped : list of int
        By type, how many were.
    touched : dict of int to None
        Pools whose free accelerators changed; whoever keeps books on them empties it.
    returned : list of int
        Nodes that were down when something on them was released; whoever settles that empties
        it.
    """

    __slots__ = (
        "_moments_us", "_sums", "down", "dropped", "free", "layout", "log", "masks", "now_us",
        "pool_free", "returned", "touched", "type_free",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        pools = layout.problem.pools
        self.layout = layout
        self.free = [0] * len(layout.node_pool)
        self.masks: list[int] = []
        self.pool_free = [0] * len(pools)
        self.type_free = [0] * len(layout.problem.types)
        self.now_us = 0
        self._moments_us = [0] * len(pools)  # of all changes: how many, times when
        self.log: list[list[int]] = [[] for _ in layout.problem.types]
        self.dropped = [0] * len(layout.problem.types)
        self._sums = FreeSlots(layout.problem)
        self.down: set[int] = set()
        self.touched: dict[int, None] = {}
        self.returned: list[int] = []
        for p, pool in enumerate(pools):
            self.masks += [(1 << len(pool.nodes)) - 1] * (pool.size + 1) + [0]
            for node in pool.nodes:
                self.free[node] = pool.size
            self.pool_free[p] = pool.size * len(pool.nodes)
            self.type_free[pool.type_index] += self.pool_free[p]

    def copy(self) -> Occupancy:
        """Return an independent copy sharing only the layout."""
        twin = type(self).__new__(type(self))
        twin.layout = self.layout
        twin.free = self.free.copy()
        twin.masks = self.masks.copy()
        twin.pool_free = self.pool_free.copy()
        twin.type_free = self.type_free.copy()
        twin.now_us = self.now_us
        twin._moments_us = self._moments_us.copy()
        for t in range(len(self.log)):
            self._sums.correct(t, self.changed(t, self._sums.seen[t]), self.slots)
        twin.log = [[] for _ in self.log]
        twin.dropped = [0] * len(self.log)
        twin._sums = self._sums.copy()
        twin.down = self.down.copy()
        twin.touched = {}
        twin.returned = []
        return twin

    # --- changes -----------------------------------------------------------------

    def take(self, placement: Placement) -> None:
        """Occupy `placement`.

        Raises
        ------
        ValueError
            If a node has too few free accelerators or is down.
        """
        nodes, counts, free = placement.nodes, placement.counts, self.free
        if len(nodes) == 1 == len(counts) and free[nodes[0]] >= counts[0]:
            self._shift(nodes[0], -counts[0])  # the usual case, without a loop
            return
        for node, count in zip(nodes, counts, strict=True):
            if free[node] < count:  # a node that is down has none free
                raise ValueError(f"node {node} has {free[node]} free, {count} asked")
        for node, count in zip(nodes, counts, strict=True):
            self._shift(node, -count)

    def give(self, placement: Placement) -> None:
        """Release `placement` (parts on nodes that are down stay unavailable)."""
        nodes, counts, down = placement.nodes, placement.counts, self.down
        if len(nodes) == 1 and not down:
            self._shift(nodes[0], counts[0])
            return
        for node, count in zip(nodes, counts, strict=True):
            if node in down:
                self.returned.append(node)
            else:
                self._shift(node, count)

    def free_us(self, pool: int, now_us: int) -> int:
        """Return the accelerator-microseconds that the pool has been free from 0 to `now_us`."""
        return self.pool_free[pool] * now_us - self._moments_us[pool]

    def fits(self, placement: Placement) -> bool:
        """Return whether every node of `placement` has the room now."""
        free = self.free
        return all(free[n] >= c for n, c in zip(placement.nodes, placement.counts, strict=True))

    def set_down(self, node: int) -> None:
        """Take a node out of service; what is held there stays held."""
        self._shift(node, -self.free[node])
        bit, first, _, _ = self.layout.seats[node]
        self.masks[first] ^= bit
        self.down.add(node)

    def set_up(self, node: int, free: int | None = None) -> None:
        """Bring a node back with `free` accelerators; by default all of them."""
        bit, first, pool, _ = self.layout.seats[node]
        self.down.remove(node)
        self.masks[first] ^= bit
        self._shift(node, self.layout.pool_size[pool] if free is None else free)

    def withhold(self, node: int, count: int) -> None:
        """Take `count` free accelerators of a node out of service (negative: back)."""
        self._shift(node, -count)

    def _shift(self, node: int, delta: int) -> None:
        free, masks = self.free, self.masks
        bit, first, pool, kind = self.layout.seats[node]
        before = free[node]
        free[node] = after = before + delta
        at, last = (after, before) if delta < 0 else (before, after)
        at += first
        last += first
        while at < last:
            at += 1
            masks[at] ^= bit
        self.pool_free[pool] += delta
        self.type_free[kind] += delta
        self._moments_us[pool] += delta * self.now_us
        self.touched[pool] = None
        log = self.log[kind]
        if len(log) >= _LOG:
            self.dropped[kind] += len(log)
            log.clear()
        log.append(pool)

    def version(self, type_index: int) -> int:
        """Return how often free accelerators of a type have changed."""
        return self.dropped[type_index] + len(self.log[type_index])

    def changed(self, type_index: int, version: int) -> Iterable[int]:
        """Return pools of the type, among them all that have changed since that version."""
        since = version - self.dropped[type_index]
        if since < 0:
            return self.layout.type_pools[type_index]
        log = self.log[type_index]
        return dict.fromkeys(log[since:]) if since < len(log) else ()

    # --- search ------------------------------------------------------------------

    def by_free(self, pool: int) -> Iterator[tuple[int, int]]:
        """Yield each number of free accelerators, from 1, with the mask of nodes that have it."""
        masks, first = self.masks, self.layout.first_mask[pool]
        for free in range(1, self.layout.pool_size[pool] + 1):
            exactly = masks[first + free] ^ masks[first + free + 1]
            if exactly:
                yield free, exactly

    def has_node(self, pool: int, count: int) -> bool:
        """Return whether a node of the pool has `count` free."""
        layout = self.layout
        return layout.pool_size[pool] >= count and self.masks[layout.first_mask[pool] + count] > 0

    def slots(self, pool: int, per_node: int) -> int:
        """Return how many slots of `per_node` accelerators the pool has free."""
        if self.pool_free[pool] < per_node:
            return 0
        if per_node == 1:
            return self.pool_free[pool]
        size, first = self.layout.pool_size[pool], self.layout.first_mask[pool]
        if per_node <= size < 2 * per_node:  # a node holds one slot at most
            return self.masks[first + per_node].bit_count()
        return sum(
            [m.bit_count() for m in self.masks[first + per_node : first + size + 1 : per_node]]
        )

    def holds(self, mode: Mode) -> bool:
        """Return whether `find` would find a placement, without looking for the best one."""
        for group in mode.groups:
            if self.type_free[group.type_index] < group.count:
                return False
        if mode.level == 0:
            first = mode.groups[0]
            pools = self.layout.type_pools[first.type_index]
            return any(self.has_node(p, first.count) for p in pools)
        return next(self._with_room(mode), None) is not None

    def find(
        self, mode: Mode, fit: Fit = "best", barred: Set[int] = frozenset()
    ) -> Placement | None:
        """Return a legal placement of `mode` on free accelerators, or None.

        Complexity O(pools of the type x node size), independent of the number of nodes.

        Parameters
        ----------
        mode : Mode
            What to place.
        fit : {"first", "best"}
            Which of the possible places.
        barred : set of int
            Pools to leave alone; a domain that contains one of the mode's types only in part
            is used for the rest.
        """
        if mode.level:
            return self._find_in_domain(mode, fit, barred)
        (group,) = mode.groups
        count, kind = group.count, group.type_index
        if self.type_free[kind] < count:
            return None
        layout, masks = self.layout, self.masks
        least = 1 << 62  # free accelerators on the tightest node so far
        found = -1, 0  # its pool, and the mask of those as tight
        for pool in layout.type_pools[kind]:
            if layout.pool_size[pool] < count or (barred and pool in barred):
                continue
            at = layout.first_mask[pool] + count
            enough = masks[at]
            if not enough:
                continue
            if fit == "first":
                found = pool, enough
                break
            free = count
            while masks[at + 1] == enough:
                at += 1
                free += 1
            if free < least:
                least, found = free, (pool, enough ^ masks[at + 1])
                if free == count:
                    break
        pool, mask = found
        if not mask:
            return None
        position = (mask & -mask).bit_length() - 1
        return layout.single(layout.pool_nodes[pool][position], count)

    def _find_in_domain(self, mode: Mode, fit: Fit, barred: Set[int]) -> Placement | None:
        type_free = self.type_free
        for group in mode.groups:
            if type_free[group.type_index] < group.count:
                return None
        layout, level = self.layout, mode.level
        domains = self._with_room(mode, barred)
        if fit == "first":
            chosen = next(domains, None)
        else:
            free = [self._free_by_domain(g.type_index, 1) for g in mode.groups]
            rooms = ((sum([some[d] for some in free]), d) for d in domains)
            if barred:
                rooms = ((self._room(mode, d, barred), d) for d in domains)
            chosen = min(rooms, default=(0, None))[1]
        if chosen is None:
            return None
        taken: dict[int, int] = {}
        for group in mode.groups:
            pools = layout.pools_within(chosen, level, group.type_index)
            self._fill(group, _without(pools, barred), taken)
        nodes = tuple(sorted(taken))
        return Placement(nodes, tuple(taken[n] for n in nodes))

    def has_free(self) -> bool:
        """Return whether anything at all is free, be it a part of an accelerator."""
        return any(self.type_free)

    def free_parts(self, type_index: int) -> float:
        """Return the free accelerators of a type, with the parts of those that are shared."""
        return float(self.type_free[type_index])

    def free_in_all(self, type_index: int) -> int:
        """Return the free accelerators of a type, in whatever form."""
        return self.type_free[type_index]

    def suffices(self, mode: Mode) -> bool:
        """Return whether as much is free as `mode` asks for, in whatever form."""
        free = self.type_free
        return all(free[g.type_index] >= g.count for g in mode.groups)

    def has_room(self, mode: Mode, domain: int) -> bool:
        """Return whether `domain` (of the mode's level) holds a legal placement of `mode`."""
        return all(
            self._domain_holds(group, mode.level, domain, self._free_by_domain(*_slot(group)))
            for group in mode.groups
        )

    def _with_room(self, mode: Mode, barred: Set[int] = frozenset()) -> Iterator[int]:
        """Yield the domains of the mode's level that hold it, in order."""
        layout, level, groups = self.layout, mode.level, mode.groups
        asks = [(g, g.count // g.per_node, self._free_by_domain(*_slot(g))) for g in groups]
        for entry in layout.domains_of.get((groups[0].type_index, level), ()):
            domain = entry.domain
            for group, least, free in asks:
                if free[domain] < least:
                    break
                if barred:
                    pools = layout.pools_within(domain, level, group.type_index)
                    if not self._has_room(group, _without(pools, barred)):
                        break
                elif not self._domain_holds(group, level, domain, free):
                    break
            else:
                yield domain

    def _free_by_domain(self, type_index: int, per_node: int) -> Sequence[int]:
        """Return the free slots of a type by domain."""
        sums, version = self._sums, self.dropped[type_index] + len(self.log[type_index])
        if sums.seen[type_index] != version:
            sums.correct(type_index, self.changed(type_index, sums.seen[type_index]), self.slots)
            sums.seen[type_index] = version
        return sums.of(type_index, per_node, self.layout.type_pools[type_index], self.slots)

    def _domain_holds(self, group: Group, level: int, domain: int, free: Sequence[int]) -> bool:
        whole, rest = divmod(group.count, group.per_node)
        slots = free[domain]
        if slots != whole or not rest:
            return slots >= whole
        # The remainder slot needs either a slot of its own or a node's leftover.
        pools = self.layout.pools_within(domain, level, group.type_index)
        return self._has_leftover(group, pools, rest)

    def _room(self, mode: Mode, domain: int, barred: Set[int]) -> int:
        within = (self.layout.pools_within(domain, mode.level, g.type_index) for g in mode.groups)
        return sum(self.pool_free[p] for pools in within for p in _without(pools, barred))

    def _has_room(self, group: Group, pools: Sequence[int]) -> bool:
        whole, rest = divmod(group.count, group.per_node)
        slots = sum([self.slots(p, group.per_node) for p in pools])
        if slots != whole or not rest:
            return slots >= whole
        return self._has_leftover(group, pools, rest)

    def _has_leftover(self, group: Group, pools: Sequence[int], rest: int) -> bool:
        return any(free % group.per_node >= rest for p in pools for free, _ in self.by_free(p))

    def _fill(self, group: Group, pools: Sequence[int], taken: dict[int, int]) -> None:
        """Choose nodes for `group`, given that it has room, tightest pool and node first."""
        per_node = group.per_node
        whole, rest = divmod(group.count, per_node)
        slots = {p: self.slots(p, per_node) for p in pools}
        enough = [p for p in pools if slots[p] >= whole + (1 if rest else 0)]
        if enough:  # one pool holds it all: the one it fills best
            order = [min(enough, key=lambda p: (slots[p], p))]
        else:  # few pools: the roomiest first
            order = sorted(pools, key=lambda p: (-slots[p], p))
        need = whole
        for pool in order:
            need = self._fill_pool(pool, per_node, need, taken)
            if not need:
                break
        if rest:
            self._fill_rest(pools if not enough else order, rest, taken)

    def _fill_pool(self, pool: int, per_node: int, need: int, taken: dict[int, int]) -> int:
        nodes = self.layout.pool_nodes[pool]
        for f, exactly in self.by_free(pool):
            mask = exactly if f >= per_node else 0
            while mask and need:
                low = mask & -mask
                mask ^= low
                use = min(f // per_node, need)
                taken[nodes[low.bit_length() - 1]] = use * per_node
                need -= use
            if not need:
                break
        return need

    def _fill_rest(self, pools: Sequence[int], rest: int, taken: dict[int, int]) -> None:
        best: tuple[int, int] | None = None
        for pool in pools:
            for node in self.layout.pool_nodes[pool]:
                left = self.free[node] - taken.get(node, 0)
                if left >= rest and (best is None or (left, node) < best):
                    best = (left, node)
                    if left == rest:
                        break
        assert best is not None, "has_room said there is a place for the remainder"
        taken[best[1]] = taken.get(best[1], 0) + rest


def _slot(group: Group) -> tuple[int, int]:
    return group.type_index, group.per_node


def _without(pools: tuple[int, ...], barred: Set[int]) -> tuple[int, ...]:
    return tuple(p for p in pools if p not in barred) if barred else pools
