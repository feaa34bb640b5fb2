"""Nested domains and interchangeable nodes, read off the interconnect graph.

A domain of a level is a connected component of the graph cut down to the edges of that
tier and below. Levels at which no component grows are merged with the level below, so a
fleet of one switch has one level and not five.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from scheduler.core.cluster import Cluster
from scheduler.core.errors import Fault, InputError, nearest_name
from scheduler.core.problem import Domain, Pool
from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.bandwidth import (
    Cables,
    domain_latencies,
    domain_rates,
    injection,
    read_cables,
)
from scheduler.physics.interconnect import FLEET, NODE, POD, SCALEUP, SITE, TIERS, Vertex


@dataclass(frozen=True, slots=True)
class Interconnect:
    """The fleet as the scheduler sees it.

    Parameters
    ----------
    types : tuple of str
        Accelerator types that some node has, in catalogue order.
    levels : tuple of str
        Level names from the inside out; the first is ``"node"``.
    domains : tuple of Domain
        Level 1 and up, by level, then by first node.
    pools : tuple of Pool
        Every node is in exactly one; by first node.
    injection : tuple of tuple of float
        By pool and level: bytes/s that one accelerator can send, one direction; at level 0
        inside its node.
    level_of_tier : tuple of int
        By position in `interconnect.TIERS`, the level that stands for it.
    """

    types: tuple[str, ...]
    levels: tuple[str, ...]
    domains: tuple[Domain, ...]
    pools: tuple[Pool, ...]
    injection: tuple[tuple[float, ...], ...]
    level_of_tier: tuple[int, ...]

    def level(self, name: str, file: str = "", path: str = "") -> int:
        """Return the position of the level called `name`.

        A tier that this fleet has merged into another level stands for that level.

        Raises
        ------
        InputError
            No such level.
        """
        if name in self.levels:
            return self.levels.index(name)
        if name in TIERS:
            return self.level_of_tier[TIERS.index(name)]
        known = list(dict.fromkeys([*self.levels, *TIERS]))
        fault = Fault("unknown level", file, path, name, " ".join(known), nearest_name(name, known))
        raise InputError([fault])


def find_domains(
    cluster: Cluster, graph: nx.Graph[Vertex]
) -> tuple[tuple[str, ...], tuple[Domain, ...], tuple[Pool, ...]]:
    """Return the levels, domains and pools of a cluster's graph; see `read_interconnect`."""
    seen = read_interconnect(cluster, graph)
    return seen.levels, seen.domains, seen.pools


def read_interconnect(cluster: Cluster, graph: nx.Graph[Vertex]) -> Interconnect:
    """Read levels, domains with their bandwidth, and pools off the graph.

    Parameters
    ----------
    cluster : Cluster
        As declared.
    graph : networkx.Graph
        From `interconnect.build_graph`.

    Returns
    -------
    Interconnect
        Every pool has one domain at each level from 1 up: a node that has no connection at
        some tier stands, up to the pod, in the domain of the first tier at which it has
        one, and beyond its last connection in that same domain again.
    """
    nodes = cluster.nodes
    cables = read_cables(graph)
    counts = np.array([n.count for n in nodes], dtype=np.int64)
    nic = np.array([n.nic_bytes_per_s for n in nodes])
    ringed = np.array([p.fabric.kind == "torus" for p in cluster.pods for _ in p.nodes])
    inject = np.stack([injection(cables, counts, nic, ringed, t) for t in range(len(TIERS))])
    inject[NODE] = [n.scaleup_bytes_per_s for n in nodes]
    rates = domain_rates(cluster, graph, cables, counts, inject)
    effective = _effective_tiers(cables)
    labels = _labels(cables, effective)
    kept, level_of_tier = _kept_tiers(labels, cables)
    levels = _level_names(cluster, kept, level_of_tier)
    latencies = np.stack(
        [domain_latencies(cables, t) if t else np.zeros(cables.hosts) for t in range(len(TIERS))]
    )
    types = fleet_types(cluster)
    pool_of, pools = _group_nodes(cluster, types, labels[kept[0]])
    domains, home = _make_domains(
        cluster, levels, kept, labels, effective, pool_of, rates, latencies
    )
    pods_site = {p.name: p.site for p in cluster.pods}
    site_number = {s.name: i for i, s in enumerate(cluster.sites)}
    site_of = [site_number[pods_site[p.name]] for p in cluster.pods for _ in p.nodes]
    tiers = (NODE, *kept)
    return Interconnect(
        types,
        levels,
        domains,
        tuple(
            Pool(
                kind, size, tuple(members), tuple(home[:, members[0]].tolist()), site_of[members[0]]
            )
            for kind, size, members in pools
        ),
        tuple(
            tuple(
                float(min(inject[effective[t, m] if t else 0, m] for m in members)) for t in tiers
            )
            for _, _, members in pools
        ),
        level_of_tier,
    )


def fleet_types(cluster: Cluster) -> tuple[str, ...]:
    """Return the accelerator types that some node has, in catalogue order."""
    used = {n.accelerator for n in cluster.nodes}
    return tuple(name for name in cluster.accelerators if name in used)


def _effective_tiers(cables: Cables) -> IntArray:
    """Return by tier and host the tier whose component stands for it, shape (tiers, hosts).

    That is the tier itself once the host has an edge; below its first edge, the tier of
    that edge, unless it leads out of the pod.
    """
    first = np.full(cables.vertices, FLEET + 1)
    np.minimum.at(first, cables.head, cables.tier)
    np.minimum.at(first, cables.tail, cables.tier)
    first = first[: cables.hosts]
    tiers = np.arange(len(TIERS))[:, None]
    return np.where((first <= POD) & (first > tiers), first, tiers)


def _labels(cables: Cables, effective: IntArray) -> IntArray:
    """Return by tier and host a label of its domain: the smallest host in it."""
    labels = np.empty_like(effective)
    for tier in range(len(TIERS)):
        component = cables.component[effective[tier], np.arange(cables.hosts)]
        keys = effective[tier] * cables.vertices + component
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        labels[tier] = first[inverse]
    return labels


def _kept_tiers(labels: IntArray, cables: Cables) -> tuple[list[int], tuple[int, ...]]:
    """Return the tiers that become levels 1 and up, and by tier the level it belongs to.

    A tier without edges is the level with the same domains: one switch that joins a whole
    pod is that pod's leaf. Only a scale-up tier without edges is the node.
    """
    kept: list[int] = []
    below = np.arange(cables.hosts)
    present = [t for t in range(SCALEUP, FLEET + 1) if np.any(cables.tier == t)]
    for tier in present:
        if not np.array_equal(labels[tier], below):
            kept.append(tier)
            below = labels[tier]
    if not kept:  # nodes without any connection: a pod level of one domain per node
        return [POD], tuple(int(t >= POD) for t in range(len(TIERS)))
    level_of_tier = [0]
    for tier in range(SCALEUP, FLEET + 1):
        level = sum(t <= tier for t in kept)
        if SCALEUP < tier <= POD and tier not in present:
            same = [np.array_equal(labels[tier], labels[t]) for t in kept]
            level = 1 + same.index(True) if any(same) else level
        level_of_tier.append(level)
    return kept, tuple(level_of_tier)


def _level_names(
    cluster: Cluster, kept: list[int], level_of_tier: tuple[int, ...]
) -> tuple[str, ...]:
    """Name each level: ``pod`` where that tier was merged into it, else its own tier."""
    torus_only = all(p.fabric.kind == "torus" for p in cluster.pods)
    names = ["node"]
    for level, tier in enumerate(kept, start=1):
        if level_of_tier[POD] == level:
            names.append(TIERS[POD])
        elif torus_only and tier < POD:
            names.append(f"slice-{POD - tier}")
        else:
            names.append(TIERS[tier])
    return tuple(names)


def _group_nodes(
    cluster: Cluster, types: tuple[str, ...], innermost: IntArray
) -> tuple[IntArray, list[tuple[int, int, list[int]]]]:
    """Return each node's pool, and (type, size, nodes) of every pool by first node."""
    number: dict[tuple[str, int, int], int] = {}
    members: list[list[int]] = []
    pool_of = np.empty(len(innermost), dtype=np.int64)
    for i, (node, label) in enumerate(zip(cluster.nodes, innermost.tolist(), strict=True)):
        key = (node.accelerator, node.count, label)
        pool = number.setdefault(key, len(number))
        if pool == len(members):
            members.append([])
        members[pool].append(i)
        pool_of[i] = pool
    kinds = [(types.index(kind), size) for kind, size, _ in number]
    return pool_of, [(*kind, nodes) for kind, nodes in zip(kinds, members, strict=True)]


def _make_domains(
    cluster: Cluster,
    levels: tuple[str, ...],
    kept: list[int],
    labels: IntArray,
    effective: IntArray,
    pool_of: IntArray,
    rates: FloatArray,
    latencies: FloatArray,
) -> tuple[tuple[Domain, ...], IntArray]:
    """Return the domains, and by level above 0 and host the index of its domain."""
    names = _Names(cluster)
    path_of: dict[int, tuple[str, ...]] = {}
    paths: list[dict[int, tuple[str, ...]]] = []
    for tier in reversed(kept):  # from the outside in: a path starts with its parent's
        level = len(kept) - len(paths)
        members = _members(labels[tier])
        taken: dict[tuple[str, ...], int] = {}
        here: dict[int, tuple[str, ...]] = {}
        for label, hosts in members.items():
            parent = path_of.get(label, ())
            path = (*parent, names.name(tier, levels[level], hosts))
            taken[path] = taken.get(path, 0) + 1
            here[label] = path if taken[path] == 1 else (*parent, f"{path[-1]}#{taken[path]}")
        paths.append(here)
        inner = kept[kept.index(tier) - 1] if tier != kept[0] else None
        if inner is not None:
            path_of = {label: here[int(labels[tier][label])] for label in _members(labels[inner])}
    domains: list[Domain] = []
    home = np.empty((len(kept), len(pool_of)), dtype=np.int64)
    for level, (tier, here) in enumerate(zip(kept, reversed(paths), strict=True), start=1):
        for label, hosts in _members(labels[tier]).items():
            home[level - 1, hosts] = len(domains)
            shown = int(effective[tier, label])
            domains.append(
                Domain(
                    here[label],
                    level,
                    tuple(np.unique(pool_of[hosts]).tolist()),
                    float(rates[shown, label]),
                    float(latencies[shown, label]),
                )
            )
    return tuple(domains), home


def _members(label: IntArray) -> dict[int, list[int]]:
    """Return hosts by label, labels ascending."""
    found: dict[int, list[int]] = {}
    for host, at in enumerate(label.tolist()):
        found.setdefault(at, []).append(host)
    return found


class _Names:
    """Names of domains: sites and pods by name, what is inside a pod by number."""

    def __init__(self, cluster: Cluster) -> None:
        self.fleet = cluster.name
        self.pod = [p.name for p in cluster.pods for _ in p.nodes]
        self.site = [p.site for p in cluster.pods for _ in p.nodes]
        self.used: dict[tuple[str, int], int] = {}

    def name(self, tier: int, level: str, hosts: list[int]) -> str:
        """Return the name of the domain that holds `hosts`."""
        if len({self.site[h] for h in hosts}) > 1:
            return self.fleet
        if tier >= SITE:
            return self.site[hosts[0]]
        if tier == POD or level == TIERS[POD]:
            return self.pod[hosts[0]]
        key = (self.pod[hosts[0]], tier)
        number = self.used[key] = self.used.get(key, -1) + 1
        return f"{level}-{number}"
