"""Nouns of packing: pods that ask for CPU, memory and (shares of) accelerators, on nodes.

Everything is a column of whole numbers. A pod either shares one accelerator, or takes a number
of accelerators whole, or takes none. Pods arrive in an order and stay; time plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core import units
from scheduler.core.workload import FloatArray, IntArray

WHOLE_MILLI: Final = units.WHOLE_MILLI
"""One accelerator, in the unit of shares."""

ANY_TYPE: Final = -1
"""`Pods.allowed` of a pod that may use every type."""

REFUSED: Final = -1
"""`Packing.node` of a pod that found no place."""

ACCELERATORS_CAP: Final = 62
"""Accelerators in a node, and types, at most: sets of them are bits of an int64."""


@dataclass(frozen=True, slots=True)
class PackingNodes:
    """Nodes as columns. Shape (n,) each.

    Parameters
    ----------
    ids : tuple of str
        Unique names.
    type_index : ndarray of int64
        Position in `PackingProblem.types`; -1: no accelerators.
    accelerators : ndarray of int64
        How many, all of that type.
    cpu_milli : ndarray of int64
        Thousandths of a core.
    memory_bytes : ndarray of int64
        Host memory.
    """

    ids: tuple[str, ...]
    type_index: IntArray
    accelerators: IntArray
    cpu_milli: IntArray
    memory_bytes: IntArray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def capacity_milli(self) -> int:
        """All accelerators together, in thousandths of one."""
        return WHOLE_MILLI * int(self.accelerators.sum())

    def shapes(self) -> tuple[IntArray, IntArray]:
        """Return the shape of each node, and one node of each shape (equal but for the id)."""
        return _groups(self.type_index, self.accelerators, self.cpu_milli, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods as columns. Shape (n,) each.

    Parameters
    ----------
    ids : tuple of str
        Unique names.
    cpu_milli : ndarray of int64
        Thousandths of a core.
    memory_bytes : ndarray of int64
        Host memory.
    accelerators : ndarray of int64
        How many, on one node; 0: none.
    share_milli : ndarray of int64
        Of each of them, in thousandths: `WHOLE_MILLI`, or less where `accelerators` is 1, or
        0 where it is 0.
    allowed : ndarray of int64
        Set of types, bit t for `PackingProblem.types[t]`; `ANY_TYPE` where all will do.
    constraint : tuple of str
        That set as the user wrote it, names joined by ``|``; ``""`` where all will do.
    """

    ids: tuple[str, ...]
    cpu_milli: IntArray
    memory_bytes: IntArray
    accelerators: IntArray
    share_milli: IntArray
    allowed: IntArray
    constraint: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def demand_milli(self) -> IntArray:
        """What each pod asks of the accelerators, in thousandths of one."""
        return self.accelerators * self.share_milli

    def classes(self) -> tuple[IntArray, IntArray]:
        """Return the class of each pod, and one pod of each class (they ask for the same)."""
        return _groups(
            self.cpu_milli, self.memory_bytes, self.accelerators, self.share_milli, self.allowed
        )


@dataclass(frozen=True, slots=True)
class PackingProblem:
    """Nodes, and the pods that may arrive.

    Parameters
    ----------
    name : str
        Short name.
    types : tuple of str
        Accelerator types of the nodes and of the pods' constraints, sorted.
    nodes : PackingNodes
        Where pods go.
    pods : Pods
        Each may arrive any number of times.
    source, licence : str
        Where it comes from.
    """

    name: str
    types: tuple[str, ...]
    nodes: PackingNodes
    pods: Pods
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each arriving pod went. Columns of shape (arrivals,).

    Parameters
    ----------
    arrivals : ndarray of int64
        Position in `PackingProblem.pods`, in order of arrival.
    node : ndarray of int64
        Position in `PackingProblem.nodes`, or `REFUSED`.
    held : ndarray of int64
        Set of accelerators of that node, bit g for the g-th; 0 where none are asked for.
    policy, tie : str
        What decided.
    """

    arrivals: IntArray
    node: IntArray
    held: IntArray
    policy: str = ""
    tie: str = ""

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def refused(self) -> int:
        """How many arrivals found no place."""
        return int((self.node == REFUSED).sum())


def arrived_percent(problem: PackingProblem, arrivals: IntArray) -> FloatArray:
    """Return, after each arrival, all demand so far in % of the accelerators."""
    demand = np.cumsum(problem.pods.demand_milli[arrivals])
    return 100.0 * demand / problem.nodes.capacity_milli


def allocated_percent(problem: PackingProblem, packing: Packing) -> FloatArray:
    """Return, after each arrival, what is placed in % of the accelerators."""
    demand = problem.pods.demand_milli[packing.arrivals]
    placed = np.cumsum(np.where(packing.node == REFUSED, 0, demand))
    return 100.0 * placed / problem.nodes.capacity_milli


def by_percent(arrived: FloatArray, values: FloatArray, last: int) -> FloatArray:
    """Return the mean of `values` over the arrivals at each whole percent of demand.

    Parameters
    ----------
    arrived : ndarray of float64, shape (arrivals,)
        From `arrived_percent`.
    values : ndarray of float64, shape (arrivals,)
        Recorded after each arrival.
    last : int
        Highest percent wanted.

    Returns
    -------
    ndarray of float64, shape (last + 1,)
        Mean over the arrivals at which `arrived` rounds to 0, 1, ..., `last`; where there are
        none, over those within 1 of it; NaN where there are none of these either.
    """
    percent = np.round(arrived)
    curve = np.full(last + 1, np.nan)
    for p in range(last + 1):
        near = percent == p
        if not near.any():
            near = np.abs(percent - p) <= 1
        if near.any():
            curve[p] = values[near].mean()
    return curve


def _groups(*columns: IntArray) -> tuple[IntArray, IntArray]:
    """Return the group of each row, and the first row of each group."""
    rows = np.column_stack(columns)
    _, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return group.reshape(-1).astype(np.int64), first.astype(np.int64)
