"""Exchanges on single accelerators: which pods leave, and which come instead.

An exchange empties part of one accelerator and fills the room anew, with whatever pays most at
given prices. Pods with several accelerators stay; so do the accelerators that they hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.cluster import Cluster
from scheduler.solver.packing.fills import ShareKnapsack
from scheduler.solver.packing.table import PackingTable

MOST_SUBSETS: Final = 48
"""Ways to empty part of one accelerator that are looked at."""

_NEVER: Final = -1e12
_FOR_PLAIN: Final = -1  # room beside the accelerators

Group = tuple[int, ...]
"""Classes of pods, ascending, with repeats."""


@dataclass(frozen=True, slots=True)
class Site:
    """Equal accelerators of one node, its equal pods without one, or room for more of those.

    Parameters
    ----------
    node : int
        Where.
    many : int
        How many exchanges fit here: one for each accelerator or pod.
    slots : tuple of int
        Accelerators; none: pods without accelerators.
    content : Group
        What each of them holds.
    """

    node: int
    many: int
    slots: tuple[int, ...]
    content: Group


@dataclass(frozen=True, slots=True)
class Exchange:
    """What leaves one accelerator of a site, and what comes there."""

    site: int
    out: Group
    into: Group


@dataclass(frozen=True, slots=True)
class MovePrices:
    """What everything costs, in thousandths of an accelerator.

    Parameters
    ----------
    pod : ndarray of float64, shape (classes,)
        Of one pod.
    cpu_milli, memory_byte : ndarray of float64, shape (nodes,)
        Of what a node has.
    move : float
        Of one move.
    site : ndarray of float64, shape (sites,)
        Of an exchange on each site.
    """

    pod: FloatArray
    cpu_milli: FloatArray
    memory_byte: FloatArray
    move: float
    site: FloatArray


class Exchanges:
    """All exchanges on one cluster, priced at once.

    Parameters
    ----------
    cluster : Cluster
        Nodes and what is on them now.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.table: PackingTable = cluster.table
        self.sites = list(_sites(cluster))
        table = self.table
        self.sharing = np.flatnonzero(table.shares)
        self.sizes, size_of = np.unique(table.share_milli[self.sharing], return_inverse=True)
        self.by_size = [self.sharing[size_of == z] for z in range(len(self.sizes))]
        self.whole = np.flatnonzero((table.accelerators == 1) & ~table.shares)
        self.plain = np.flatnonzero(table.accelerators == 0)
        self.knapsack = ShareKnapsack(self.sizes)
        self.outs: list[Group] = []
        site: list[int] = []
        room: list[int] = []
        flat: list[int] = []
        owner: list[int] = []
        for i, here in enumerate(self.sites):
            full = sum(int(table.share_milli[c]) for c in here.content)
            for out in _subsets(here):
                left = WHOLE_MILLI - full + sum(int(table.share_milli[c]) for c in out)
                site.append(i)
                room.append(left if here.slots else 0 if out else _FOR_PLAIN)
                flat += out
                owner += [len(self.outs)] * len(out)
                self.outs.append(out)
        self.site = np.array(site, dtype=np.int64)
        self.room = np.array(room, dtype=np.int64)
        self.out_class = np.array(flat, dtype=np.int64)
        self.out_owner = np.array(owner, dtype=np.int64)
        self.leaving = np.bincount(self.out_owner, minlength=len(self.outs)).astype(np.int64)
        self.node = np.array([s.node for s in self.sites], dtype=np.int64)

    def worth(self, prices: MovePrices) -> FloatArray:
        """Return what a pod of each class adds to each node, less its prices."""
        table = self.table
        worth = (
            (table.demand_milli - prices.pod)[None, :]
            - prices.cpu_milli[:, None] * table.cpu_milli
            - prices.memory_byte[:, None] * table.memory_bytes
        )
        return np.asarray(worth, dtype=np.float64)

    def best(self, prices: MovePrices, least_gain: float) -> list[tuple[float, Exchange]]:
        """Return the exchange that earns most on each site, where it earns more than `least_gain`.

        Earnings are what comes less what leaves, at its worth, less the prices of moves and site.
        """
        table = self.table
        worth = self.worth(prices)
        open_worth = np.where(table.fits[table.shape_of], worth, _NEVER)
        at, pick = self._best_of_sizes(open_worth)
        filled, last = self.knapsack.best(at)
        alone, alone_pick = _best_column(open_worth, self.whole)
        plain, plain_pick = _best_column(open_worth, self.plain)
        node = self.node[self.site]
        gained = filled[np.maximum(self.room, 0) // self.knapsack.unit, node]
        by_whole = (self.room == WHOLE_MILLI) & (alone[node] > gained)
        gained = np.where(by_whole, alone[node], gained)
        by_plain = self.room == _FOR_PLAIN
        gained = np.where(by_plain, plain[node], gained)
        lost = np.bincount(
            self.out_owner,
            weights=worth[node[self.out_owner], self.out_class] + prices.move,
            minlength=len(self.outs),
        )
        value = gained - lost - prices.site[self.site]
        order = np.lexsort((-value, self.site))
        first = order[np.unique(self.site[order], return_index=True)[1]]
        found = []
        for i in first[value[first] > least_gain].tolist():
            n = int(node[i])
            if by_whole[i]:
                into: Group = (int(alone_pick[n]),)
            elif by_plain[i]:
                into = (int(plain_pick[n]),)
            else:
                sizes = self.knapsack.sizes_of(last[:, n], int(self.room[i]) // self.knapsack.unit)
                into = tuple(sorted(int(pick[n, z]) for z in sizes))
            if into != self.outs[i]:
                found.append((float(value[i]), Exchange(int(self.site[i]), self.outs[i], into)))
        return found

    def _best_of_sizes(self, worth: FloatArray) -> tuple[FloatArray, IntArray]:
        """Return by node and size the worth of the best class, and which it is."""
        at = np.full((len(worth), len(self.sizes)), _NEVER)
        pick = np.zeros(at.shape, dtype=np.int64)
        for z, classes in enumerate(self.by_size):
            at[:, z], pick[:, z] = _best_column(worth, classes)
        return at, pick


def _best_column(worth: FloatArray, classes: IntArray) -> tuple[FloatArray, IntArray]:
    """Return by row the best worth among classes, and which class has it."""
    if not len(classes):
        return np.full(len(worth), _NEVER), np.zeros(len(worth), dtype=np.int64)
    at = worth[:, classes].argmax(axis=1)
    return worth[np.arange(len(worth)), classes[at]], classes[at]


def _sites(cluster: Cluster) -> Iterator[Site]:
    """Yield the sites of a cluster, node by node."""
    table = cluster.table
    for node, pods in enumerate(cluster.on):
        shape = int(table.shape_of[node])
        held: list[list[int]] = [[] for _ in range(int(table.shape_accelerators[shape]))]
        gangs = 0
        plain: Counter[int] = Counter()
        for pod in pods:
            c, bits = int(table.class_of[pod]), int(cluster.held[pod])
            if table.accelerators[c] > 1:
                gangs |= bits
            elif bits:
                held[bits.bit_length() - 1].append(c)
            else:
                plain[c] += 1
        alike: dict[Group, list[int]] = {}
        for slot, content in enumerate(held):
            if not gangs >> slot & 1:
                alike.setdefault(tuple(sorted(content)), []).append(slot)
        for group, slots in sorted(alike.items()):
            yield Site(node, len(slots), tuple(slots), group)
        for c, many in sorted(plain.items()):
            yield Site(node, many, (), (c,))
        yield Site(node, len(table.class_of), (), ())


def _subsets(site: Site) -> list[Group]:
    """Return what may leave one accelerator of a site: small sets of its pods, and all of them."""
    if not site.slots:
        return [site.content]
    counts = sorted(Counter(site.content).items())
    found: list[Group] = [()]
    for chosen in product(*(range(n + 1) for _, n in counts)):
        if len(found) >= MOST_SUBSETS:
            break
        group = tuple(c for (c, _), n in zip(counts, chosen, strict=True) for _ in range(n))
        if 0 < len(group) < len(site.content):
            found.append(group)
    return [*found, site.content] if site.content else found
