"""What a level of the interconnect gives each accelerator when all of them use it.

The figure is the bisection of operators' tables made precise. Take a domain and a way to
cut it in parts. When every accelerator of a part exchanges data with one outside, the
part's outgoing cables are shared max-min fairly, and nobody gets more than it can inject.
The domain's rate is the worst such share over these cuts:

- every sub-domain of every level below (exact for trees and Clos networks, whose sparsest
  cuts are sub-trees);
- for a torus, the halves along each axis; for a dragonfly, the halves of its groups;
- for listed edges, halves found by the spectral bisection, by maximum flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from scheduler.core.cluster import Cluster
from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.interconnect import (
    FLEET,
    LEAF,
    POD,
    SCALEUP,
    SITE,
    TIERS,
    Vertex,
    torus_slices,
)

BoolArray = NDArray[np.bool_]

FLOW_EDGES = 5_000
"""Listed fabrics above this many edges are cut at their sub-domains only."""

SPECTRAL_VERTICES = 600
"""Listed fabrics above this many vertices are halved in file order only."""


@dataclass(frozen=True, slots=True)
class Cables:
    """The graph as columns. Vertices are numbered: hosts first, then switches.

    Parameters
    ----------
    hosts, vertices : int
        How many.
    head, tail, tier : ndarray of int64, shape (edges,)
        Ends and tier of each edge.
    bytes_per_s, latency_s : ndarray of float64, shape (edges,)
        Rate of one direction, one-way latency.
    component : ndarray of int64, shape (tiers, vertices)
        By tier, the smallest vertex that edges of that tier and below lead to.
    pod : ndarray of int64, shape (vertices,)
        The same for a pod together with its gateway.
    """

    hosts: int
    vertices: int
    head: IntArray
    tail: IntArray
    tier: IntArray
    bytes_per_s: FloatArray
    latency_s: FloatArray
    component: IntArray
    pod: IntArray

    def used_at(self, tier: int) -> IntArray:
        """Edges that traffic of a level uses: scale-up links carry only their own level's."""
        if tier <= SCALEUP:
            return np.flatnonzero(self.tier <= tier)
        switch = np.maximum(self.head, self.tail) >= self.hosts
        return np.flatnonzero((self.tier <= tier) & ~((self.tier == SCALEUP) & switch))


def read_cables(graph: nx.Graph[Vertex]) -> Cables:
    """Return `graph` as columns, with its connected components at every tier."""
    switches = [v for v in graph.nodes if isinstance(v, str)]
    hosts = graph.number_of_nodes() - len(switches)
    number: dict[Vertex, int] = {v: hosts + i for i, v in enumerate(switches)}
    rows = [
        (number.get(a, a), number.get(b, b), e["tier"], e["bytes_per_s"], e["latency_s"])
        for a, b, e in graph.edges(data=True)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 5
    head, tail, tier = (np.array(c, dtype=np.int64) for c in columns[:3])
    vertices = hosts + len(switches)
    component = np.empty((len(TIERS), vertices), dtype=np.int64)
    label = np.arange(vertices)
    for t in range(len(TIERS)):
        label = _merge(label, head[tier == t], tail[tier == t])
        component[t] = label
    own = np.array([graph.nodes[v]["pod"] != "" for v in (*range(hosts), *switches)], dtype=bool)
    joins = (tier == SITE) & own[head] & own[tail]
    pod = _merge(component[POD], head[joins], tail[joins])
    return Cables(
        hosts,
        vertices,
        head,
        tail,
        tier,
        np.array(columns[3], dtype=np.float64),
        np.array(columns[4], dtype=np.float64),
        component,
        pod,
    )


def _merge(label: IntArray, head: IntArray, tail: IntArray) -> IntArray:
    """Return component labels after adding edges: hook the larger root on the smaller."""
    label = label.copy()
    while True:
        a, b = label[head], label[tail]
        if np.array_equal(a, b):
            return label
        np.minimum.at(label, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(label[label], label):
            label = label[label]


def injection(
    cables: Cables, counts: IntArray, nic: FloatArray, ringed: BoolArray, tier: int
) -> FloatArray:
    """Return the rate at which one accelerator of each host can send at `tier`.

    Parameters
    ----------
    cables : Cables
        The graph.
    counts : ndarray of int64, shape (hosts,)
        Accelerators per host.
    nic : ndarray of float64, shape (hosts,)
        Network card per accelerator (0: not stated, the cables decide).
    ringed : ndarray of bool, shape (hosts,)
        Hosts of a torus, whose network cards only face the outside of the pod.
    tier : int
        Position in `TIERS`.

    Returns
    -------
    ndarray of float64, shape (hosts,)
        Bytes per second, one direction.
    """
    used = cables.used_at(min(tier, POD))
    total = np.zeros(cables.vertices)
    np.add.at(total, cables.head[used], cables.bytes_per_s[used])
    np.add.at(total, cables.tail[used], cables.bytes_per_s[used])
    rate = total[: cables.hosts] / np.maximum(counts, 1)
    if tier <= SCALEUP:
        return rate
    behind = (nic > 0) & (rate > 0) & ~(ringed & (tier <= POD))
    outside = np.maximum(nic, rate) if tier > POD else rate
    return np.where(behind, np.minimum(nic, rate), outside)


def domain_rates(
    cluster: Cluster, graph: nx.Graph[Vertex], cables: Cables, counts: IntArray, inject: FloatArray
) -> FloatArray:
    """Return, per tier and host, the rate of the domain around the host.

    Parameters
    ----------
    cluster, graph : Cluster, networkx.Graph
        As declared, and its graph.
    cables : Cables
        The graph as columns.
    counts : ndarray of int64, shape (hosts,)
        Accelerators per host.
    inject : ndarray of float64, shape (tiers, hosts)
        `injection` at every tier.

    Returns
    -------
    ndarray of float64, shape (tiers, hosts)
        Bytes per second of one accelerator, one direction, when all of the domain's
        accelerators communicate across it at once.
    """
    rates = np.zeros((len(TIERS), cables.hosts))
    halves = dict(_axis_halves(cluster, cables))
    present = [t for t in range(SCALEUP, FLEET + 1) if np.any(cables.tier == t)]
    for tier in range(SCALEUP, FLEET + 1):
        home = cables.component[tier]
        top = np.zeros(cables.vertices)
        np.maximum.at(top, home[: cables.hosts], inject[tier])
        rate = top[home[: cables.hosts]]
        below = [cables.component[t] for t in (0, *present) if t < tier]
        if tier > POD:
            below.append(cables.pod)
        for part in [*below, *halves.get(tier, [])]:
            share = _worst_share(cables, tier, part, counts, inject[tier])
            rate = np.minimum(rate, share[home[: cables.hosts]])
        rates[tier] = rate
    _cut_listed_edges(cluster, graph, cables, counts, rates)
    return rates


def _worst_share(
    cables: Cables, tier: int, part: IntArray, counts: IntArray, inject: FloatArray
) -> FloatArray:
    """Return by domain label the smallest fair share of its parts' outgoing cables.

    `part` labels every vertex; edges between different parts are the cut. A part exchanges
    with the rest of its domain, so the smaller of the two sides limits the demand.
    """
    home = cables.component[tier]
    used = cables.used_at(tier)
    used = used[part[cables.head[used]] != part[cables.tail[used]]]
    cut = np.zeros(cables.vertices)
    np.add.at(cut, part[cables.head[used]], cables.bytes_per_s[used])
    np.add.at(cut, part[cables.tail[used]], cables.bytes_per_s[used])
    share = np.full(cables.vertices, np.inf)
    inner = _demands(part[: cables.hosts], counts, inject)
    outer = _demands(home[: cables.hosts], counts, inject)
    known: dict[Hashable, float] = {}
    for label, mine in inner.items():
        whole = outer[int(home[label])]
        rest = whole - mine
        if not rest:
            continue
        capacity = float(cut[label])
        key = (capacity, tuple(sorted(mine.items())), tuple(sorted(rest.items())))
        if key not in known:
            known[key] = max(_water_level(mine, capacity), _water_level(rest, capacity))
        domain = int(home[label])
        share[domain] = min(share[domain], known[key])
    return share


def _demands(label: IntArray, counts: IntArray, inject: FloatArray) -> dict[int, Counter[float]]:
    """Return by label how many accelerators can inject at each rate."""
    found: dict[int, Counter[float]] = {}
    for at, count, rate in zip(label.tolist(), counts.tolist(), inject.tolist(), strict=True):
        found.setdefault(at, Counter())[rate] += count
    return found


def _water_level(demand: Counter[float], capacity: float) -> float:
    """Return the fair share when `demand` (rate: how many) splits `capacity`; inf: enough."""
    left, number = capacity, sum(demand.values())
    for rate, count in sorted(demand.items()):
        if rate * number >= left * (1 + 1e-9):
            return max(0.0, left / number)
        left -= rate * count
        number -= count
    return float("inf")


def _axis_halves(cluster: Cluster, cables: Cables) -> Iterator[tuple[int, list[IntArray]]]:
    """Yield by tier the bisections of torus slices and dragonflies as part labels."""
    parts: dict[int, list[IntArray]] = {}
    first = 0
    for pod in cluster.pods:
        hosts = range(first, first + len(pod.nodes))
        first += len(pod.nodes)
        fabric = pod.fabric
        if fabric.kind == "torus":
            low, side = torus_slices(fabric.shape, len(hosts))
            at = low[-1]
            for axis in range(len(fabric.shape)):
                for tier in range(SCALEUP, POD + 1):
                    depth = min(POD - tier, len(low) - 1)
                    middle = low[depth, :, axis] + -(-side[depth, :, axis] // 2)
                    bits = at[:, axis] >= middle
                    parts.setdefault(tier, []).append(_split(cables, tier, hosts, bits))
        elif fabric.kind == "dragonfly":
            groups = cables.component[LEAF]
            order = np.unique(groups[hosts.start : hosts.stop])
            bits = groups[hosts.start : hosts.stop] >= order[len(order) // 2]
            part = _split(cables, POD, hosts, bits)
            part = np.where(np.isin(groups, order), part[groups], part)
            parts.setdefault(POD, []).append(part)
    yield from parts.items()


def _split(cables: Cables, tier: int, hosts: range, bits: BoolArray) -> IntArray:
    """Return labels of a pod's domains at `tier` cut in two: the part's smallest host."""
    part: IntArray = cables.component[tier].copy()
    seen: dict[tuple[int, bool], int] = {}
    for h, bit in zip(hosts, bits.tolist(), strict=True):
        part[h] = seen.setdefault((int(cables.component[tier][h]), bit), h)
    return part


def _cut_listed_edges(
    cluster: Cluster,
    graph: nx.Graph[Vertex],
    cables: Cables,
    counts: IntArray,
    rates: FloatArray,
) -> None:
    """Lower the rates of pods with listed edges to the maximum flow between their halves."""
    for pod in cluster.pods:
        if pod.fabric.kind != "edges" or not 0 < len(pod.fabric.links) <= FLOW_EDGES:
            continue
        inside: nx.Graph[Vertex] = nx.Graph()
        inside.add_edges_from(
            (a, b, {"capacity": edge["bytes_per_s"]})
            for a, b, edge in graph.edges(data=True)
            if edge["tier"] <= POD and graph.nodes[a]["pod"] == pod.name
        )
        for members in nx.connected_components(inside):
            hosts = sorted(v for v in members if isinstance(v, int))
            if len(hosts) > 1:
                share = _half_flow(inside.subgraph(members), hosts, counts)
                rates[POD:, hosts] = np.minimum(rates[POD:, hosts], share)


def _half_flow(inside: nx.Graph[Vertex], hosts: list[int], counts: IntArray) -> float:
    """Return the fair share between the halves of one connected fabric."""
    ranked = _spectral_order(inside, hosts)
    worst = float("inf")
    for line in (ranked, hosts):
        low, high = line[: len(line) // 2], line[len(line) // 2 :]
        flow = inside.copy()
        flow.add_edges_from(("source:", h) for h in low)  # no capacity: unlimited
        flow.add_edges_from(("sink:", h) for h in high)
        value, _ = nx.minimum_cut(flow, "source:", "sink:")
        smaller = min(sum(int(counts[h]) for h in side) for side in (low, high))
        worst = min(worst, float(value) / max(1, smaller))
    return worst


def _spectral_order(inside: nx.Graph[Vertex], hosts: list[int]) -> list[int]:
    """Return the hosts by their place in the Fiedler vector (file order in large fabrics)."""
    vertices = sorted(inside.nodes, key=str)
    if len(vertices) > SPECTRAL_VERTICES:
        return hosts
    weights = nx.to_numpy_array(inside, nodelist=vertices, weight="capacity")
    laplacian = np.diag(weights.sum(axis=1)) - weights
    fiedler = np.linalg.eigh(laplacian)[1][:, 1]
    place = dict(zip(vertices, np.round(fiedler, 9).tolist(), strict=True))
    return sorted(hosts, key=lambda h: (place[h], h))


def domain_latencies(cables: Cables, tier: int) -> FloatArray:
    """Return per host the one-way latency across its domain at `tier`, shape (hosts,).

    Two sweeps: the farthest host from any host, then the farthest from that one. Exact on
    trees and on graphs whose hosts are alike.
    """
    used = cables.used_at(tier)
    tail = np.concatenate([cables.tail[used], cables.head[used]])
    head = np.concatenate([cables.head[used], cables.tail[used]])
    cost = np.tile(cables.latency_s[used], 2)
    home = cables.component[tier][: cables.hosts]
    start = np.unique(home)
    away = np.zeros(cables.hosts)
    for _ in range(2):
        away = _distances(cables.vertices, head, tail, cost, start)[: cables.hosts]
        away = np.where(np.isfinite(away), away, 0.0)
        order = np.lexsort((-np.arange(cables.hosts), away, home))
        last = np.flatnonzero(np.append(home[order][1:] != home[order][:-1], True))
        start = order[last]
    worst: FloatArray = np.zeros(cables.vertices)
    np.maximum.at(worst, home, away)
    across: FloatArray = worst[home]
    return across


def _distances(
    vertices: int, head: IntArray, tail: IntArray, cost: FloatArray, start: IntArray
) -> FloatArray:
    """Shortest latency from the nearest of `start`, by relaxing all edges at once."""
    away = np.full(vertices, np.inf)
    away[start] = 0.0
    while True:
        nearer = away.copy()
        np.minimum.at(nearer, tail, away[head] + cost)
        if np.array_equal(nearer, away):
            return away
        away = nearer
