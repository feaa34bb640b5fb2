"""Pods and nodes merged: pods that ask for the same are one class, equal nodes one shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import ANY_TYPE, WHOLE_MILLI, PackingProblem
from scheduler.core.workload import IntArray


@dataclass(frozen=True, slots=True)
class PackingTable:
    """Classes of pods that arrived, and shapes of nodes, each with how many there are.

    Parameters
    ----------
    class_of : ndarray of int64, shape (arrivals,)
        Class of each arrival.
    count : ndarray of int64, shape (classes,)
        Pods of each class.
    cpu_milli, memory_bytes, accelerators, share_milli : ndarray of int64, shape (classes,)
        What each pod asks for; see `scheduler.core.packing.Pods`.
    shape_of : ndarray of int64, shape (nodes,)
        Shape of each node.
    nodes : ndarray of int64, shape (shapes,)
        Nodes of each shape.
    shape_accelerators, shape_cpu_milli, shape_memory_bytes : ndarray of int64, shape (shapes,)
        What each node has.
    fits : ndarray of bool, shape (shapes, classes)
        Whether a pod may be on an empty node.
    """

    class_of: IntArray
    count: IntArray
    cpu_milli: IntArray
    memory_bytes: IntArray
    accelerators: IntArray
    share_milli: IntArray
    shape_of: IntArray
    nodes: IntArray
    shape_accelerators: IntArray
    shape_cpu_milli: IntArray
    shape_memory_bytes: IntArray
    fits: NDArray[np.bool_]

    @property
    def demand_milli(self) -> IntArray:
        """What a pod of each class asks of the accelerators, in thousandths of one."""
        return self.accelerators * self.share_milli

    @property
    def capacity_milli(self) -> int:
        """All accelerators, in thousandths of one."""
        return WHOLE_MILLI * int((self.nodes * self.shape_accelerators).sum())

    @property
    def shares(self) -> NDArray[np.bool_]:
        """Whether pods of each class share an accelerator. Shape (classes,)."""
        sharing = (self.accelerators == 1) & (self.share_milli < WHOLE_MILLI)
        return np.asarray(sharing, dtype=np.bool_)

    def without_accelerators(self) -> IntArray:
        """Return, by class, the pods that ask for no accelerator; 0 for the other classes."""
        return np.where(self.accelerators == 0, self.count, 0)


def tabulate(problem: PackingProblem, arrivals: IntArray) -> PackingTable:
    """Return the classes of the pods that arrived and the shapes of the nodes."""
    pods, nodes = problem.pods, problem.nodes
    all_classes, first = pods.classes()
    present, class_of = np.unique(all_classes[arrivals], return_inverse=True)
    pod = first[present]
    shape_of, one = nodes.shapes()
    gangs, allowed = pods.accelerators[pod], pods.allowed[pod]
    kind = nodes.type_index[one][:, None]
    of_type = (allowed == ANY_TYPE) | ((kind >= 0) & ((allowed >> np.maximum(kind, 0)) & 1 == 1))
    fits = (gangs == 0) | (of_type & (gangs <= nodes.accelerators[one][:, None]))
    fits &= pods.cpu_milli[pod] <= nodes.cpu_milli[one][:, None]
    fits &= pods.memory_bytes[pod] <= nodes.memory_bytes[one][:, None]
    return PackingTable(
        class_of.reshape(-1).astype(np.int64),
        np.bincount(class_of.reshape(-1), minlength=len(present)).astype(np.int64),
        pods.cpu_milli[pod],
        pods.memory_bytes[pod],
        gangs,
        pods.share_milli[pod],
        shape_of,
        np.bincount(shape_of, minlength=len(one)).astype(np.int64),
        nodes.accelerators[one],
        nodes.cpu_milli[one],
        nodes.memory_bytes[one],
        fits,
    )
