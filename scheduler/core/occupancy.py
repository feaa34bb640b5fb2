"""Which accelerators are free, by pool, and where a gang fits.

Nodes of a pool are interchangeable, so a pool keeps one bit mask per number of free
accelerators: bit ``i`` of ``masks[pool][f]`` says that the pool's ``i``-th node is up and
has exactly ``f`` free. Finding a node is then a lowest-set-bit, whatever the fleet's size.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Placement

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
    """

    __slots__ = (
        "_singles",
        "domains_of",
        "node_bit",
        "node_pool",
        "node_position",
        "pool_nodes",
        "pool_size",
        "pool_type",
        "problem",
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
        self.pool_type = [pool.type_index for pool in problem.pools]
        self.pool_size = [pool.size for pool in problem.pools]
        self.pool_nodes = [pool.nodes for pool in problem.pools]
        self.node_bit = [1 << position for position in self.node_position]
        self._singles: list[dict[int, Placement]] = [{} for _ in range(nodes)]

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
    counts : list of list of int
        ``counts[pool][f]``: nodes of the pool that are up with exactly `f` free.
    pool_free, type_free : list of int
        Free accelerators by pool and by type.
    down : set of int
        Nodes that are down.
    touched : list of int
        Pools whose free accelerators changed, in order, with repeats; whoever keeps books on
        them empties it.
    """

    __slots__ = (
        "counts", "down", "free", "layout", "masks", "pool_free", "returned", "touched",
        "type_free",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        pools = layout.problem.pools
        self.layout = layout
        self.free = [0] * len(layout.node_pool)
        self.masks: list[list[int]] = []
        self.counts: list[list[int]] = []
        self.pool_free = [0] * len(pools)
        self.type_free = [0] * len(layout.problem.types)
        self.down: set[int] = set()
        self.touched: list[int] = []
        self.returned: list[int] = []
        for p, pool in enumerate(pools):
            self.masks.append([0] * pool.size + [(1 << len(pool.nodes)) - 1])
            self.counts.append([0] * pool.size + [len(pool.nodes)])
            for node in pool.nodes:
                self.free[node] = pool.size
            self.pool_free[p] = pool.size * len(pool.nodes)
            self.type_free[pool.type_index] += self.pool_free[p]

    def copy(self) -> Occupancy:
        """Return an independent copy sharing only the layout."""
        twin = Occupancy.__new__(Occupancy)
        twin.layout = self.layout
        twin.free = self.free.copy()
        twin.masks = [m.copy() for m in self.masks]
        twin.counts = [c.copy() for c in self.counts]
        twin.pool_free = self.pool_free.copy()
        twin.type_free = self.type_free.copy()
        twin.down = self.down.copy()
        twin.touched = []
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
        for node, count in zip(nodes, counts, strict=True):
            if free[node] < count:  # a node that is down has none free
                raise ValueError(f"node {node} has {free[node]} free, {count} asked")
        if len(nodes) == 1:  # the usual case, without a loop
            self._shift(nodes[0], -counts[0])
            return
        for node, count in zip(nodes, counts, strict=True):
            self._shift(node, -count)

    def give(self, placement: Placement) -> None:
        """Release `placement` (parts on nodes that are down stay unavailable)."""
        down = self.down
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            if node in down:
                self.returned.append(node)
            else:
                self._shift(node, count)

    def fits(self, placement: Placement) -> bool:
        """Return whether every node of `placement` has the room now."""
        free = self.free
        return all(free[n] >= c for n, c in zip(placement.nodes, placement.counts, strict=True))

    def set_down(self, node: int) -> None:
        """Take a node out of service; what is held there stays held."""
        self._shift(node, -self.free[node])
        pool, bit = self.layout.node_pool[node], self.layout.node_bit[node]
        self.masks[pool][0] &= ~bit
        self.counts[pool][0] -= 1
        self.down.add(node)

    def set_up(self, node: int, free: int | None = None) -> None:
        """Bring a node back with `free` accelerators; by default all of them."""
        pool, bit = self.layout.node_pool[node], self.layout.node_bit[node]
        self.down.remove(node)
        self.masks[pool][0] |= bit
        self.counts[pool][0] += 1
        self._shift(node, self.layout.pool_size[pool] if free is None else free)

    def withhold(self, node: int, count: int) -> None:
        """Take `count` free accelerators of a node out of service (negative: back)."""
        self._shift(node, -count)

    def _shift(self, node: int, delta: int) -> None:
        layout = self.layout
        pool = layout.node_pool[node]
        bit = layout.node_bit[node]
        before = self.free[node]
        after = before + delta
        masks, counts = self.masks[pool], self.counts[pool]
        masks[before] ^= bit
        masks[after] |= bit
        counts[before] -= 1
        counts[after] += 1
        self.free[node] = after
        self.pool_free[pool] += delta
        self.type_free[layout.pool_type[pool]] += delta
        self.touched.append(pool)

    # --- search ------------------------------------------------------------------

    def slots(self, pool: int, per_node: int) -> int:
        """Return how many slots of `per_node` accelerators the pool has free."""
        if self.pool_free[pool] < per_node:
            return 0
        if per_node == 1:
            return self.pool_free[pool]
        counts = self.counts[pool]
        if 2 * per_node >= len(counts):  # a node holds one slot at most
            return sum(counts[per_node:])
        total = 0
        for f in range(per_node, len(counts)):
            total += counts[f] * (f // per_node)
        return total

    def holds(self, mode: Mode) -> bool:
        """Return whether `find` would find a placement, without looking for the best one."""
        for group in mode.groups:
            if self.type_free[group.type_index] < group.count:
                return False
        first = mode.groups[0]
        if mode.level == 0:
            return any(
                self.pool_free[p] >= first.count and any(self.counts[p][first.count :])
                for p in self.layout.type_pools[first.type_index]
            )
        for entry in self.layout.domains_of.get((first.type_index, mode.level), ()):
            if self._has_room(first, entry.pools) and all(
                self._has_room(g, self._pools_within(entry.domain, mode.level, g.type_index))
                for g in mode.groups[1:]
            ):
                return True
        return False

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
        type_free = self.type_free
        for group in mode.groups:
            if type_free[group.type_index] < group.count:
                return None
        if mode.level == 0:
            return self._find_in_node(mode.groups[0], fit, barred)
        return self._find_in_domain(mode, fit, barred)

    def _find_in_node(self, group: Group, fit: Fit, barred: Set[int]) -> Placement | None:
        count = group.count
        pool_free = self.pool_free
        best: tuple[int, int] | None = None  # (free on the node, pool)
        for pool in self.layout.type_pools[group.type_index]:
            if pool_free[pool] < count or pool in barred:
                continue
            if fit == "first":
                union = 0
                for mask in self.masks[pool][count:]:
                    union |= mask
                if union:
                    position = (union & -union).bit_length() - 1
                    return self.layout.single(self.layout.pool_nodes[pool][position], count)
                continue
            counts = self.counts[pool]
            for f in range(count, len(counts)):
                if counts[f]:
                    if best is None or f < best[0]:
                        best = (f, pool)
                    break
            if best is not None and best[0] == count:
                break
        if best is None:
            return None
        f, pool = best
        mask = self.masks[pool][f]
        position = (mask & -mask).bit_length() - 1
        return self.layout.single(self.layout.pool_nodes[pool][position], count)

    def _find_in_domain(self, mode: Mode, fit: Fit, barred: Set[int]) -> Placement | None:
        first = mode.groups[0]
        tightest: tuple[int, int] | None = None
        chosen: list[tuple[int, ...]] = []
        for entry in self.layout.domains_of.get((first.type_index, mode.level), ()):
            pools = [entry.pools]
            for group in mode.groups[1:]:
                pools.append(self._pools_within(entry.domain, mode.level, group.type_index))
            if barred:
                pools = [tuple(p for p in ps if p not in barred) for ps in pools]
            if not all(map(self._has_room, mode.groups, pools)):
                continue
            room = sum([self.pool_free[p] for ps in pools for p in ps])
            if tightest is None or (room, entry.domain) < tightest:
                tightest, chosen = (room, entry.domain), pools
            if fit == "first":
                break
        if tightest is None:
            return None
        taken: dict[int, int] = {}
        for group, ps in zip(mode.groups, chosen, strict=True):
            self._fill(group, ps, taken)
        nodes = tuple(sorted(taken))
        return Placement(nodes, tuple(taken[n] for n in nodes))

    def has_room(self, mode: Mode, domain: int) -> bool:
        """Return whether `domain` (of the mode's level) holds a legal placement of `mode`."""
        for group in mode.groups:
            pools = self._pools_within(domain, mode.level, group.type_index)
            if not pools or not self._has_room(group, pools):
                return False
        return True

    def _pools_within(self, domain: int, level: int, type_index: int) -> tuple[int, ...]:
        for entry in self.layout.domains_of.get((type_index, level), ()):
            if entry.domain == domain:
                return entry.pools
        return ()

    def _has_room(self, group: Group, pools: Sequence[int]) -> bool:
        whole, rest = divmod(group.count, group.per_node)
        if not rest:
            slots = 0
            for p in pools:
                slots += self.slots(p, group.per_node)
                if slots >= whole:
                    return True
            return False
        slots = sum([self.slots(p, group.per_node) for p in pools])
        # The remainder slot needs either a slot of its own or a node's leftover.
        if slots > whole:
            return True
        return slots == whole and any(
            self.counts[p][f] and f % group.per_node >= rest
            for p in pools
            for f in range(len(self.counts[p]))
        )

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
        for f in range(per_node, len(self.masks[pool])):
            mask = self.masks[pool][f]
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
