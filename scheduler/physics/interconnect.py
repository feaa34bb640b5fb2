"""The cluster's cables as a networkx graph: hosts and switches, rates and latencies.

Hosts are integer vertices (their index in `Cluster.nodes`); switches are strings. Every
edge is full duplex and carries

``bytes_per_s``
    rate of each direction, parallel cables added up;
``latency_s``
    one way;
``tier``
    the innermost level of locality it belongs to, as a position in `TIERS`: two hosts
    share a level if edges of that tier and below connect them.

Vertices carry ``kind`` (``"host"`` or ``"switch"``), ``tier``, ``pod`` and ``site``
(``""`` where a switch belongs to none).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import networkx as nx
import numpy as np

from scheduler.core.cluster import Cluster, Node, Pod, Site
from scheduler.core.workload import IntArray

TIERS = ("node", "scaleup", "leaf", "block", "pod", "site", "fleet")
"""Levels of locality from the inside out. A fleet has those that its graph shows."""

NODE, SCALEUP, LEAF, BLOCK, POD, SITE, FLEET = range(len(TIERS))

SCALEUP_LATENCY_S = 1e-6
"""One hop over an NVLink or UB switch: 1-1.5 us (CloudMatrix384, arXiv:2506.12708)."""

Vertex = int | str
Edge = tuple[Vertex, Vertex, float, float, int]
"""End, end, bytes/s per direction, seconds, tier."""


@dataclass(slots=True)
class _Wiring:
    """What one fabric contributes: its switches, its edges, and where its uplinks attach."""

    switches: list[tuple[str, int]] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    tops: Sequence[Vertex] = ()


def build_graph(cluster: Cluster) -> nx.Graph[Vertex]:
    """Return the interconnect graph of `cluster`.

    Fabrics become the switches they consist of: a leaf-spine Clos has as many spines as
    its ports need (NVIDIA DGX SuperPOD reference architectures reproduce exactly), and a
    third layer when a leaf has fewer uplinks than there would be spines. Pods join the
    spine of their site over one edge that carries the pod's uplink rate, sites join the
    wide-area network over one edge each. Whatever declares no rate has no edge: the graph
    may be disconnected.

    Parameters
    ----------
    cluster : Cluster
        As declared.

    Returns
    -------
    networkx.Graph
        Vertices and attributes as in the module's description; O(hosts + cables).
    """
    graph: nx.Graph[Vertex] = nx.Graph(name=cluster.name)
    sites = {s.name: s for s in cluster.sites}
    pods_of: dict[str, list[Pod]] = {name: [] for name in sites}
    tops: dict[str, dict[Vertex, float]] = {}
    first = 0
    for pod in cluster.pods:
        pods_of[pod.site].append(pod)
        hosts = range(first, first + len(pod.nodes))
        first += len(pod.nodes)
        graph.add_nodes_from(
            (h, {"kind": "host", "tier": NODE, "pod": pod.name, "site": pod.site}) for h in hosts
        )
        wiring = _WIRE[pod.fabric.kind](pod, hosts)
        _add_scaleup(cluster, pod, hosts, wiring)
        _add(graph, wiring, pod.name, pod.site)
        tops[pod.name] = dict(_tops(pod, hosts, wiring.tops))
    for site in cluster.sites:
        _join_pods(graph, cluster, site, pods_of[site.name], tops)
    _join_sites(graph, cluster.sites)
    return graph


def _attributes(bytes_per_s: float, latency_s: float, tier: int) -> dict[str, float]:
    return {"bytes_per_s": bytes_per_s, "latency_s": latency_s, "tier": tier}


def _add(graph: nx.Graph[Vertex], wiring: _Wiring, pod: str, site: str) -> None:
    graph.add_nodes_from(
        (name, {"kind": "switch", "tier": tier, "pod": pod, "site": site})
        for name, tier in wiring.switches
    )
    merged: dict[tuple[Vertex, Vertex], Edge] = {}
    for a, b, rate, latency, tier in wiring.edges:
        if rate <= 0:
            continue
        key = (b, a) if (b, a) in merged else (a, b)
        if key in merged:  # parallel cables add up
            _, _, r, s, t = merged[key]
            merged[key] = (*key, r + rate, min(s, latency), min(t, tier))
        else:
            merged[key] = (a, b, rate, latency, tier)
    graph.add_edges_from((a, b, _attributes(r, s, t)) for a, b, r, s, t in merged.values())


def _node_rate(node: Node) -> float:
    return node.count * node.nic_bytes_per_s


def _chunks(hosts: range, size: int) -> Iterator[range]:
    step = size if size > 0 else max(1, len(hosts))
    for i in range(0, len(hosts), step):
        yield hosts[i : i + step]


# --- fabrics ------------------------------------------------------------------------------


def _wire_tree(pod: Pod, hosts: range) -> _Wiring:
    """One switch, or leaves below one root; a leaf's uplink is its downlinks over the taper."""
    fabric, out = pod.fabric, _Wiring()
    leaves = list(_chunks(hosts, fabric.nodes_per_leaf))
    root = f"{pod.name}:root"
    out.switches.append((root, POD))
    out.tops = [root]
    half = fabric.latency_s / 2
    for i, members in enumerate(leaves):
        leaf = root if len(leaves) == 1 else f"{pod.name}:leaf-{i}"
        tier = POD if leaf == root else LEAF
        rates = [_node_rate(pod.nodes[h - hosts.start]) for h in members]
        out.edges += [(h, leaf, rate, half, tier) for h, rate in zip(members, rates, strict=True)]
        if leaf != root:
            out.switches.append((leaf, LEAF))
            out.edges.append((leaf, root, sum(rates) / fabric.taper, fabric.latency_s, POD))
    return out


def _wire_fat_tree(pod: Pod, hosts: range) -> _Wiring:
    """Leaf-spine Clos: each node hangs on one leaf with all of its network cards."""
    fabric, out = pod.fabric, _Wiring()
    groups: list[list[_Leaf]] = []
    for i, members in enumerate(_chunks(hosts, fabric.nodes_per_leaf)):
        leaf = _Leaf(f"{pod.name}:leaf-{i}")
        for h in members:
            node = pod.nodes[h - hosts.start]
            out.edges.append((h, leaf.name, _node_rate(node), fabric.latency_s / 2, LEAF))
            leaf.down_bytes_per_s += _node_rate(node)
            leaf.ports += node.count
        groups.append([leaf])
    _wire_clos(pod, groups, out)
    return out


def _wire_rail(pod: Pod, hosts: range) -> _Wiring:
    """Rail-optimised Clos: card r of every node of a scalable unit is on the unit's leaf r."""
    fabric, out = pod.fabric, _Wiring()
    groups: list[list[_Leaf]] = []
    for i, members in enumerate(_chunks(hosts, fabric.nodes_per_leaf)):
        nodes = [pod.nodes[h - hosts.start] for h in members]
        rails = [_Leaf(f"{pod.name}:unit-{i}-rail-{r}") for r in range(max(n.count for n in nodes))]
        for h, node in zip(members, nodes, strict=True):
            for leaf in rails[: node.count]:
                rate = node.nic_bytes_per_s
                out.edges.append((h, leaf.name, rate, fabric.latency_s / 2, LEAF))
                leaf.down_bytes_per_s += rate
                leaf.ports += 1
        groups.append(rails)
    _wire_clos(pod, groups, out)
    return out


@dataclass(slots=True)
class _Leaf:
    name: str
    down_bytes_per_s: float = 0.0
    ports: int = 0


def _wire_clos(pod: Pod, groups: list[list[_Leaf]], out: _Wiring) -> None:
    """Put spines, and cores where needed, above groups of leaves that stay together.

    With d ports down and u = d / taper up, a switch has d + u ports, so L leaves need
    ceil(L / (1 + taper)) spines; each leaf reaches all of them only if that is at most u.
    Otherwise blocks of leaves get u spines each, and core switches join the spines of equal
    rank without a further taper.
    """
    fabric = pod.fabric
    leaves = [leaf for group in groups for leaf in group]
    if len(leaves) == 1:  # one switch is the whole pod
        out.switches.append((leaves[0].name, POD))
        out.edges = [(a, b, rate, latency, POD) for a, b, rate, latency, _ in out.edges]
        out.tops = [leaves[0].name]
        return
    out.switches += [(leaf.name, LEAF) for leaf in leaves]
    up_ports = max(1, int(max(leaf.ports for leaf in leaves) / fabric.taper))
    spines = math.ceil(len(leaves) / (1 + fabric.taper))
    if spines <= up_ports or len(groups) == 1:
        out.tops = _wire_spines(pod, leaves, "spine", POD, spines, out)
        return
    per_block = max(1, up_ports // max(len(g) for g in groups))
    blocks = [groups[i : i + per_block] for i in range(0, len(groups), per_block)]
    ranks: list[list[tuple[str, float]]] = [[] for _ in range(up_ports)]
    for b, block in enumerate(blocks):
        members = [leaf for group in block for leaf in group]
        names = _wire_spines(pod, members, f"block-{b}-spine", BLOCK, up_ports, out)
        up = sum(leaf.down_bytes_per_s for leaf in members) / fabric.taper / len(names)
        for rank, name in enumerate(names):
            ranks[rank].append((name, up))
    cores: list[Vertex] = []
    per_rank = max(1, math.ceil(len(blocks) / 2))
    for rank, spine_rates in enumerate(ranks):
        for c in range(per_rank):
            core = f"{pod.name}:core-{rank}-{c}"
            cores.append(core)
            out.switches.append((core, POD))
            out.edges += [
                (name, core, up / per_rank, fabric.latency_s, POD) for name, up in spine_rates
            ]
    out.tops = cores


def _wire_spines(
    pod: Pod, leaves: list[_Leaf], label: str, tier: int, number: int, out: _Wiring
) -> list[str]:
    """Join `leaves` to every one of `number` new spines; return the spines."""
    names = [f"{pod.name}:{label}-{i}" for i in range(number)]
    out.switches += [(name, tier) for name in names]
    for leaf in leaves:
        rate = leaf.down_bytes_per_s / pod.fabric.taper / number
        out.edges += [(leaf.name, name, rate, pod.fabric.latency_s, tier) for name in names]
    return names


def torus_slices(shape: Sequence[int], nodes: int) -> tuple[IntArray, IntArray]:
    """Return the nested slices around the first `nodes` positions of a torus.

    Every side longer than one is halved (the lower half rounded up) from one slice to the
    next, until a slice is one node.

    Returns
    -------
    low, side : ndarray of int64, shape (depths, nodes, axes)
        First position and extent of the slice that holds each node; depth 0 is the torus.
    """
    at = np.stack(np.unravel_index(np.arange(nodes), tuple(shape)), axis=1)
    low, side = np.zeros_like(at), np.broadcast_to(np.array(shape), at.shape)
    lows, sides = [low], [side]
    while np.any(side > 1):
        half = -(-side // 2)
        upper = at >= low + half
        low, side = np.where(upper, low + half, low), np.where(upper, side - half, half)
        lows.append(low)
        sides.append(side)
    return np.stack(lows), np.stack(sides)


def _wire_torus(pod: Pod, hosts: range) -> _Wiring:
    """Neighbour links between nodes, wrapping round; slices of halved sides are its levels.

    A side of two has both cables between the same pair. Positions beyond the last node are
    empty; so are their links.
    """
    fabric, out = pod.fabric, _Wiring()
    shape = fabric.shape
    low, _ = torus_slices(shape, len(hosts))
    for i in range(len(hosts)):
        place = np.unravel_index(i, shape)
        for axis, side in enumerate(shape):
            if side < 2:
                continue
            step = [int(x) for x in place]
            step[axis] = (step[axis] + 1) % side
            j = int(np.ravel_multi_index(step, shape))
            if j < len(hosts):
                shared = int(np.all(low[:, i] == low[:, j], axis=1).sum())
                wraps = step[axis] == 0 and side > 2
                tier = POD if wraps else max(SCALEUP, POD - shared + 1)
                ends = hosts[i], hosts[j]
                out.edges.append((*ends, fabric.link_bytes_per_s, fabric.latency_s, tier))
    out.tops = hosts
    return out


def _wire_dragonfly(pod: Pod, hosts: range) -> _Wiring:
    """Groups whose switches count as one, joined all to all by one global link per pair."""
    fabric, out = pod.fabric, _Wiring()
    groups: list[str] = []
    chunks = list(_chunks(hosts, fabric.nodes_per_leaf))
    for i, members in enumerate(chunks):
        group = f"{pod.name}:group-{i}"
        groups.append(group)
        out.switches.append((group, LEAF))
        out.edges += [
            (
                h,
                group,
                _node_rate(pod.nodes[h - hosts.start]),
                fabric.latency_s / 2,
                LEAF if len(chunks) > 1 else POD,
            )
            for h in members
        ]
    out.edges += [
        (a, b, fabric.link_bytes_per_s, fabric.latency_s, POD) for a, b in combinations(groups, 2)
    ]
    out.tops = groups
    return out


def _wire_edges(pod: Pod, hosts: range) -> _Wiring:
    """The listed cables; the tier of a switch follows from its distance to the hosts.

    Names that are not nodes of the pod are its switches. An edge between two switches of
    equal distance counts as one step farther out than they are.
    """
    fabric, out = pod.fabric, _Wiring()
    host_of: dict[str, Vertex] = {node.id: h for node, h in zip(pod.nodes, hosts, strict=True)}

    def vertex(name: str) -> Vertex:
        return host_of.get(name, f"{pod.name}:{name}")

    ends = [(vertex(link.a), vertex(link.b)) for link in fabric.links]
    near: dict[Vertex, list[Vertex]] = {}
    for a, b in ends:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    distance: dict[Vertex, int] = dict.fromkeys(hosts, 0)
    ring: list[Vertex] = list(hosts)
    while ring:
        step = distance[ring[0]] + 1
        ring = list(dict.fromkeys(w for v in ring for w in near.get(v, ()) if w not in distance))
        distance.update(dict.fromkeys(ring, step))
    depth = {
        (a, b): max(distance.get(a, 1), distance.get(b, 1)) + (distance.get(a) == distance.get(b))
        for a, b in ends
    }
    deepest = max(depth.values(), default=1)
    tiers = {d: _tier_of_depth(d, deepest) for d in range(deepest + 1)}
    switches = [v for v in near if isinstance(v, str)]
    top = max((distance.get(v, 1) for v in switches), default=0)
    out.switches = [(v, tiers[min(distance.get(v, 1), deepest)]) for v in switches]
    out.edges = [
        (a, b, link.bytes_per_s, link.latency_s, tiers[depth[a, b]])
        for (a, b), link in zip(ends, fabric.links, strict=True)
    ]
    out.tops = [v for v in switches if distance.get(v, 1) == top] or hosts
    return out


def _tier_of_depth(depth: int, deepest: int) -> int:
    if depth >= deepest:
        return POD
    return LEAF if depth <= 1 else BLOCK


_WIRE = {
    "tree": _wire_tree,
    "fat_tree": _wire_fat_tree,
    "rail": _wire_rail,
    "torus": _wire_torus,
    "dragonfly": _wire_dragonfly,
    "edges": _wire_edges,
}


# --- scale-up domains wider than a node, and what joins pods and sites ----------------------


def _add_scaleup(cluster: Cluster, pod: Pod, hosts: range, wiring: _Wiring) -> None:
    """Join runs of like nodes whose scale-up domain is wider than one node (NVL72 racks).

    A run never crosses a leaf: nodes of one rack are cabled alike.
    """
    if pod.fabric.kind == "torus":  # its links are the scale-up links
        return
    size = pod.fabric.nodes_per_leaf or len(hosts)
    number = 0
    for members in _chunks(hosts, size):
        run: list[int] = []
        for h in (*members, -1):
            node = pod.nodes[h - hosts.start] if h >= 0 else None
            head = pod.nodes[run[0] - hosts.start] if run else None
            full = head is not None and len(run) >= _scaleup_nodes(cluster, head)
            if head is not None and (
                node is None
                or full
                or (node.accelerator, node.count) != (head.accelerator, head.count)
            ):
                if len(run) > 1:
                    name = f"{pod.name}:scaleup-{number}"
                    number += 1
                    wiring.switches.append((name, SCALEUP))
                    for member in run:
                        n = pod.nodes[member - hosts.start]
                        rate = n.count * n.scaleup_bytes_per_s
                        wiring.edges.append((member, name, rate, SCALEUP_LATENCY_S / 2, SCALEUP))
                run = []
            if node is not None:
                run.append(h)


def _scaleup_nodes(cluster: Cluster, node: Node) -> int:
    """Nodes in one scale-up domain; more than one only where the type is built that way."""
    kind = cluster.accelerators[node.accelerator]
    if kind.scaleup_devices <= max(kind.devices_per_node, node.count):
        return 1
    return kind.scaleup_devices // max(1, node.count)


def _tops(pod: Pod, hosts: range, tops: Iterable[Vertex]) -> Iterator[tuple[Vertex, float]]:
    """Yield the vertices that face the rest of the site, and the rate of each (0: any)."""
    for top in tops:
        yield top, _node_rate(pod.nodes[top - hosts.start]) if isinstance(top, int) else 0.0


def _join_pods(
    graph: nx.Graph[Vertex],
    cluster: Cluster,
    site: Site,
    pods: list[Pod],
    tops: dict[str, dict[Vertex, float]],
) -> None:
    """Join the pods of a site by its spine: top switches - gateway - spine.

    The edge from the gateway carries the whole uplink rate, which the top switches split
    evenly. A torus has none: its nodes face the spine with their network cards.
    """
    wide = site.wan_bytes_per_s if sum(s.wan_bytes_per_s > 0 for s in cluster.sites) > 1 else 0.0
    spine = f"{site.name}:spine"
    for pod in pods:
        rate = pod.uplink_bytes_per_s
        if len(pods) == 1:  # its only way out is the site's
            rate = min(rate, wide) if rate > 0 else wide
        if rate <= 0:
            continue
        gateway = f"{pod.name}:gateway"
        graph.add_node(gateway, kind="switch", tier=SITE, pod=pod.name, site=site.name)
        graph.add_node(spine, kind="switch", tier=SITE, pod="", site=site.name)
        graph.add_edge(gateway, spine, **_attributes(rate, cluster.spine_latency_s / 2, SITE))
        graph.add_edges_from(
            (top, gateway, _attributes(own or rate / len(tops[pod.name]), 0.0, SITE))
            for top, own in tops[pod.name].items()
        )


def _join_sites(graph: nx.Graph[Vertex], sites: tuple[Site, ...]) -> None:
    """Join the sites by the wide-area network."""
    joined = [s for s in sites if s.wan_bytes_per_s > 0 and f"{s.name}:spine" in graph]
    if len(joined) < 2:
        return
    graph.add_node("wan", kind="switch", tier=FLEET, pod="", site="")
    for site in joined:
        half = site.wan_latency_s / 2
        graph.add_edge(
            f"{site.name}:spine", "wan", **_attributes(site.wan_bytes_per_s, half, FLEET)
        )
