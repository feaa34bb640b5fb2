"""The yardstick of the packing loop: FGD in numpy, every fitting node scored for every pod.

What one writes first: columns of all nodes, one vectorised pass over the usual pods for each
arrival, no memory of earlier scores. Same placements as `scheduler.simulate.packing`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import ANY_TYPE, REFUSED, WHOLE_MILLI, Packing, PackingProblem
from scheduler.core.workload import FloatArray, IntArray
from scheduler.policies.packing.fragmentation import usual_pods


class EveryNode:
    """Nodes as columns, in the order in which they win ties."""

    def __init__(self, problem: PackingProblem, rank: IntArray) -> None:
        nodes = problem.nodes
        self.problem = problem
        self.order = np.argsort(rank, kind="stable")
        self.cpu = nodes.cpu_milli[self.order]
        self.memory = nodes.memory_bytes[self.order]
        self.slots = np.arange(int(nodes.accelerators.max()))
        has = self.slots < nodes.accelerators[self.order, None]
        self.free = np.where(has, WHOLE_MILLI, 0)
        type_index = nodes.type_index[self.order]
        self.bit = np.where(type_index < 0, 0, np.int64(1) << np.maximum(type_index, 0))
        self.usual = usual_pods(problem)

    def play(self, arrivals: IntArray) -> Packing:
        """Place the arrivals by FGD, ties to the lowest rank."""
        node = np.full(len(arrivals), REFUSED, dtype=np.int64)
        held = np.zeros(len(arrivals), dtype=np.int64)
        for i, pod in enumerate(arrivals.tolist()):
            found = self._place(pod)
            if found is not None:
                node[i], held[i] = found
        return Packing(arrivals, node, held, "fgd", "lexical")

    def _place(self, pod: int) -> tuple[int, int] | None:
        pods = self.problem.pods
        count, share = int(pods.accelerators[pod]), int(pods.share_milli[pod])
        need_cpu = int(pods.cpu_milli[pod])
        fits = (self.cpu >= need_cpu) & (self.memory >= pods.memory_bytes[pod])
        if count:
            fits &= (self.free >= share).sum(axis=1) >= count
            if pods.allowed[pod] != ANY_TYPE:
                fits &= (self.bit & pods.allowed[pod]) != 0
        rows = np.flatnonzero(fits)
        if not len(rows):
            return None
        cpu, free, bit = self.cpu[rows], self.free[rows], self.bit[rows]
        before = self._fragmentation(cpu, free, bit)
        if 0 < share < WHOLE_MILLI:
            after = np.repeat(free[:, None, :], len(self.slots), axis=1)
            after[:, self.slots, self.slots] -= share
            gain = before[:, None] - self._fragmentation(
                (cpu - need_cpu)[:, None], after, bit[:, None]
            )
            points = np.where(free >= share, _points(gain), -1)
            best = int(points.max(axis=1).argmax())
            taken = np.array([points[best].argmax()])
        else:
            whole = free == WHOLE_MILLI
            takes = whole & (np.cumsum(whole, axis=1) <= count)
            after = np.where(takes, 0, free)
            gain = before - self._fragmentation(cpu - need_cpu, after, bit)
            best = int(_points(gain).argmax())
            taken = np.flatnonzero(takes[best])
        row = int(rows[best])
        self.cpu[row] -= need_cpu
        self.memory[row] -= pods.memory_bytes[pod]
        self.free[row, taken] -= share
        return int(self.order[row]), sum(1 << g for g in taken.tolist())

    def _fragmentation(self, cpu: IntArray, free: IntArray, bit: IntArray) -> FloatArray:
        """Return the fragmentation of nodes, whose accelerators are the last axis of `free`."""
        idle = free.sum(axis=-1)
        reasons = np.zeros((6, *idle.shape))
        for pod in self.usual:
            enough_cpu = cpu >= pod.cpu_milli
            if not pod.accelerators:
                reasons[3] += np.where(enough_cpu, pod.weight * idle, 0.0)
                reasons[4] += np.where(enough_cpu, 0.0, pod.weight * idle)
                continue
            if pod.allowed != ANY_TYPE:
                may = (bit & pod.allowed) != 0
                reasons[5] += np.where(may, 0.0, pod.weight * idle)
            else:
                may = np.ones(bit.shape, dtype=bool)
            large = free >= pod.share_milli
            room = large.sum(axis=-1) >= pod.accelerators
            small_milli = np.where(large, 0, free).sum(axis=-1)
            lost = pod.weight * np.where(room, small_milli, idle)
            reasons[1] += np.where(may & enough_cpu, lost, 0.0)
            reasons[2] += np.where(may & room & ~enough_cpu, pod.weight * idle, 0.0)
            reasons[0] += np.where(may & ~room & ~enough_cpu, pod.weight * idle, 0.0)
        total: FloatArray = reasons[0]
        for reason in reasons[1:]:
            total = total + reason
        return total


def _points(gain_milli: FloatArray) -> NDArray[np.int64]:
    return (1.0 / (1.0 + np.exp(-gain_milli / WHOLE_MILLI)) * 100.0).astype(np.int64)
