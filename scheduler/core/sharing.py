"""Accelerators that jobs share: which are open, and how much is left of each.

To everything else an open accelerator is one that is taken whole; it is free again when its
last sharer leaves. What is left on it is kept here, by pool and by what is left, so that a
place for a share is found in time that grows with the number of different rests.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import count as numbers
from typing import Final

from scheduler.core.occupancy import Fit, Layout, Occupancy
from scheduler.core.problem import Mode
from scheduler.core.run import Placement, SharePlacement
from scheduler.core.units import WHOLE_MILLI

_Rest = tuple[int, int]
"""Thousandths and bytes of memory that are left of an open accelerator."""

_NO_REST: Final[_Rest] = (0, 0)


class SharedOccupancy(Occupancy):
    """Free accelerators, and what is left of those that are shared.

    Attributes
    ----------
    type_rest : list of int
        Thousandths left on open accelerators, by type, of nodes that are up and not closed.
    pool_rest, closed_rest : list of int
        Thousandths left on open accelerators by pool, and those of them on nodes that are down
        (being emptied), which nobody may start on.
    """

    __slots__ = (
        "_closed", "_devices", "_memory", "_open", "_rest_moments_us", "_states", "closed_rest",
        "pool_rest", "type_rest",
    )  # fmt: skip

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        problem = layout.problem
        pools = len(problem.pools)
        self._memory = [int(problem.cluster.accelerators[t].memory_bytes) for t in problem.types]
        self._devices: dict[tuple[int, int], tuple[_Rest, int]] = {}  # (node, device): sharers
        self._open: dict[int, tuple[int, ...]] = {}  # devices by node
        self._states: list[dict[_Rest, int]] = [{} for _ in range(pools)]
        self._closed: set[int] = set()
        self._rest_moments_us = [0] * pools
        self.type_rest = [0] * len(problem.types)
        self.pool_rest = [0] * pools
        self.closed_rest = [0] * pools

    def copy(self) -> SharedOccupancy:
        """Return an independent copy sharing only the layout."""
        twin = super().copy()
        assert isinstance(twin, SharedOccupancy)
        twin._memory = self._memory
        twin._devices = self._devices.copy()
        twin._open = self._open.copy()
        twin._states = [states.copy() for states in self._states]
        twin._closed = self._closed.copy()
        twin._rest_moments_us = self._rest_moments_us.copy()
        twin.type_rest = self.type_rest.copy()
        twin.pool_rest = self.pool_rest.copy()
        twin.closed_rest = self.closed_rest.copy()
        return twin

    # --- what is left ------------------------------------------------------------

    def rests(self, pool: int) -> Iterator[tuple[int, int, int]]:
        """Yield thousandths and bytes left, and the open accelerators that have them, as bits.

        Those on nodes that are down or closed, and those of which nothing is left, do not count.
        The bit of an accelerator is its node's place in the pool times the node size, plus its
        number.
        """
        for (room, memory), mask in self._states[pool].items():
            if room:
                yield room, memory, mask

    def open_on(self, node: int) -> Iterator[tuple[int, int, int]]:
        """Yield number, thousandths and bytes left of each open accelerator of a node."""
        for device in self._open.get(node, ()):
            (room, memory), _ = self._devices[node, device]
            yield device, room, memory

    def usable(self, node: int) -> bool:
        """Return whether anybody may start on the open accelerators of a node."""
        return node not in self.down and node not in self._closed

    def is_open(self, node: int) -> bool:
        """Return whether an accelerator of the node is shared."""
        return node in self._open

    def rest_us(self, pool: int, now_us: int) -> int:
        """Return the thousandths times microseconds left open in the pool until `now_us`."""
        return self.pool_rest[pool] * now_us - self._rest_moments_us[pool]

    def has_free(self) -> bool:
        """Return whether anything at all is free, be it a part of an accelerator."""
        return any(self.type_free) or any(self.type_rest)

    def free_parts(self, type_index: int) -> float:
        """Return the free accelerators of a type, with the parts of those that are shared."""
        return self.type_free[type_index] + self.type_rest[type_index] / WHOLE_MILLI

    def free_in_all(self, type_index: int) -> int:
        """Return the free accelerators of a type, what is left of shared ones put together."""
        return self.type_free[type_index] + self.type_rest[type_index] // WHOLE_MILLI

    def suffices(self, mode: Mode) -> bool:
        """Return whether as much is free as `mode` asks for, in whatever form."""
        return all(
            self.type_free[g.type_index] * WHOLE_MILLI + self.type_rest[g.type_index]
            >= g.count * mode.share_milli
            for g in mode.groups
        )

    # --- changes -----------------------------------------------------------------

    def take(self, placement: Placement) -> None:
        """Occupy `placement`; see `Occupancy.take`."""
        if not isinstance(placement, SharePlacement):
            super().take(placement)
            return
        node, device = placement.nodes[0], placement.device
        if not self.fits(placement):
            raise ValueError(f"node {node} has no room for {placement.share_milli}/1000 there")
        (room, memory), sharers = self._devices.get((node, device), (_NO_REST, 0))
        if not sharers:
            super().take(self.layout.single(node, 1))
            room, memory = WHOLE_MILLI, self._memory[self.layout.seats[node][3]]
        rest = room - placement.share_milli, memory - placement.memory_bytes
        self._change(node, device, rest, sharers + 1)

    def give(self, placement: Placement) -> None:
        """Release `placement`; see `Occupancy.give`."""
        if not isinstance(placement, SharePlacement):
            super().give(placement)
            return
        node, device = placement.nodes[0], placement.device
        (room, memory), sharers = self._devices[node, device]
        rest = room + placement.share_milli, memory + placement.memory_bytes
        self._change(node, device, rest, sharers - 1)
        if sharers == 1:
            super().give(self.layout.single(node, 1))

    def fits(self, placement: Placement) -> bool:
        """Return whether `placement` has the room now."""
        if not isinstance(placement, SharePlacement):
            return super().fits(placement)
        node = placement.nodes[0]
        found = self._devices.get((node, placement.device))
        if found is None:
            return self.free[node] > 0
        (room, memory), _ = found
        enough = room >= placement.share_milli and memory >= placement.memory_bytes
        return enough and self.usable(node)

    def set_down(self, node: int) -> None:
        """Take a node out of service; what is held there stays held."""
        self._list(node, -1)
        super().set_down(node)
        self._list(node, 1)

    def set_up(self, node: int, free: int | None = None) -> None:
        """Bring a node back; see `Occupancy.set_up`."""
        self._list(node, -1)
        super().set_up(node, free)
        self._list(node, 1)

    def close(self, node: int) -> None:
        """Let nobody start on the open accelerators of a node that is up."""
        if self.usable(node):
            self._list(node, -1)
            self._closed.add(node)

    def _list(self, node: int, sign: int) -> None:
        """Count the open accelerators of a node in (`sign` 1) or out (-1)."""
        for device in self._open.get(node, ()):
            self._count(node, device, self._devices[node, device][0], sign)

    def _count(self, node: int, device: int, rest: _Rest, sign: int) -> None:
        """Count one open accelerator in or out, where its node says."""
        layout = self.layout
        pool = layout.node_pool[node]
        self.touched[pool] = None
        if node in self.down:
            self.closed_rest[pool] += sign * rest[0]
        elif node not in self._closed:
            self.type_rest[layout.pool_type[pool]] += sign * rest[0]
            bit = 1 << (layout.node_position[node] * layout.pool_size[pool] + device)
            mask = self._states[pool].get(rest, 0) ^ bit
            if mask:
                self._states[pool][rest] = mask
            else:
                del self._states[pool][rest]

    def _change(self, node: int, device: int, rest: _Rest, sharers: int) -> None:
        """Let an accelerator have that rest and so many sharers; none: it is no longer open."""
        key = node, device
        before, had = self._devices.get(key, (_NO_REST, 0))
        if had:
            self._count(node, device, before, -1)
        else:
            self._open[node] = tuple(sorted((*self._open.get(node, ()), device)))
        if sharers:
            self._devices[key] = rest, sharers
            self._count(node, device, rest, 1)
        else:
            rest = _NO_REST
            del self._devices[key]
            left = tuple(d for d in self._open[node] if d != device)
            if left:
                self._open[node] = left
            else:
                del self._open[node]
        pool, more = self.layout.node_pool[node], rest[0] - before[0]
        self.pool_rest[pool] += more
        self._rest_moments_us[pool] += more * self.now_us

    # --- search ------------------------------------------------------------------

    def holds(self, mode: Mode) -> bool:
        """Return whether `find` would find a placement."""
        if mode.share_milli == WHOLE_MILLI:
            return super().holds(mode)
        return self.find(mode, "first") is not None

    def find(
        self, mode: Mode, fit: Fit = "best", barred: Set[int] = frozenset()
    ) -> Placement | None:
        """Return a legal placement of `mode` on what is free, or None; see `Occupancy.find`.

        A share goes to the open accelerator that it leaves the least of (`fit` "best"), or to
        the lowest node with room ("first"); where none has room, to one of its own.
        """
        if mode.share_milli == WHOLE_MILLI:
            return super().find(mode, fit, barred)
        if fit == "first":
            return self._find_first(mode, barred)
        best: tuple[int, int, int, int] | None = None
        for pool in self.layout.type_pools[mode.type_index]:
            if pool not in barred:
                for (room, memory), mask in self._holding(mode, pool):
                    rank = (room, memory, pool, (mask & -mask).bit_length() - 1)
                    if best is None or rank < best:
                        best = rank
        if best is not None:
            position, device = divmod(best[3], self.layout.pool_size[best[2]])
            return placed(mode, self.layout.pool_nodes[best[2]][position], device)
        fresh = super().find(mode, fit, barred)
        return None if fresh is None else self.opened(mode, fresh.nodes[0])

    def _find_first(self, mode: Mode, barred: Set[int]) -> Placement | None:
        layout = self.layout
        for pool in layout.type_pools[mode.type_index]:
            if pool in barred:
                continue
            size, nodes = layout.pool_size[pool], layout.pool_nodes[pool]
            bits = [(m & -m).bit_length() - 1 for _, m in self._holding(mode, pool)]
            whole = self.masks[layout.first_mask[pool] + 1]
            lowest = (whole & -whole).bit_length() - 1 if whole else len(nodes)
            if bits and min(bits) // size <= lowest:
                position, device = divmod(min(bits), size)
                return placed(mode, nodes[position], device)
            if whole:
                return self.opened(mode, nodes[lowest])
        return None

    def _holding(self, mode: Mode, pool: int) -> Iterator[tuple[_Rest, int]]:
        """Yield the rests that hold a share, each with the accelerators that have it, as bits."""
        share, need = mode.share_milli, int(mode.memory_bytes)
        for rest, mask in self._states[pool].items():
            if rest[0] >= share and rest[1] >= need:
                yield rest, mask

    def opened(self, mode: Mode, node: int) -> SharePlacement:
        """Return the placement of a share on an accelerator of the node that nobody shares."""
        taken = self._open.get(node, ())
        return placed(mode, node, next(n for n in numbers() if n not in taken))

    def seat(self, mode: Mode, placement: Placement) -> Placement | None:
        """Return the placement of a share on the node that somebody chose for it.

        On the accelerator that was named, if it has room; else on the open one that it leaves
        the least of; else on one of its own.
        """
        if len(placement.nodes) != 1:
            return None
        if placement.share_milli == mode.share_milli and self.fits(placement):
            return placement
        node = placement.nodes[0]
        need = int(mode.memory_bytes)
        able = [
            (room, memory, device)
            for device, room, memory in self.open_on(node)
            if room >= mode.share_milli and memory >= need and self.usable(node)
        ]
        if able:
            return placed(mode, node, min(able)[2])
        return self.opened(mode, node) if self.free[node] > 0 else None


def placed(mode: Mode, node: int, device: int) -> SharePlacement:
    """Return the placement of a share on one accelerator of a node."""
    return SharePlacement((node,), (1,), device, mode.share_milli, int(mode.memory_bytes))
