"""Whether a legal placement exists on given free accelerators, by counting slots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from scheduler.core.problem import Group, Mode
from scheduler.verify.facts import Facts
from scheduler.verify.power import CAP_SLACK_W, added_w, idle_draw_w

Free = Mapping[int, int]
"""Free accelerators by node."""


def uncapped(facts: Facts) -> tuple[float, ...]:
    """Return watts to spare by site if there were no caps."""
    return (math.inf,) * len(facts.problem.cluster.sites)


def could_start(facts: Facts, mode: Mode, usable: Sequence[int] | None = None) -> bool:
    """Return whether `mode` has a legal placement, within the caps, with all nodes up and free.

    Of the accelerators of each node, `usable` says how many there are; by default all.
    """
    spare_w = [
        math.inf if site.power_cap_w is None else site.power_cap_w
        for site in facts.problem.cluster.sites
    ]
    for node, draw_w in enumerate(idle_draw_w(facts)):
        spare_w[facts.node_site[node]] -= draw_w
    free = facts.node_size if usable is None else usable
    return any(
        startable_on(facts, free, spare_w, mode, node)
        for pool in facts.problem.pools
        if pool.type_index == mode.groups[0].type_index
        for node in (pool.nodes[:1] if usable is None else pool.nodes)
    )


def startable_on(
    facts: Facts, free: Sequence[int], spare_w: Sequence[float], mode: Mode, node: int
) -> bool:
    """Return whether `mode` has a legal placement with a slot on `node`, within the caps.

    Parameters
    ----------
    facts : Facts
        The fleet.
    free : sequence of int
        Free accelerators by node.
    spare_w : sequence of float
        Watts to spare by site.
    mode : Mode
        What to place; uses the node's type.
    node : int
        A node that must hold part of it.

    Notes
    -----
    Exact, but for a gang that mixes types over several sites: there, each type alone must
    keep to the caps.
    """
    inside = _one_domain(facts, free, mode, node)
    sites = {facts.node_site[n] for n in inside}
    if len(sites) == 1:  # the whole gang counts against the one cap
        total_w = sum(g.count * added_w(facts, mode, g.type_index) for g in mode.groups)
        if total_w > spare_w[min(sites)] + CAP_SLACK_W:
            return False
    for group in mode.groups:
        each_w = added_w(facts, mode, group.type_index)
        by_site: dict[int, dict[int, int]] = {}
        for n, count in inside.items():
            if facts.node_type[n] == group.type_index:
                by_site.setdefault(facts.node_site[n], {})[n] = count
        most_w = [spare_w[site] + CAP_SLACK_W for site in by_site]
        limits = [int(min(w / each_w, 1e9)) if each_w > 0 else 10**9 for w in most_w]
        limits = [limit if w >= 0 else 0 for limit, w in zip(limits, most_w, strict=True)]
        if not _divisible(group, list(by_site.values()), limits, node):
            return False
    return bool(inside)


def _one_domain(facts: Facts, free: Sequence[int], mode: Mode, node: int) -> Free:
    """Return free accelerators of the nodes that may hold the gang together with `node`."""
    if mode.level == 0:
        return {node: max(free[node], 0)}
    pools = facts.problem.pools
    level = slice(mode.level - 1, mode.level)
    domain = pools[facts.node_pool[node]].domains[level]
    return {
        n: max(count, 0)
        for n, count in enumerate(free)
        if domain and pools[facts.node_pool[n]].domains[level] == domain
    }


def _divisible(group: Group, sites: Sequence[Free], limits: Sequence[int], node: int) -> bool:
    """Return whether the slots can be divided over sites, one of them on `node`.

    `limits` are the most accelerators each site may take. `node` counts only if it is among
    the nodes of the sites.
    """
    whole, rest = divmod(group.count, group.per_node)
    for rest_site in range(len(sites)) if rest else (-1,):
        least = most = 0
        for s, free in enumerate(sites):
            here = rest if s == rest_site else 0
            ranges = [
                (low, min(high, (limits[s] - here) // group.per_node))
                for low, high in _slot_ranges(free, group.per_node, here, node)
            ]
            ranges = [(low, high) for low, high in ranges if low <= min(high, whole)]
            if not ranges:
                break
            least += min(low for low, _ in ranges)
            most += max(high for _, high in ranges)
        else:
            if least <= whole <= most:
                return True
    return False


def _slot_ranges(free: Free, per_node: int, rest: int, node: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of how many whole slots fit beside the remainder, with a slot on `node`."""
    if node not in free:
        most = _most_slots(free, per_node, rest)
        if most >= 0:
            yield 0, most
        return
    if free[node] >= per_node:
        most = _most_slots({**free, node: free[node] - per_node}, per_node, rest)
        if most >= 0:
            yield 1, most + 1
    if rest and free[node] >= rest:
        yield 0, _most_slots({**free, node: free[node] - rest}, per_node, 0)


def _most_slots(free: Free, per_node: int, rest: int) -> int:
    """Return how many whole slots fit beside the remainder; -1 if that does not fit."""
    slots = sum(f // per_node for f in free.values())
    if not rest:
        return slots
    return max(
        (slots - f // per_node + (f - rest) // per_node for f in free.values() if f >= rest),
        default=-1,
    )
