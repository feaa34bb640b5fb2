"""Room made by moving few pods: who is refused comes in, and who is in stays in.

Each step lets one refused pod onto one node. Pods in its way move to where they fit, or take
the place of smaller ones, which move on in turn. Steps that gain most per pod moved come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from scheduler.core.packing import REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.core.workload import IntArray
from scheduler.solver.packing.cluster import Cluster
from scheduler.solver.packing.table import tabulate

MOST_AT_ONCE: Final = 8
"""Pods moved for one that comes in, at most."""

NODES_TRIED: Final = 16
"""Nodes looked at for a class at each level of gain per move, after the last success."""

BRANCHES: Final = 3
"""Smaller pods, of different classes, whose place a pod without a home tries to take."""

_LONGEST_CHOICE: Final = 3  # subsets of the sharers of one accelerator, at most so large
_NO_WAY: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Defragmented:
    """What moving pods gained.

    Parameters
    ----------
    packing : Packing
        The same arrivals; all that were placed still are.
    moves : ndarray of int64, shape (steps + 1,)
        Pods moved after each step, counted from 0 on.
    gained_milli : ndarray of int64, shape (steps + 1,)
        Thousandths of accelerators gained until then.
    """

    packing: Packing
    moves: IntArray
    gained_milli: IntArray


def defragment(problem: PackingProblem, packing: Packing, most_moves: int) -> Defragmented:
    """Admit refused pods by moving at most `most_moves` of those placed.

    Parameters
    ----------
    problem : PackingProblem
        Nodes and pods.
    packing : Packing
        Where pods are.
    most_moves : int
        A pod that moves twice counts twice.
    """
    search = _Search(problem, packing)
    moves, gained = [0], [0]
    for moved, gain in search.steps(most_moves):
        moves.append(moves[-1] + moved)
        gained.append(gained[-1] + gain)
    return Defragmented(
        search.cluster.packing(packing.arrivals, packing.policy),
        np.array(moves, dtype=np.int64),
        np.array(gained, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True)
class _NodeView:
    """What is free on a node, and its pods: by accelerator, and those without, most CPU first."""

    cpu_milli: int
    memory_bytes: int
    free: list[int]
    by_slot: list[list[int]]
    plain: list[int]


class _Search:
    """Which pods stand in the way of which class on which node, kept up to date."""

    def __init__(self, problem: PackingProblem, packing: Packing) -> None:
        self.table = tabulate(problem, packing.arrivals)
        self.cluster = Cluster(self.table)
        self.cluster.load(packing)
        table = self.table  # plain lists: single numbers are read far more often than columns
        self.kind: list[int] = table.class_of.tolist()
        self.wide: list[int] = table.accelerators[table.class_of].tolist()
        self.share: list[int] = table.share_milli[table.class_of].tolist()
        self.cpu: list[int] = table.cpu_milli[table.class_of].tolist()
        self.memory: list[int] = table.memory_bytes[table.class_of].tolist()
        self.waiting: list[list[int]] = [[] for _ in self.table.count]
        for pod in np.flatnonzero(packing.node == REFUSED).tolist()[::-1]:
            self.waiting[self.kind[pod]].append(pod)
        self.sharers = np.flatnonzero(table.shares[table.class_of])
        demand = table.demand_milli
        self.classes = [c for c, pods in enumerate(self.waiting) if pods and demand[c]]
        self.demand = demand[self.classes]
        self.ways: dict[tuple[int, int], tuple[int, ...]] = {}
        self.cost = np.full((len(self.classes), len(self.table.shape_of)), _NO_WAY, dtype=np.int64)
        self.largest = np.zeros_like(self.cost)  # share among the pods in the way
        for node in range(len(self.table.shape_of)):
            self._look(node)

    def _look(self, node: int) -> None:
        """Find for every class the fewest pods in its way on a node."""
        cluster, table = self.cluster, self.table
        view = _NodeView(
            int(cluster.cpu[node]),
            int(cluster.memory[node]),
            cluster.free[node, : table.shape_accelerators[table.shape_of[node]]].tolist(),
            [[] for _ in range(cluster.free.shape[1])],
            [],
        )
        for pod in cluster.on[node]:
            held = int(cluster.held[pod])
            if not held:
                view.plain.append(pod)
            for g in range(held.bit_length()):
                if held >> g & 1:
                    view.by_slot[g].append(pod)
        view.plain.sort(key=lambda p: (-self.cpu[p], p))
        fits = table.fits[table.shape_of[node]].tolist()
        self.cost[:, node] = _NO_WAY
        for row, c in enumerate(self.classes):
            if not self.waiting[c] or not fits[c]:
                continue
            way = self._in_the_way(self.waiting[c][-1], view)
            if way is not None and len(way) <= MOST_AT_ONCE:
                self.ways[row, node] = way
                self.cost[row, node] = len(way)
                self.largest[row, node] = max((self.share[p] for p in way), default=0)

    def _in_the_way(self, pod: int, view: _NodeView) -> tuple[int, ...] | None:
        """Return few pods of a node without which another fits; None: not found."""
        slots = range(len(view.free))
        wanted, share = self.wide[pod], self.share[pod]
        chosen: tuple[int, ...] | None = None
        if share < WHOLE_MILLI:
            for g in slots:
                way = self._fewest(view.by_slot[g], share - view.free[g])
                if way is not None and (chosen is None or len(way) < len(chosen)):
                    chosen = way
        else:
            easy = sorted(slots, key=lambda g: (self._weight(view.by_slot[g]), g))[:wanted]
            chosen = tuple(dict.fromkeys(p for g in easy for p in view.by_slot[g]))
        if chosen is None or any(self.wide[p] > 1 for p in chosen):
            return None  # pods with several accelerators stay where they are
        return self._with_room(pod, chosen, view)

    def _weight(self, pods: list[int]) -> int:
        """Return how hard an accelerator is to empty: by its largest share, then by pods."""
        if any(self.wide[p] > 1 for p in pods):
            return _NO_WAY
        return (WHOLE_MILLI + 1) * max((self.share[p] for p in pods), default=0) + len(pods)

    def _fewest(self, pods: list[int], need: int) -> tuple[int, ...] | None:
        """Return the fewest sharers that free so much of an accelerator, the smallest ones."""
        if need <= 0:
            return ()
        share = [self.share[p] for p in pods]
        for size in range(1, min(len(pods), _LONGEST_CHOICE) + 1):
            found = [
                (freed, chosen)
                for chosen in combinations(range(len(pods)), size)
                if (freed := sum(share[i] for i in chosen)) >= need
            ]
            if found:
                return tuple(pods[i] for i in min(found)[1])
        return None

    def _with_room(self, pod: int, way: tuple[int, ...], view: _NodeView) -> tuple[int, ...] | None:
        """Add pods without accelerators until CPU and memory suffice; None if they never do."""
        cpu = self.cpu[pod] - view.cpu_milli - sum(self.cpu[p] for p in way)
        memory = self.memory[pod] - view.memory_bytes - sum(self.memory[p] for p in way)
        more = list(way)
        for other in view.plain:
            if cpu <= 0 and memory <= 0:
                break
            cpu -= self.cpu[other]
            memory -= self.memory[other]
            more.append(other)
        return tuple(more) if cpu <= 0 and memory <= 0 else None

    def steps(self, most_moves: int) -> Iterator[tuple[int, int]]:
        """Admit pods one by one; yield pods moved and thousandths gained by each.

        Levels of gain per move come in falling order. At each, every class tries the nodes
        where fewest pods stand in its way.
        """
        levels = {
            (0.0 if not moves else -demand / moves, moves, row)
            for row, demand in enumerate(self.demand.tolist())
            for moves in range(MOST_AT_ONCE + 1)
        }
        by_gain = sorted(levels, key=lambda x: (x[1] > 0, x[0], -self.demand[x[2]], x[1], x[2]))
        moves_left = most_moves
        for _, moves, row in by_gain:
            tried: set[int] = set()
            while moves <= moves_left and self.waiting[self.classes[row]]:
                node = self._easiest(row, moves, tried)
                if node is None or len(tried) >= NODES_TRIED:
                    break
                tried.add(node)
                moved = self._admit(row, node, moves)
                if moved is not None:
                    moves_left -= moved
                    tried.clear()
                    yield moved, int(self.demand[row])

    def _easiest(self, row: int, moves: int, tried: set[int]) -> int | None:
        """Return the node, not tried yet, where the pods in the way are smallest and fewest."""
        usable = self.cost[row] <= moves
        usable[sorted(tried)] = False
        nodes = np.flatnonzero(usable)
        if not len(nodes):
            return None
        order = np.lexsort((self.cost[row, nodes], self.largest[row, nodes]))
        return int(nodes[order[0]])

    def _admit(self, row: int, node: int, moves: int) -> int | None:
        """Carry a step out within so many moves; None, and all as before, if it takes more."""
        cluster, c = self.cluster, self.classes[row]
        way = self.ways[row, node]
        newcomer = self.waiting[c][-1]
        done = _Undo(cluster)
        for pod in way:
            done.remove(pod)
        done.put(newcomer, node, cluster.accelerators_for(c, node))
        left = moves - len(way)
        for pod in sorted(way, key=lambda p: (-self.share[p], p)):
            spent = self._settle(pod, left, done)
            if spent is None:
                done.undo(0)
                return None
            left -= spent
        self.waiting[c].pop()
        if not self.waiting[c]:
            self.cost[row] = _NO_WAY
        for other in sorted(done.nodes):
            self._look(other)
        return moves - left

    def _settle(self, pod: int, moves: int, done: _Undo) -> int | None:
        """Find a home for a pod that was taken out, in turn for smaller ones if need be.

        Returns how many further pods moved; None where there is no home within `moves`.
        """
        cluster = self.cluster
        home = cluster.home(self.kind[pod])
        if home is not None:
            done.put(pod, *home)
            return 0
        if moves < 1 or not 0 < self.share[pod] < WHOLE_MILLI:
            return None
        for other in self._smaller_sharers(pod):
            mark = len(done.log)
            node, held = int(cluster.node[other]), int(cluster.held[other])
            done.remove(other)
            done.put(pod, node, held)
            spent = self._settle(other, moves - 1, done)
            if spent is not None:
                return spent + 1
            done.undo(mark)
        return None

    def _smaller_sharers(self, pod: int) -> list[int]:
        """Return pods in whose place one fits, smaller ones, the smallest first."""
        cluster, table, c = self.cluster, self.table, self.kind[pod]
        others = self.sharers[cluster.node[self.sharers] != REFUSED]
        node = cluster.node[others]
        kind = table.class_of[others]
        share = table.share_milli[kind]
        slot = np.log2(cluster.held[others].astype(np.float64)).astype(np.int64)
        fits = (share < self.share[pod]) & table.fits[table.shape_of[node], c]
        fits &= share + cluster.free[node, slot] >= self.share[pod]
        fits &= cluster.cpu[node] + table.cpu_milli[kind] >= self.cpu[pod]
        fits &= cluster.memory[node] + table.memory_bytes[kind] >= self.memory[pod]
        found = np.flatnonzero(fits)
        found = found[np.argsort(share[found], kind="stable")]
        _, first = np.unique(kind[found], return_index=True)
        chosen: list[int] = others[found[np.sort(first)]][:BRANCHES].tolist()
        return chosen


class _Undo:
    """Changes to a cluster that can be taken back."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.log: list[tuple[int, int, int]] = []
        self.nodes: set[int] = set()

    def remove(self, pod: int) -> None:
        """Take a pod out."""
        node, held = int(self.cluster.node[pod]), int(self.cluster.held[pod])
        self.log.append((pod, node, held))
        self.nodes.add(node)
        self.cluster.remove(pod)

    def put(self, pod: int, node: int, held: int) -> None:
        """Put a pod in."""
        self.log.append((pod, REFUSED, 0))
        self.nodes.add(node)
        self.cluster.put(pod, node, held)

    def undo(self, mark: int) -> None:
        """Take back everything after the first `mark` changes."""
        while len(self.log) > mark:
            pod, node, held = self.log.pop()
            if node == REFUSED:
                self.cluster.remove(pod)
            else:
                self.cluster.put(pod, node, held)
