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
    """

    def __init__(self, layout: Layout) -> None:
        pools = layout.problem.pools
        self.layout = layout
        self.free = [0] * len(layout.node_pool)
        self.masks: list[list[int]] = []
        self.counts: list[list[int]] = []
        self.pool_free = [0] * len(pools)
        self.type_free = [0] * len(layout.problem.types)
        self.down: set[int] = set()
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
        return twin

    # --- changes -----------------------------------------------------------------

    def take(self, placement: Placement) -> None:
        """Occupy `placement`.

        Raises
        ------
        ValueError
            If a node has too few free accelerators or is down.
        """
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            if self.free[node] < count or node in self.down:
                raise ValueError(f"node {node} has {self.free[node]} free, {count} asked")
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            self._shift(node, -count)

    def give(self, placement: Placement) -> None:
        """Release `placement` (parts on nodes that are down stay unavailable)."""
        for node, count in zip(placement.nodes, placement.counts, strict=True):
            if node not in self.down:
                self._shift(node, count)

    def fits(self, placement: Placement) -> bool:
        """Return whether every node of `placement` has the room now."""
        free = self.free
        return all(free[n] >= c for n, c in zip(placement.nodes, placement.counts, strict=True))

    def set_down(self, node: int) -> None:
        """Take an emptied node out of service."""
        self._shift(node, -self.free[node])
        pool, bit = self.layout.node_pool[node], 1 << self.layout.node_position[node]
        self.masks[pool][0] &= ~bit
        self.counts[pool][0] -= 1
        self.down.add(node)

    def set_up(self, node: int) -> None:
        """Bring a node back, empty."""
        self.down.remove(node)
        pool, bit = self.layout.node_pool[node], 1 << self.layout.node_position[node]
        self.masks[pool][0] |= bit
        self.counts[pool][0] += 1
        self._shift(node, self.layout.pool_size[pool])

    def _shift(self, node: int, delta: int) -> None:
        layout = self.layout
        pool = layout.node_pool[node]
        bit = 1 << layout.node_position[node]
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

    # --- search ------------------------------------------------------------------

    def slots(self, pool: int, per_node: int) -> int:
        """Return how many slots of `per_node` accelerators the pool has free."""
        counts = self.counts[pool]
        return sum(counts[f] * (f // per_node) for f in range(per_node, len(counts)))

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
        if any(self.type_free[g.type_index] < g.count for g in mode.groups):
            return None
        if mode.level == 0:
            return self._find_in_node(mode.groups[0], fit, barred)
        return self._find_in_domain(mode, fit, barred)

    def _find_in_node(self, group: Group, fit: Fit, barred: Set[int]) -> Placement | None:
        count = group.count
        best: tuple[int, int] | None = None  # (free on the node, pool)
        for pool in self.layout.type_pools[group.type_index]:
            if pool in barred:
                continue
            counts = self.counts[pool]
            for f in range(count, len(counts)):
                if counts[f]:
                    if fit == "first":
                        return self._lowest(pool, count)
                    if best is None or f < best[0]:
                        best = (f, pool)
                    break
            if best is not None and best[0] == count:
                break
        if best is None:
            return None
        f, pool = best
        position = _lowest_bit(self.masks[pool][f])
        return Placement((self.layout.problem.pools[pool].nodes[position],), (count,))

    def _lowest(self, pool: int, count: int) -> Placement:
        union = 0
        for mask in self.masks[pool][count:]:
            union |= mask
        node = self.layout.problem.pools[pool].nodes[_lowest_bit(union)]
        return Placement((node,), (count,))

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
            if any(
                sum(self.pool_free[p] for p in ps) < g.count
                for g, ps in zip(mode.groups, pools, strict=True)
            ):
                continue
            if not all(self._has_room(g, ps) for g, ps in zip(mode.groups, pools, strict=True)):
                continue
            room = sum(self.pool_free[p] for ps in pools for p in ps)
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
        slots = sum(self.slots(p, group.per_node) for p in pools)
        if not rest:
            return slots >= whole
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
        nodes = self.layout.problem.pools[pool].nodes
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
            for node in self.layout.problem.pools[pool].nodes:
                left = self.free[node] - taken.get(node, 0)
                if left >= rest and (best is None or (left, node) < best):
                    best = (left, node)
                    if left == rest:
                        break
        assert best is not None, "has_room said there is a place for the remainder"
        taken[best[1]] = taken.get(best[1], 0) + rest


def _lowest_bit(mask: int) -> int:
    return (mask & -mask).bit_length() - 1
