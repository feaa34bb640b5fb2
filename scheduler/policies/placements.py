"""Where a job goes: rules that choose among the places that have room.

``first`` and ``best`` are searches by pool (`scheduler.core.occupancy`), fast on any fleet; the
others look at every node. All take a job's fastest mode that has room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode
from scheduler.core.random import stream
from scheduler.core.run import Placement
from scheduler.core.sharing import SharedOccupancy
from scheduler.core.units import WHOLE_MILLI
from scheduler.policies.view import View

Found = tuple[int, Placement]
"""Mode index and placement."""

Place = Callable[[View, int, Occupancy | None], Found | None]
"""Returns where a job could start, on what is free now or on the occupancy given."""

NodeKey = Callable[[Occupancy, int], tuple[float, ...]]
"""Orders nodes; the smallest is taken first."""


def first_fit(view: View, job: int, occupancy: Occupancy | None) -> Found | None:
    """Return the lowest pool and node with room (Johnson et al., SIAM J. Comput. 3, 1974)."""
    return view.find(job, "first", occupancy)


def best_fit(view: View, job: int, occupancy: Occupancy | None) -> Found | None:
    """Return the tightest place (Johnson et al., 1974)."""
    return view.find(job, "best", occupancy)


class Scored:
    """The place whose nodes come first by a key, within the domain whose first node does."""

    def __init__(self, key: NodeKey) -> None:
        self._key = key

    def __call__(self, view: View, job: int, occupancy: Occupancy | None) -> Found | None:
        """Return the fastest mode with room, and its place; any legal one if rules forbid it."""
        where = view.occupancy if occupancy is None else occupancy
        for index, mode in enumerate(view.modes(job)):
            usual = view.place_job(job, index, "best", occupancy)
            if usual is None:
                continue
            chosen = self._choose(where, mode)
            if chosen is None or not where.fits(chosen):
                return index, usual
            allowed = view.may_start(job, index, chosen) and view.power_allows(mode, chosen)
            return index, chosen if allowed else usual
        return None

    def _choose(self, where: Occupancy, mode: Mode) -> Placement | None:
        """Return the place by key; None for a gang of several types."""
        if len(mode.groups) != 1:
            return None
        if isinstance(where, SharedOccupancy) and mode.share_milli < WHOLE_MILLI:
            return self._choose_shared(where, mode)
        group, layout = mode.groups[0], where.layout
        if mode.level == 0:
            areas = [layout.type_pools[group.type_index]]
        else:
            domains = layout.domains_of.get((group.type_index, mode.level), ())
            areas = [e.pools for e in domains if where.has_room(mode, e.domain)]
        best: tuple[tuple[float, ...], Placement] | None = None
        for pools in areas:
            nodes = [n for p in pools for n in layout.problem.pools[p].nodes if where.free[n]]
            ranked = sorted((self._key(where, n), n) for n in nodes)
            found = _fill(where, mode, [n for _, n in ranked])
            if found is not None and (best is None or ranked[0][0] < best[0]):
                best = (ranked[0][0], found)
        return None if best is None else best[1]

    def _choose_shared(self, where: SharedOccupancy, mode: Mode) -> Placement | None:
        """Return the place of a share on the first node by key that has room for it."""
        layout = where.layout
        places = {
            node: place
            for pool in layout.type_pools[mode.type_index]
            for node in layout.pool_nodes[pool]
            if (place := where.seat(mode, layout.single(node, 1))) is not None
        }
        first = min(places, key=lambda node: (self._key(where, node), node), default=None)
        return None if first is None else places[first]


def _fill(where: Occupancy, mode: Mode, nodes: list[int]) -> Placement | None:
    """Return the slots of a gang on the first of `nodes` that have room for them."""
    group = mode.groups[0]
    whole, rest = divmod(group.count, group.per_node)
    if mode.level == 0:
        whole, rest = 0, group.count
    taken: dict[int, int] = {}
    for node in nodes:
        if not whole:
            break
        slots = min(whole, where.free[node] // group.per_node)
        if slots:
            taken[node] = slots * group.per_node
            whole -= slots
    if rest and not whole:
        last = next((n for n in nodes if where.free[n] - taken.get(n, 0) >= rest), None)
        if last is None:
            return None
        taken[last] = taken.get(last, 0) + rest
    if whole or not taken:
        return None
    held = tuple(sorted(taken))
    return Placement(held, tuple(taken[n] for n in held))


def worst_fit() -> Place:
    """Return the rule that takes the emptiest nodes first (Johnson et al., 1974)."""
    return Scored(lambda where, node: (-where.free[node], node))


def random_fit() -> Place:
    """Return the rule that takes nodes in random order."""
    generator = stream(0, "random placement")

    class Random(Scored):
        def __call__(self, view: View, job: int, occupancy: Occupancy | None) -> Found | None:
            self._rank = generator.permutation(len(view.problem.cluster.nodes))
            return super().__call__(view, job, occupancy)

        _rank = np.zeros(0, dtype=np.int64)

    rule = Random(lambda where, node: (float(rule._rank[node]),))
    return rule


def topology_fit() -> Place:
    """Return the rule that leaves the least room at every level, the widest level first.

    Best fit within nested domains, after M. Amaral et al., "Topology-aware GPU scheduling for
    learning workloads in cloud environments", SC 2017: a gang goes where the room that stays
    whole around it, in the site, the pod, the leaf and the node, is least.
    """

    def key(where: Occupancy, node: int) -> tuple[float, ...]:
        layout = where.layout
        pool = layout.problem.pools[layout.node_pool[node]]
        room = [
            sum(where.pool_free[p] for p in layout.problem.domains[d].pools)
            for d in reversed(pool.domains)
        ]
        return (*room, where.free[node], node)

    return Scored(key)


def _studied(name: str) -> Callable[[], Place]:
    """Return the maker of a rule of `packing_placements`, which builds on this module."""

    def make() -> Place:
        from scheduler.policies.packing_placements import RULES

        return RULES[name]()

    return make


PLACEMENTS: Final[Mapping[str, Callable[[], Place]]] = MappingProxyType(
    {
        "first_fit": lambda: first_fit,
        "best_fit": lambda: best_fit,
        "worst_fit": worst_fit,
        "random_fit": random_fit,
        "topology_fit": topology_fit,
        **{
            name: _studied(name) for name in ("dot_product", "gpu_packing", "gpu_clustering", "fgd")
        },
    }
)
"""Makers of placement rules by name."""
