"""What is left of every node while single pods are put in and taken out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scheduler.core.packing import REFUSED, WHOLE_MILLI, Packing
from scheduler.core.workload import IntArray
from scheduler.solver.packing.table import PackingTable


class Cluster:
    """Nodes with the pods that are on them.

    Parameters
    ----------
    table : PackingTable
        Pods and nodes.
    """

    def __init__(self, table: PackingTable) -> None:
        self.table = table
        shape = table.shape_of
        slots = np.arange(int(table.shape_accelerators.max(initial=0)))
        self.cpu = table.shape_cpu_milli[shape]
        self.memory = table.shape_memory_bytes[shape]
        there = slots < table.shape_accelerators[shape][:, None]
        self.free = np.where(there, WHOLE_MILLI, 0)
        self.on: list[list[int]] = [[] for _ in range(len(shape))]
        self.node = np.full(len(table.class_of), REFUSED, dtype=np.int64)
        self.held = np.zeros(len(table.class_of), dtype=np.int64)

    def put(self, pod: int, node: int, held: int) -> None:
        """Place an arrival on given accelerators of a node."""
        self._change(pod, node, held, -1)
        self.on[node].append(pod)
        self.node[pod], self.held[pod] = node, held

    def remove(self, pod: int) -> None:
        """Take an arrival out."""
        node = int(self.node[pod])
        self._change(pod, node, int(self.held[pod]), 1)
        self.on[node].remove(pod)
        self.node[pod], self.held[pod] = REFUSED, 0

    def _change(self, pod: int, node: int, held: int, sign: int) -> None:
        table, c = self.table, self.table.class_of[pod]
        self.cpu[node] += sign * table.cpu_milli[c]
        self.memory[node] += sign * table.memory_bytes[c]
        for g in range(held.bit_length()):
            if held >> g & 1:
                self.free[node, g] += sign * table.share_milli[c]

    def home(self, pod_class: int) -> tuple[int, int] | None:
        """Return node and accelerators where a pod of a class leaves least behind, if it fits.

        A share goes where the accelerator is left fullest; whole ones go where fewest
        accelerators are wholly free. Then the node with least CPU left, then the first.
        """
        table, c = self.table, pod_class
        fits = table.fits[table.shape_of, c]
        fits = fits & (self.cpu >= table.cpu_milli[c]) & (self.memory >= table.memory_bytes[c])
        wanted, share = int(table.accelerators[c]), int(table.share_milli[c])
        if not wanted:
            left = np.zeros(len(fits), dtype=np.int64)
        elif share < WHOLE_MILLI:
            left = np.where(self.free >= share, self.free, 2 * WHOLE_MILLI).min(axis=1)
            fits &= left <= WHOLE_MILLI
        else:
            left = (self.free == WHOLE_MILLI).sum(axis=1)
            fits &= left >= wanted
        nodes = np.flatnonzero(fits)
        if not len(nodes):
            return None
        node = int(nodes[np.lexsort((self.cpu[nodes], left[nodes]))[0]])
        return node, self.accelerators_for(pod_class, node)

    def accelerators_for(self, pod_class: int, node: int) -> int:
        """Return the accelerators, as bits, that a pod takes on a node with room for it."""
        table = self.table
        wanted, share = int(table.accelerators[pod_class]), int(table.share_milli[pod_class])
        room = np.flatnonzero(self.free[node] >= share)
        if wanted and share < WHOLE_MILLI:
            room = room[[int(self.free[node, room].argmin())]]
        return sum(1 << int(g) for g in room[:wanted])

    def put_where_it_fits(self, pods: Iterable[int]) -> int:
        """Place arrivals one by one where they fit, and return how many did."""
        hopeless: set[int] = set()
        placed = 0
        for pod in pods:
            c = int(self.table.class_of[pod])
            if c in hopeless:
                continue
            home = self.home(c)
            if home is None:
                hopeless.add(c)
                continue
            self.put(pod, *home)
            placed += 1
        return placed

    def put_instead(self, pods: Iterable[int]) -> None:
        """Place arrivals without accelerators, each where one pod with a share or more makes way.

        The one of least demand does; it goes elsewhere if it fits there.
        """
        table, kind = self.table, self.table.class_of
        for pod in pods:
            c = kind[pod]
            if table.accelerators[c]:
                continue
            others = np.flatnonzero((self.node != REFUSED) & (table.accelerators[kind] > 0))
            node = self.node[others]
            fits = table.fits[table.shape_of[node], c]
            fits &= self.cpu[node] + table.cpu_milli[kind[others]] >= table.cpu_milli[c]
            fits &= self.memory[node] + table.memory_bytes[kind[others]] >= table.memory_bytes[c]
            others = others[fits]
            if not len(others):
                continue
            out = int(others[table.demand_milli[kind[others]].argmin()])
            there = int(self.node[out])
            self.remove(out)
            self.put(pod, there, 0)
            self.put_where_it_fits([out])

    def refused(self) -> IntArray:
        """Return arrivals without a place: those without accelerators, then by demand."""
        waiting = np.flatnonzero(self.node == REFUSED)
        demand = self.table.demand_milli[self.table.class_of[waiting]]
        first = self.table.accelerators[self.table.class_of[waiting]] > 0
        return waiting[np.lexsort((waiting, -demand, first))]

    def packing(self, arrivals: IntArray, policy: str) -> Packing:
        """Return where everything is."""
        return Packing(arrivals, self.node.copy(), self.held.copy(), policy)

    def load(self, packing: Packing) -> None:
        """Put in what a packing of the same arrivals places."""
        rows = zip(packing.node.tolist(), packing.held.tolist(), strict=True)
        for pod, (node, held) in enumerate(rows):
            if node != REFUSED:
                self.put(pod, node, held)
