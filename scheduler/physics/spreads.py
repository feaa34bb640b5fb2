"""Where a gang of some size fits in the fleet, and the network it then sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from scheduler.core.cluster import AcceleratorType, Cluster
from scheduler.physics.domains import Interconnect
from scheduler.physics.interconnect import POD, SCALEUP_LATENCY_S
from scheduler.physics.network import USABLE_SHARE, Network

PCIE_BYTES_PER_S = ((2022, 63e9), (2020, 31.5e9), (0, 15.75e9))
"""Line rate of PCIe 5.0, 4.0 and 3.0 x16 by the first year in which accelerators use it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One shape of a gang at one level.

    Parameters
    ----------
    level : int
        Position in `Interconnect.levels`.
    per_node : int
        Slot size.
    packed : bool
        Whether the gang stands on the fewest nodes, inside a pod.
    network : Network
        Slowest among the domains of the level that can hold the shape: the mode must be
        good wherever the level permits it.
    """

    level: int
    per_node: int
    packed: bool
    network: Network


@dataclass(frozen=True, slots=True)
class _Hall:
    """The nodes of one type in one domain (or on one node, at level 0).

    A gang that has a whole torus (slice) to itself runs its rings over neighbour links; any
    other gang is scattered as far as its neighbours let it, and gets the shared rate.
    """

    rooms: tuple[tuple[int, int], ...]
    scaleup_bytes_per_s: float
    scaleout_bytes_per_s: float
    latency_s: float
    whole_count: int = 0
    whole_bytes_per_s: float = 0.0

    def rate(self, count: int) -> float:
        """Rate of one accelerator of a gang, one direction, between nodes."""
        return self.whole_bytes_per_s if count == self.whole_count else self.scaleout_bytes_per_s

    def holds(self, count: int, per_node: int) -> bool:
        """Whether the slots of a gang fit: whole ones, and the remainder in what is left."""
        whole, rest = divmod(count, per_node)
        slots = sum(nodes * (size // per_node) for size, nodes in self.rooms)
        if slots > whole or (slots == whole and not rest):
            return True
        return slots == whole and any(size % per_node >= rest for size, _ in self.rooms)


@dataclass(frozen=True, slots=True)
class _MixedHall:
    """A domain that holds several types: nodes by (type, size), line rates by type."""

    nodes: tuple[tuple[tuple[int, int], int], ...]
    rates: tuple[tuple[int, float], ...]
    latency_s: float

    def holds(self, parts: tuple[tuple[int, int], ...], sizes: list[list[int]]) -> bool:
        """Whether there are nodes of the largest size of each type for every part."""
        have = dict(self.nodes)
        return all(have.get((t, sizes[t][0]), 0) * sizes[t][0] >= n for t, n in parts)

    def rate(self, type_index: int) -> float:
        """Line rate of one accelerator of a type, one direction, across the domain."""
        return dict(self.rates)[type_index]


def _mixed_halls(seen: Interconnect, level: int) -> tuple[_MixedHall, ...]:
    """Return the distinct domains of a level that hold more than one type."""
    found: dict[_MixedHall, None] = {}
    for domain in seen.domains:
        pools = [seen.pools[p] for p in domain.pools]
        if domain.level != level or len({pool.type_index for pool in pools}) == 1:
            continue
        nodes: dict[tuple[int, int], int] = {}
        rates: dict[int, float] = {}
        for p, pool in zip(domain.pools, pools, strict=True):
            key = (pool.type_index, pool.size)
            nodes[key] = nodes.get(key, 0) + len(pool.nodes)
            sends = min(seen.injection[p][level], domain.bytes_per_s)
            rates[pool.type_index] = min(sends, rates.get(pool.type_index, sends))
        hall = _MixedHall(
            tuple(sorted(nodes.items())), tuple(sorted(rates.items())), domain.latency_s
        )
        found[hall] = None
    return tuple(found)


class Floor:
    """The fleet by accelerator type and level, for fitting gangs.

    Parameters
    ----------
    cluster : Cluster
        As declared.
    seen : Interconnect
        What `domains.read_interconnect` found.
    """

    def __init__(self, cluster: Cluster, seen: Interconnect) -> None:
        self.types = tuple(cluster.accelerators[name] for name in seen.types)
        self.levels = seen.levels
        self._pod_level = seen.level_of_tier[POD]
        self._scaleup_level = seen.level_of_tier[1]
        self._halls = [
            [_halls(cluster, seen, t, level) for level in range(len(seen.levels))]
            for t in range(len(seen.types))
        ]
        self._sizes = [
            sorted({p.size for p in seen.pools if p.type_index == t}, reverse=True)
            for t in range(len(seen.types))
        ]
        self._mixed = [_mixed_halls(seen, level) for level in range(len(seen.levels))]
        self.spreads = cache(self._spreads)

    def node_size(self, type_index: int) -> int:
        """Return the accelerators of the largest nodes of a type."""
        return self._sizes[type_index][0]

    def mixed_network(
        self, parts: tuple[tuple[int, int], ...], level: int
    ) -> tuple[float, float, tuple[Network, ...]] | None:
        """Return what a gang of several types sees inside one domain of a level.

        Parameters
        ----------
        parts : tuple of (int, int)
            Type and accelerators of each part, whole nodes of `node_size`.
        level : int
            Position in `levels`, above 0.

        Returns
        -------
        tuple or None
            Line rate of one accelerator of the slower part towards the others, latency,
            and the network inside each part: the slowest of the domains that hold the gang.
            None if none does.
        """
        halls = [h for h in self._mixed[level] if h.holds(parts, self._sizes)]
        if not halls:
            return None
        networks = []
        for t, count in parts:
            per_node = self.node_size(t)
            at = 0 if count == per_node else level
            spreads = (s for s in self.spreads(t, count) if s.per_node == per_node)
            spread = next((s for s in spreads if s.level == at), None)
            if spread is None:
                return None
            networks.append(spread.network)
        rate = min(h.rate(t) for h in halls for t, _ in parts)
        return rate, max(h.latency_s for h in halls), tuple(networks)

    def most(self, type_index: int, level: int) -> int:
        """Return the most accelerators of a type inside one domain of a level."""
        return max(
            (sum(s * n for s, n in hall.rooms) for hall in self._halls[type_index][level]),
            default=0,
        )

    def _spreads(self, type_index: int, count: int) -> tuple[Spread, ...]:
        """Return every shape of `count` accelerators of a type at every level that holds it."""
        found: list[Spread] = []
        kind = self.types[type_index]
        slots = _slot_sizes(count, self._sizes[type_index])
        for level in range(len(self.levels)):
            for per_node in slots:
                if (per_node == count) != (level == 0):
                    continue  # a single slot is on one node whatever the level
                halls = [h for h in self._halls[type_index][level] if h.holds(count, per_node)]
                if not halls:
                    continue
                packed = level <= self._pod_level and per_node == slots[0]
                within = count if 0 < level <= self._scaleup_level else per_node
                found.append(
                    Spread(level, per_node, packed, _network(kind, halls, count, per_node, within))
                )
        return _one_latency_per_rate(found)


def _one_latency_per_rate(spreads: list[Spread]) -> tuple[Spread, ...]:
    """Give levels of equal bandwidth the latency of the widest.

    In a network without taper one more switch is all that sets a leaf apart from its pod.
    Microseconds are not worth a mode of their own, which every solver would have to weigh.
    """
    widest: dict[tuple[object, ...], float] = {}
    for spread in spreads:  # levels ascend
        widest[_rate_key(spread)] = spread.network.scaleout_latency_s
    return tuple(
        s
        if s.network.scaleout_latency_s == widest[_rate_key(s)]
        else replace(s, network=replace(s.network, scaleout_latency_s=widest[_rate_key(s)]))
        for s in spreads
    )


def _rate_key(spread: Spread) -> tuple[object, ...]:
    at = spread.network
    return (
        spread.per_node,
        spread.packed,
        at.scaleup_bytes_per_s,
        at.scaleup_devices,
        at.scaleout_bytes_per_s,
    )


def _halls(cluster: Cluster, seen: Interconnect, type_index: int, level: int) -> tuple[_Hall, ...]:
    """Return the distinct halls of a type at a level."""
    nodes = cluster.nodes
    pods = [p for p in cluster.pods for _ in p.nodes]
    grouped: dict[int, list[int]] = {}
    for p, pool in enumerate(seen.pools):
        if pool.type_index == type_index:
            grouped.setdefault(pool.domains[level - 1] if level else -1 - p, []).append(p)
    halls: dict[_Hall, None] = {}
    for key, members in grouped.items():
        pools = [seen.pools[p] for p in members]
        scaleup = min(nodes[i].scaleup_bytes_per_s for pool in pools for i in pool.nodes)
        if level == 0:
            halls[_Hall(((pools[0].size, 1),), scaleup, scaleup, SCALEUP_LATENCY_S)] = None
            continue
        if sum(len(pool.nodes) for pool in pools) == 1:
            continue  # a lone node: nothing that level 0 does not offer
        rooms: dict[int, int] = {}
        for pool in pools:
            rooms[pool.size] = rooms.get(pool.size, 0) + len(pool.nodes)
        domain = seen.domains[key]
        sends = min(seen.injection[p][level] for p in members)
        alone = len(domain.pools) == len(members) and level <= seen.level_of_tier[POD]
        ringed = alone and pods[pools[0].nodes[0]].fabric.kind == "torus"
        halls[
            _Hall(
                tuple(sorted(rooms.items(), reverse=True)),
                scaleup,
                min(sends, domain.bytes_per_s),
                domain.latency_s,
                sum(size * n for size, n in rooms.items()) if ringed else 0,
                sends if ringed else 0.0,
            )
        ] = None
    return tuple(halls)


def _slot_sizes(count: int, sizes: list[int]) -> list[int]:
    """Return the slot sizes to offer, largest first: full nodes, then halvings."""
    found: set[int] = set()
    for size in sizes:
        slot = min(count, size)
        while slot >= 1:
            found.add(slot)
            slot //= 2
    return sorted(found, reverse=True)


def _network(
    kind: AcceleratorType, halls: list[_Hall], count: int, per_node: int, within: int
) -> Network:
    scaleup = min(h.scaleup_bytes_per_s for h in halls)
    scaleup = inside_node_bytes_per_s(kind, scaleup, per_node)
    return Network(
        scaleup_bytes_per_s=scaleup * USABLE_SHARE,
        scaleup_latency_s=SCALEUP_LATENCY_S,
        scaleup_devices=within,
        scaleout_bytes_per_s=min(h.rate(count) for h in halls) * USABLE_SHARE,
        scaleout_latency_s=max(h.latency_s for h in halls),
    )


def inside_node_bytes_per_s(kind: AcceleratorType, scaleup_bytes_per_s: float, count: int) -> float:
    """Return the line rate of one of `count` accelerators that communicate inside a node.

    Beyond a bridge (pairs), or without one, traffic takes the host's PCIe.
    """
    if count <= kind.scaleup_devices:
        return scaleup_bytes_per_s
    host = next(rate for year, rate in PCIE_BYTES_PER_S if kind.year >= year)
    return min(scaleup_bytes_per_s, host)


def legal_wherever(other: Spread, spread: Spread, count: int) -> bool:
    """Whether a gang placed as `spread` is always placed as `other` permits, too.

    Its level must be as wide, and its slots must fit into the slots of `spread`, whole ones
    and the remainder.
    """
    if other.level < spread.level:
        return False
    larger, larger_rest = divmod(count, spread.per_node)
    whole, rest = divmod(count, other.per_node)
    held = larger * (spread.per_node // other.per_node) + larger_rest // other.per_node
    spare = max(spread.per_node % other.per_node, larger_rest % other.per_node)
    return held > whole or (held == whole and spare >= rest)
