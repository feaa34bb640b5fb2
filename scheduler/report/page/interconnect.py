"""The interconnect in layers, and how loaded its links are over time.

A link's load is what the gangs across it could send at their line rate over what it
carries: a gang is a ring over its nodes, so each group of nodes that it enters it enters and
leaves once, at the rate of a whole node (of a whole scale-up domain, where that is wider).
Above 1, gangs wait for one another if they all communicate at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import networkx as nx
import numpy as np

from scheduler.core.cluster import Cluster
from scheduler.core.workload import FloatArray
from scheduler.physics.contention import ROUTED
from scheduler.physics.interconnect import SCALEUP, TIERS, Vertex, build_graph
from scheduler.report.page.bins import Bins
from scheduler.report.page.history import History
from scheduler.report.words import plain
from scheduler.verify.facts import Hold

MOST_EDGES: Final = 6000
"""Cables drawn at most; beyond, those of the lowest layer are left out."""


@dataclass(slots=True)
class Trunk:
    """Cables that carry equal parts of what leaves a group of nodes, or one cable.

    Parameters
    ----------
    name : str
        What it leaves, or its two ends.
    tier : int
        Position in `scheduler.physics.interconnect.TIERS`.
    bytes_per_s : float
        Of all its cables, one direction.
    cables : int
        How many.
    hosts : list of int
        Nodes below it.
    """

    name: str
    tier: int
    bytes_per_s: float = 0.0
    cables: int = 0
    hosts: list[int] = field(default_factory=list)


class Network:
    """The graph of a cluster with its trunks.

    Parameters
    ----------
    cluster : Cluster
        As declared.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.graph = build_graph(cluster)
        self.trunks: list[Trunk] = []
        self.trunk_of: dict[tuple[Vertex, Vertex], int] = {}
        self._nodes = cluster.nodes
        pods = [p for p in cluster.pods for _ in p.nodes]
        self._pod = [p.name for p in pods]
        self._routed = [p.fabric.kind in ROUTED for p in pods]
        self._paths: dict[tuple[int, int], list[int]] = {}
        self._label: dict[int, list[int]] = {}
        self._group: dict[tuple[int, int], int] = {}
        self._find_trunks()

    def _find_trunks(self) -> None:
        graph, hosts = self.graph, len(self._nodes)
        edges = [(a, b, int(data["tier"])) for a, b, data in graph.edges(data=True)]
        for tier in sorted({t for _, _, t in edges}):
            below: nx.Graph[Vertex] = nx.Graph()
            below.add_nodes_from(graph)
            below.add_edges_from((a, b) for a, b, t in edges if t < tier)
            label: dict[Vertex, int] = {}
            members: list[list[int]] = []
            for number, part in enumerate(nx.connected_components(below)):
                members.append(sorted(v for v in part if isinstance(v, int)))
                label.update(dict.fromkeys(part, number))
            self._label[tier] = [label[h] for h in range(hosts)]
            for a, b, edge in graph.edges(data=True):
                if edge["tier"] == tier:
                    self._add_cable(a, b, edge["bytes_per_s"], tier, label, members)

    def _add_cable(
        self,
        a: Vertex,
        b: Vertex,
        rate: float,
        tier: int,
        label: dict[Vertex, int],
        members: list[list[int]],
    ) -> None:
        sides = [v for v in (a, b) if members[label[v]]]
        low = min(sides or [a], key=lambda v: (self._tier(v), len(members[label[v]])))
        if self._is_routed(a, b):
            self.trunk_of[a, b] = len(self.trunks)
            ends = f"{self.name(a)} - {self.name(b)}"
            hosts = [v for v in (a, b) if isinstance(v, int)]
            self.trunks.append(Trunk(ends, tier, rate, 1, hosts))
            return
        key = (tier, label[low])
        if key not in self._group:
            self._group[key] = len(self.trunks)
            self.trunks.append(Trunk(f"{self.name(low)} up", tier, hosts=members[label[low]]))
        number = self._group[key]
        self.trunk_of[a, b] = number
        self.trunks[number].bytes_per_s += rate
        self.trunks[number].cables += 1

    def _tier(self, vertex: Vertex) -> int:
        return int(self.graph.nodes[vertex]["tier"])

    def _is_routed(self, a: Vertex, b: Vertex) -> bool:
        """Return whether traffic is followed cable by cable here: both ends in such a pod."""
        kinds = {p.name: p.fabric.kind for p in self.cluster.pods}
        pods = {self.graph.nodes[v]["pod"] for v in (a, b)}
        gateway = any(str(v).endswith(":gateway") for v in (a, b))
        return len(pods) == 1 and not gateway and kinds.get(pods.pop(), "") in ROUTED

    def name(self, vertex: Vertex) -> str:
        """Return a name for people."""
        return plain(self._nodes[vertex].id if isinstance(vertex, int) else vertex)

    def crossed(self, hold: Hold) -> list[tuple[int, float]]:
        """Return the trunks that a gang uses and the bytes/s it could send over each."""
        hosts = list(hold.placement.nodes)
        counts = dict(hold.held)
        if len(hosts) < 2:
            return []
        unit = self._label[min(tiers)] if (tiers := [t for t in self._label if t > SCALEUP]) else ()
        sent: dict[int, float] = {}
        for h in hosts:
            key = unit[h] if unit else h
            sent[key] = sent.get(key, 0.0) + counts[h] * self._nodes[h].nic_bytes_per_s
        rate = min(sent.values())
        inside = min(counts[h] * self._nodes[h].scaleup_bytes_per_s for h in hosts)
        found: dict[int, float] = {}
        for tier, label in self._label.items():
            parts = dict.fromkeys(label[h] for h in hosts)
            if len(parts) > 1:
                for part in parts:
                    if (number := self._group.get((tier, part))) is not None:
                        most = inside if tier == SCALEUP else rate
                        found[number] = most or self.trunks[number].bytes_per_s
        if any(self._routed[h] for h in hosts):
            for a, b in zip(hosts, [*hosts[1:], hosts[0]], strict=True):
                for number in self._path(a, b):
                    load = rate or self.trunks[number].bytes_per_s
                    found[number] = found.get(number, 0.0) + load / 2
        return list(found.items())

    def _path(self, a: int, b: int) -> list[int]:
        """Return the routed cables on a shortest path between two nodes of one pod."""
        if self._pod[a] != self._pod[b] or not self._routed[a]:
            return []
        key = (min(a, b), max(a, b))
        if key not in self._paths:
            graph = self.graph
            inside = graph.subgraph(v for v in graph if graph.nodes[v]["pod"] == self._pod[a])
            try:
                path = nx.shortest_path(inside, *key)
            except nx.NetworkXNoPath:
                path = []
            found = []
            for u, v in pairwise(path):
                number = self.trunk_of.get((u, v), self.trunk_of.get((v, u)))
                if number is not None:
                    found.append(number)
            self._paths[key] = found
        return self._paths[key]

    def load(self, history: History, bins: Bins) -> FloatArray:
        """Return the mean load of each trunk by bin, shape (trunks, bins)."""
        rows = [
            (hold.start_us, hold.end_us, sent / self.trunks[number].bytes_per_s, number)
            for hold in history.holds
            for number, sent in self.crossed(hold)
            if self.trunks[number].bytes_per_s > 0
        ]
        if not rows:
            return np.zeros((len(self.trunks), bins.count))
        start, end, rate, trunk = (np.array(column) for column in zip(*rows, strict=True))
        amounts = bins.amounts(start, end, rate, trunk.astype(np.int64), len(self.trunks))
        seconds = np.diff(bins.edges_us) / 1e6
        return amounts / seconds

    # --- drawing -----------------------------------------------------------------------------

    def drawing(self) -> dict[str, Any]:
        """Return vertices with places in the unit square's width and a layer, and cables."""
        places = self._places()
        order: list[Vertex] = [*range(len(self._nodes))]
        order += [v for v in self.graph if not isinstance(v, int)]
        position = {v: i for i, v in enumerate(order)}
        edges = [(position[a], position[b], self.trunk_of[a, b]) for a, b in self.graph.edges]
        dropped = 0
        if len(edges) > MOST_EDGES:
            kept = [e for e in edges if min(e[0], e[1]) >= len(self._nodes)]
            dropped, edges = len(edges) - len(kept[:MOST_EDGES]), kept[:MOST_EDGES]
        layers = sorted({layer for _, layer in places.values()})
        return {
            "layers": [_layer_name(layer) for layer in layers],
            "x": [round(places[v][0], 5) for v in order],
            "layer": [layers.index(places[v][1]) for v in order],
            "names": [self.name(v) for v in order[len(self._nodes) :]],
            "edges": [value for edge in sorted(edges) for value in edge],
            "dropped": dropped,
            "trunks": {
                "name": [t.name for t in self.trunks],
                "tier": [TIERS[t.tier] for t in self.trunks],
                "gbit": [round(t.bytes_per_s * 8e-9, 1) for t in self.trunks],
                "cables": [t.cables for t in self.trunks],
                "hosts": [_ranges(t.hosts) for t in self.trunks],
            },
        }

    def _places(self) -> dict[Vertex, tuple[float, float]]:
        """Return x in [0, 1] and a layer (0: nodes, in sheets below 1 for a torus)."""
        hosts = len(self._nodes)
        places: dict[Vertex, tuple[float, float]] = {}
        first = 0
        for pod in self.cluster.pods:
            here = range(first, first + len(pod.nodes))
            first += len(pod.nodes)
            sheet = _torus_sheet(pod.fabric.shape) if pod.fabric.kind == "torus" else None
            for i, h in enumerate(here):
                x, layer = sheet(i) if sheet else ((i + 0.5) / len(here), 0.0)
                places[h] = ((here.start + x * len(here)) / hosts, layer)
        middle = self._middles()
        by_layer: dict[tuple[float, str, str], list[Vertex]] = {}
        for v, data in self.graph.nodes(data=True):
            if not isinstance(v, int):
                tier = data["tier"] + (0.5 if str(v).endswith(":spine") else 0.0)
                by_layer.setdefault((float(tier), data["site"], data["pod"]), []).append(v)
        for (tier, _, _), members in by_layer.items():
            members.sort(key=lambda v: (middle[v][0], _natural(str(v))))
            low = min(middle[v][1] for v in members)
            high = max(middle[v][2] for v in members)
            for i, v in enumerate(members):
                x = low + (high - low) * (i + 0.5) / len(members)
                places[v] = ((x + 0.5) / hosts, tier)
        return places

    def _middles(self) -> dict[Vertex, tuple[float, int, int]]:
        """Return mean, first and last of the nodes below each switch."""
        below: dict[Vertex, tuple[float, int, int]] = {
            h: (float(h), h, h) for h in range(len(self._nodes))
        }
        switches = [v for v in self.graph if not isinstance(v, int)]
        for v in sorted(switches, key=lambda v: (self._tier(v), str(v).endswith(":spine"))):
            near = [below[u] for u in self.graph.adj[v] if u in below and u != v]
            lower = [
                below[u]
                for u in self.graph.adj[v]
                if u in below and (isinstance(u, int) or self._tier(u) < self._tier(v))
            ] or near
            if lower:
                mean = sum(m for m, _, _ in lower) / len(lower)
                below[v] = (mean, min(a for _, a, _ in lower), max(b for _, _, b in lower))
            else:
                below[v] = (0.0, 0, max(0, len(self._nodes) - 1))
        return below


def _torus_sheet(shape: Sequence[int]) -> Callable[[int], tuple[float, float]]:
    """Return the place of node i of a torus: sheets side by side, rows as layers below 1."""
    width = shape[-1] if shape else 1
    rows = shape[-2] if len(shape) > 1 else 1
    sheets = int(np.prod(shape[:-2])) if len(shape) > 2 else 1

    def place(i: int) -> tuple[float, float]:
        column, row, sheet = i % width, i // width % rows, i // (width * rows)
        x = (sheet + 0.1 + 0.8 * (column + 0.5 + 0.2 * row / rows) / width) / max(1, sheets)
        return min(0.999, x), 0.9 * row / rows

    return place


def _layer_name(layer: float) -> str:
    if layer < 1:
        return "nodes" if layer == 0 else ""
    if layer != int(layer):
        return "site spine"
    names = {"scaleup": "scale-up", "block": "spine", "pod": "pod", "site": "pod uplink"}
    return names.get(TIERS[int(layer)], TIERS[int(layer)])


def _natural(name: str) -> tuple[object, ...]:
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    return (*(int(d) for d in digits), name)


def _ranges(hosts: Iterable[int]) -> list[int]:
    """Return ascending nodes as pairs of first and last."""
    out: list[int] = []
    for h in hosts:
        if out and h == out[-1] + 1:
            out[-1] = h
        else:
            out += [h, h]
    return out
