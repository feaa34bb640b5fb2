"""Gangs on concrete nodes: the bandwidth each gets, alone and when they share links.

A gang's collective is taken as a ring over its nodes, in the order of the interconnect, with
all accelerators of a node sending at once; nodes of one wider scale-up domain (an NVL72
rack) count as one. At a rate of x bytes/s per accelerator of the fullest node, each step of
the ring carries ``x * accelerators`` over every link on its way, spread evenly over equally
short paths. A gang that fills a box of a torus runs rings along all axes instead.

Gangs that share links share them max-min fairly: nobody's rate could grow without lowering
that of somebody who has no more (Bertsekas and Gallager, "Data Networks", 2nd edition, 1992,
section 6.5). All rates are line rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from scheduler.core.cluster import Cluster
from scheduler.core.run import Placement
from scheduler.core.workload import FloatArray, IntArray
from scheduler.physics.bandwidth import BoolArray, read_cables
from scheduler.physics.interconnect import FLEET, LEAF, NODE, POD, SCALEUP, SITE, Vertex
from scheduler.physics.spreads import inside_node_bytes_per_s

ROUTED = ("torus", "dragonfly", "edges")
"""Fabrics whose paths are followed link by link. In the others all cables that leave a group
of nodes towards one tier carry equal parts, and count as one trunk."""

Flow = tuple[IntArray, FloatArray]
"""Links, and bytes/s on each at one byte/s per accelerator."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a gang asks of the network per byte/s of one accelerator's rate.

    Parameters
    ----------
    links : ndarray of int64, shape (k,)
        Directed links, ascending, each once.
    weights : ndarray of float64, shape (k,)
        Bytes/s on that link at one byte/s per accelerator, positive.
    limit_bytes_per_s : float
        What one accelerator can send at most: through its network cards or, for a gang
        inside one scale-up domain, its scale-up links. Infinite for a single accelerator,
        zero for a gang whose nodes no path connects.
    """

    links: IntArray
    weights: FloatArray
    limit_bytes_per_s: float


def max_min_rates(capacity: FloatArray, usages: Sequence[Usage]) -> FloatArray:
    """Return the max-min fair rate of one accelerator of each gang, by progressive filling.

    All rates grow together; a gang stops when a link it uses is full, or at its own limit.

    Parameters
    ----------
    capacity : ndarray of float64, shape (links,)
        Bytes per second of each directed link.
    usages : sequence of Usage
        The gangs.

    Returns
    -------
    ndarray of float64, shape (gangs,)
        Bytes per second, one direction. At least one gang stops per round, so there are at
        most as many rounds as gangs, of one pass over all uses each.
    """
    gangs = len(usages)
    limit = np.array([u.limit_bytes_per_s for u in usages], dtype=np.float64)
    rates = np.zeros(gangs)
    if not gangs:
        return rates
    owner = np.repeat(np.arange(gangs), [len(u.links) for u in usages])
    used, link = np.unique(np.concatenate([u.links for u in usages]), return_inverse=True)
    weight = np.concatenate([u.weights for u in usages])
    left = capacity[used].astype(np.float64)
    full = left * 1e-12
    growing = limit > 0
    while growing.any():
        load = np.bincount(link, weight * growing[owner], minlength=len(used))
        room = np.divide(left, load, out=np.full(len(used), np.inf), where=load > 0)
        own_room = np.where(growing, limit - rates, np.inf)
        step = max(0.0, min(room.min(initial=np.inf), own_room.min()))
        if np.isinf(step):  # nothing on the network limits these
            rates[growing] = np.inf
            break
        rates[growing] += step
        left -= load * step
        blocked = np.bincount(owner, (load > 0)[link] & (left <= full)[link], minlength=gangs) > 0
        stopped = growing & (blocked | (own_room <= step))
        if not stopped.any():  # rounding kept the tightest link from being called full
            tightest = int(np.argmin(room))
            stopped = growing & (np.bincount(owner, link == tightest, minlength=gangs) > 0)
        growing &= ~stopped
    return rates


class SharedLinks:
    """The directed links of a fleet, and how gangs use them.

    Parameters
    ----------
    cluster : Cluster
        As declared.
    graph : networkx.Graph
        From `interconnect.build_graph`.

    Attributes
    ----------
    capacity : ndarray of float64, shape (links,)
        Bytes per second of each directed link or trunk.
    """

    def __init__(self, cluster: Cluster, graph: nx.Graph[Vertex]) -> None:
        self._cluster = cluster
        self._graph = graph
        self._nodes = cluster.nodes
        self._pod_of = np.repeat(np.arange(len(cluster.pods)), [len(p.nodes) for p in cluster.pods])
        self._first = np.concatenate([[0], np.cumsum([len(p.nodes) for p in cluster.pods])])
        kinds = [p.fabric.kind for p in cluster.pods]
        self._routed: BoolArray = np.isin(np.array(kinds), ROUTED)[self._pod_of]
        self._torus: BoolArray = (np.array(kinds) == "torus")[self._pod_of]
        self._routes: dict[tuple[Vertex, Vertex], Flow] = {}
        self._cables = cables = read_cables(graph)
        self._unit = np.where(
            self._torus, np.arange(cables.hosts), cables.component[SCALEUP, : cables.hosts]
        )
        self._bounds = (NODE, LEAF, LEAF + 1, POD, SITE)
        parts = [cables.pod if t == POD else cables.component[t] for t in self._bounds]
        self._parts = [part[: cables.hosts] for part in parts]
        trunks = [self._leaving(tier, part) for tier, part in zip(self._bounds, parts, strict=True)]
        self._edge_base = 2 * len(trunks) * cables.vertices
        self._edge: dict[tuple[Vertex, Vertex], int] = {}
        rates: list[float] = []
        for a, b, edge in graph.edges(data=True):
            self._edge[a, b] = self._edge_base + len(rates)
            self._edge[b, a] = self._edge_base + len(rates) + 1
            rates += [edge["bytes_per_s"]] * 2
        self.capacity: FloatArray = np.concatenate(
            [*(side for trunk in trunks for side in (trunk, trunk)), np.array(rates)]
        )

    def usage(self, placement: Placement) -> Usage:
        """Return how a gang on `placement` uses the network."""
        hosts = np.array(placement.nodes, dtype=np.int64)
        counts = np.array(placement.counts, dtype=np.float64)
        units, member = np.unique(self._unit[hosts], return_inverse=True)
        sizes = np.bincount(member, counts)
        if len(units) == 1:
            return Usage(_NO_LINKS, _NO_WEIGHTS, self._inside(placement))
        one_pod = len(np.unique(self._pod_of[hosts])) == 1
        if one_pod and self._torus[hosts[0]]:
            boxed = self._box(hosts, counts)
            if boxed is not None:
                return Usage(*_gather([boxed]), np.inf)
        nic = np.array([self._nodes[h].nic_bytes_per_s or np.inf for h in placement.nodes])
        if one_pod:
            nic[self._torus[hosts]] = np.inf
        limit = float(np.bincount(member, counts * nic).min() / sizes.max())
        flows = self._ring(hosts, counts / sizes[member], member, len(units))
        if flows is None:
            return Usage(_NO_LINKS, _NO_WEIGHTS, 0.0)
        links, weights = _gather(flows)
        return Usage(links, weights * sizes.max(), limit)

    def solo_bytes_per_s(self, placement: Placement) -> float:
        """Return the rate of one accelerator when nobody else uses the network."""
        return float(self.fair_bytes_per_s([self.usage(placement)])[0])

    def fair_bytes_per_s(self, usages: Sequence[Usage]) -> FloatArray:
        """Return the max-min fair rate of one accelerator of each gang, shape (gangs,)."""
        return max_min_rates(self.capacity, usages)

    # --- trunks ----------------------------------------------------------------------------

    def _leaving(self, tier: int, part: IntArray) -> FloatArray:
        """Return what the cables out of each part carry, shape (vertices,)."""
        cables = self._cables
        used = cables.used_at(FLEET)
        used = used[
            (cables.tier[used] > tier) & (part[cables.head[used]] != part[cables.tail[used]])
        ]
        total = np.zeros(cables.vertices)
        np.add.at(total, part[cables.head[used]], cables.bytes_per_s[used])
        np.add.at(total, part[cables.tail[used]], cables.bytes_per_s[used])
        return total

    def _trunk(self, bound: int, label: IntArray, down: bool) -> IntArray:
        return (2 * bound + down) * self._cables.vertices + label

    def _inside(self, placement: Placement) -> float:
        """Return the scale-up rate of a gang inside one scale-up domain."""
        if sum(placement.counts) == 1:
            return float("inf")
        return min(
            inside_node_bytes_per_s(
                self._cluster.accelerators[self._nodes[h].accelerator],
                self._nodes[h].scaleup_bytes_per_s,
                count,
            )
            for h, count in zip(placement.nodes, placement.counts, strict=True)
        )

    def _ring(
        self, hosts: IntArray, share: FloatArray, member: IntArray, units: int
    ) -> list[Flow] | None:
        """Return the flows of one byte/s round the ring of units, or None if it is broken."""
        lead = np.full(units, self._cables.hosts)
        np.minimum.at(lead, member, hosts)
        order = np.lexsort([lead, *(part[lead] for part in self._parts)])
        after = np.empty(units, dtype=np.int64)
        after[order] = np.roll(order, -1)
        source, target = lead, lead[after]
        if np.any(self._cables.component[FLEET, source] != self._cables.component[FLEET, target]):
            return None
        before = np.empty(units, dtype=np.int64)
        before[after] = np.arange(units)
        flows: list[Flow] = []
        for bound, part in enumerate(self._parts):
            crosses = part[source] != part[target]
            for down, step in ((False, np.arange(units)), (True, before)):
                out = crosses[step][member]
                if self._bounds[bound] < POD:
                    out &= ~self._routed[hosts]
                flows.append((self._trunk(bound, part[hosts[out]], down), share[out]))
        routed = self._routed[source] | self._routed[target]
        for unit in np.flatnonzero(routed):
            flows += self._routed_step(int(source[unit]), int(target[unit]))
        return flows

    # --- fabrics followed link by link -----------------------------------------------------

    def _routed_step(self, source: int, target: int) -> list[Flow]:
        """Return the flows of one step inside the routed pods at its ends."""
        if self._pod_of[source] == self._pod_of[target]:
            component = self._cables.component
            common = [
                t for t in range(SCALEUP, SITE) if component[t, source] == component[t, target]
            ]
            if common:
                return [self._route(source, target, common[0])]
        ends: list[Flow] = []
        if self._routed[source]:
            ends.append(self._route(source, self._gateway(source), SITE))
        if self._routed[target]:
            ends.append(self._route(self._gateway(target), target, SITE))
        return ends

    def _gateway(self, host: int) -> Vertex:
        return f"{self._graph.nodes[host]['pod']}:gateway"

    def _route(self, source: Vertex, target: Vertex, tier: int) -> Flow:
        """Split one byte/s at every vertex over the neighbours nearest to the target."""
        if (source, target) in self._routes:
            return self._routes[source, target]
        graph = self._graph
        pod = graph.nodes[source]["pod"]
        away: dict[Vertex, int] = {target: 0}
        ring: list[Vertex] = [target]
        while ring and source not in away:
            found = dict.fromkeys(
                w
                for v in ring
                for w, edge in graph.adj[v].items()
                if w not in away and edge["tier"] <= tier and self._carries(w, pod)
            )
            away.update(dict.fromkeys(found, away[ring[0]] + 1))
            ring = list(found)
        flow: dict[Vertex, float] = {source: 1.0}
        carried: dict[int, float] = {}
        for distance in range(away[source], 0, -1):
            following: dict[Vertex, float] = {}
            for v, amount in flow.items():
                nearer = [
                    w
                    for w, edge in graph.adj[v].items()
                    if away.get(w) == distance - 1 and edge["tier"] <= tier
                ]
                for w in nearer:
                    carried[self._edge[v, w]] = amount / len(nearer)
                    following[w] = following.get(w, 0.0) + amount / len(nearer)
            flow = following
        links = np.array(list(carried), dtype=np.int64)
        answer = links, np.array(list(carried.values()), dtype=np.float64)
        self._routes[source, target] = answer
        return answer

    def _carries(self, vertex: Vertex, pod: str) -> bool:
        """Whether traffic inside a pod may pass: not over scale-up switches."""
        at = self._graph.nodes[vertex]
        return bool(at["pod"] == pod and at["tier"] != SCALEUP)

    def _box(self, hosts: IntArray, counts: FloatArray) -> Flow | None:
        """Return the flow of rings along all axes of a box of a torus, or None if it is none.

        An axis that wraps carries two rings, one each way; on a line one ring goes there
        and back. Every one of d axes carries 1/d of the whole.
        """
        pod = self._pod_of[hosts[0]]
        shape = self._cluster.pods[pod].fabric.shape
        at = np.stack(np.unravel_index(hosts - self._first[pod], shape), axis=1)
        sides = at.max(axis=0) - at.min(axis=0) + 1
        if np.prod(sides) != len(hosts) or len(np.unique(counts)) > 1:
            return None
        axes = int((sides > 1).sum())
        inside = set(hosts.tolist())
        links: list[int] = []
        weights: list[float] = []
        for host, place in zip(hosts.tolist(), at, strict=True):
            for axis in np.flatnonzero(sides > 1):
                step = place.copy()
                step[axis] = (step[axis] + 1) % shape[axis]
                other = int(np.ravel_multi_index(tuple(step), shape)) + int(self._first[pod])
                wrapped = sides[axis] == shape[axis]
                if other in inside and (wrapped or step[axis] > place[axis]):
                    part = counts[0] / axes / (2 if wrapped else 1)
                    links += [self._edge[host, other], self._edge[other, host]]
                    weights += [part, part]
        return np.array(links, dtype=np.int64), np.array(weights)


_NO_LINKS: IntArray = np.empty(0, dtype=np.int64)
_NO_WEIGHTS: FloatArray = np.empty(0)


def _gather(flows: Sequence[Flow]) -> Flow:
    """Add up flows by link."""
    links = np.concatenate([f[0] for f in flows])
    weights = np.concatenate([f[1] for f in flows])
    unique, where = np.unique(links, return_inverse=True)
    total: FloatArray = np.bincount(where, weights, minlength=len(unique)).astype(np.float64)
    return unique, total
