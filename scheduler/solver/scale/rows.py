"""Sizes instead of nodes: what a fleet can hold, counted by type and size.

A gang inside a node needs a *slot* of its size; one inside a pod needs that many whole nodes
of one pod; one that spans pods needs whole nodes, which are slots of the node's size. Nodes
differ only in what is free, pods only in how many of their nodes are wholly free. With a price
per (type, size) the dearest filling of a node or a pod is an unbounded knapsack, one small
table for all nodes and pods of a type. Total surplus of the jobs plus the dearest filling of
the fleet is a bound on any round, for any prices (Lagrangian duality of "slots used are at
most slots found"), as tight as the LP over all filling patterns (Gilmore and Gomory 1961).
It is at least as tight as counted slots, `sum floor(n/s) <= sum floor(free/s)`, which it equals
where sizes divide one another.

References
----------
P. Gilmore, R. Gomory, "A linear programming approach to the cutting-stock problem",
Operations Research 9(6), 1961.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.scale.columns import NODE, POD, Fleet, Options, Round


@dataclass(frozen=True, slots=True)
class SizeTable:
    """Sizes in demand, and what the fleet has free for them.

    A column is a slot size (``slots``, ascending) or a gang size in whole nodes of a pod
    (``gangs``, ascending, at least two), the same for every type; prices and demands are
    arrays of shape (types, columns).

    Parameters
    ----------
    node_size : ndarray of int64, shape (types,)
        Accelerators of a node.
    slots, gangs : tuple of int
        Sizes that occur.
    used : ndarray of bool, shape (types, columns)
        Whether some option asks for that size of that type.
    nodes : ndarray of int64, shape (types, largest node size + 1)
        Partly free nodes by free accelerators.
    pods : ndarray of int64, shape (types, most whole nodes + 1)
        Pods by wholly free nodes.
    """

    node_size: IntArray
    slots: tuple[int, ...]
    gangs: tuple[int, ...]
    used: NDArray[np.bool_]
    nodes: IntArray
    pods: IntArray

    @property
    def types(self) -> int:
        """Number of accelerator types."""
        return len(self.node_size)

    @property
    def columns(self) -> int:
        """Number of sizes."""
        return len(self.slots) + len(self.gangs)


@dataclass(frozen=True, slots=True)
class JobTable:
    """Options that could fit, grouped by job; jobs without one are left out.

    Parameters
    ----------
    job : ndarray of int64, shape (jobs kept,)
        Position of each kept job in the round.
    first : ndarray of int64, shape (jobs kept,)
        Its first row.
    row_job : ndarray of int64, shape (rows,)
        Kept job of each row, ascending.
    key : ndarray of int32, shape (rows,)
        Position in `key_column` and `key_slots`.
    utility, exact : ndarray of float32, float64, shape (rows,)
        Utilities; the exact ones serve the reported bound.
    option : ndarray of int64, shape (rows,)
        Position in `Options`.
    key_column : ndarray of int64, shape (keys,)
        Type times columns plus column.
    key_slots : ndarray of float64, shape (keys,)
        How many of that size the option takes; several only where a gang spans pods.
    """

    job: IntArray
    first: IntArray
    row_job: IntArray
    key: NDArray[np.int32]
    utility: NDArray[np.float32]
    exact: FloatArray
    option: IntArray
    key_column: IntArray
    key_slots: FloatArray

    def __len__(self) -> int:
        return len(self.job)

    def rows_of(self, jobs: IntArray) -> IntArray:
        """Return the rows of some kept jobs, one job after the other."""
        last = np.append(self.first, len(self.row_job))
        length = last[jobs + 1] - last[jobs]
        start = np.repeat(last[jobs] - (np.cumsum(length) - length), length)
        return np.asarray(start + np.arange(len(start)))

    def take(self, jobs: IntArray) -> JobTable:
        """Return the table of some of the kept jobs."""
        rows = self.rows_of(jobs)
        length = np.diff(np.append(self.first, len(self.row_job)))[jobs]
        return JobTable(
            self.job[jobs],
            np.cumsum(length) - length,
            np.repeat(np.arange(len(jobs)), length),
            self.key[rows],
            self.utility[rows],
            self.exact[rows],
            self.option[rows],
            self.key_column,
            self.key_slots,
        )


def tables(round_: Round) -> tuple[SizeTable, JobTable]:
    """Return the sizes of a round and its options by job."""
    fleet, options = round_.fleet, round_.options
    size = fleet.node_size[options.type_index]
    wide = options.level != NODE
    whole = np.where(wide, options.count // size, 1)  # nodes of a wide gang
    is_gang = (options.level == POD) & (whole > 1)
    need = np.where(is_gang, whole, np.where(wide, size, options.count))
    nodes, pods = _free(fleet)
    fits = (options.utility > 0) & _fits(options, need, whole, is_gang, nodes, pods, fleet)
    slots = np.unique(need[fits & ~is_gang])
    gangs = np.unique(need[fits & is_gang])
    column = np.where(
        is_gang,
        len(slots) + np.searchsorted(gangs, need),
        np.searchsorted(slots, need),
    )
    columns = len(slots) + len(gangs)
    flat = options.type_index * columns + column
    used = np.zeros(len(fleet.node_size) * columns, dtype=bool)
    used[flat[fits]] = True
    table = SizeTable(
        fleet.node_size,
        tuple(slots.tolist()),
        tuple(gangs.tolist()),
        used.reshape(len(fleet.node_size), columns),
        nodes,
        pods,
    )
    taken = np.where(is_gang, 1, whole)
    return table, _job_table(options, fits, flat, taken)


def _free(fleet: Fleet) -> tuple[IntArray, IntArray]:
    """Return partly free nodes by free accelerators, and pods by wholly free nodes."""
    types = len(fleet.node_size)
    is_whole = fleet.node_free == fleet.node_size[fleet.node_type]
    nodes = np.zeros((types, int(fleet.node_size.max(initial=1)) + 1), dtype=np.int64)
    partly = ~is_whole & (fleet.node_free > 0)
    np.add.at(nodes, (fleet.node_type[partly], fleet.node_free[partly]), 1)
    cell = fleet.node_pod[is_whole] * types + fleet.node_type[is_whole]
    cells, free = np.unique(cell, return_counts=True)
    pods = np.zeros((types, int(free.max(initial=0)) + 1), dtype=np.int64)
    np.add.at(pods, (cells % types, free), 1)
    return nodes, pods


def _fits(
    options: Options,
    need: IntArray,
    whole: IntArray,
    is_gang: NDArray[np.bool_],
    nodes: IntArray,
    pods: IntArray,
    fleet: Fleet,
) -> NDArray[np.bool_]:
    """Return which options would fit if nothing else started."""
    in_pods = np.arange(pods.shape[1])
    total = pods @ in_pods
    widest = np.where(pods > 0, in_pods, 0).max(axis=1)
    freest = np.where(nodes > 0, np.arange(nodes.shape[1]), 0).max(axis=1)
    freest = np.where(total > 0, fleet.node_size, freest)
    t = options.type_index
    room = np.where(is_gang, need <= widest[t], need <= freest[t])
    return np.asarray(room & (is_gang | (options.level == NODE) | (whole <= total[t])))


def _job_table(
    options: Options, fits: NDArray[np.bool_], flat: IntArray, taken: IntArray
) -> JobTable:
    kept = np.flatnonzero(fits)
    owner = np.repeat(np.arange(options.jobs), np.diff(options.first))[kept]
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    many = int(taken.max(initial=1)) + 1
    code = flat[kept] * many + taken[kept]
    present = np.zeros(int(code.max(initial=0)) + 1, dtype=bool)
    present[code] = True
    keys = np.flatnonzero(present)
    position = np.cumsum(present, dtype=np.int32) - 1
    exact = options.utility[kept]
    return JobTable(
        owner[starts],
        starts,
        np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(kept)))),
        position[code].astype(np.int32),
        exact.astype(np.float32),
        exact,
        kept,
        keys // many,
        (keys % many).astype(np.float64),
    )


def supply(table: SizeTable, prices: FloatArray) -> float:
    """Return the worth of the dearest filling of the fleet.

    Parameters
    ----------
    table : SizeTable
        What is free.
    prices : ndarray of float64, shape (types, columns)
        Any; a filling never takes a size of negative price.
    """
    node, pod = _worths(table, prices)
    return float((node * table.nodes).sum() + (pod * table.pods).sum())


def lifted(table: SizeTable, prices: FloatArray) -> FloatArray:
    """Return prices raised as far as the dearest filling of the fleet stays as it is.

    What a size takes the place of is what it costs at least: the bound can only fall.
    """
    raised = np.maximum(prices, 0.0)
    every = np.arange(table.types)
    nodes_there = table.nodes > 0
    nodes_there[every, table.node_size] |= table.pods[:, 1:].any(axis=1)
    pods_there = table.pods > 0
    for column, size in [*enumerate(table.slots), *enumerate(table.gangs, len(table.slots))]:
        node, pod = _worths(table, raised)
        is_slot = column < len(table.slots)
        worth, there = (node, nodes_there) if is_slot else (pod, pods_there)
        least = np.full(table.types, np.inf)
        for often in range(1, (worth.shape[1] - 1) // size + 1):
            cut = often * size
            lost = np.where(there[:, cut:], worth[:, cut:] - worth[:, :-cut], np.inf)
            np.minimum(least, lost.min(axis=1) / often, out=least)
        lift = np.isfinite(least) & table.used[:, column]
        raised[:, column] = np.where(lift, np.maximum(raised[:, column], least), raised[:, column])
    return raised


def _worths(table: SizeTable, prices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the worth of a node by free accelerators, and of a pod by wholly free nodes."""
    asked = np.where(table.used, prices, -np.inf)
    node = np.zeros((table.types, table.nodes.shape[1]))
    _dearest(node, asked, table.slots, 0)
    whole = node[np.arange(table.types), table.node_size]
    pod = whole[:, None] * np.arange(table.pods.shape[1])
    _dearest(pod, asked, table.gangs, len(table.slots))
    return node, pod


def _dearest(worth: FloatArray, prices: FloatArray, sizes: tuple[int, ...], offset: int) -> None:
    """Raise `worth`, shape (types, room), to that of the best multiset of sizes in that room."""
    room = worth.shape[1]
    for i, size in enumerate(sizes):
        price = prices[:, offset + i, None]
        for low in range(size, room, size):
            high = min(low + size, room)
            here = worth[:, low:high]
            np.maximum(here, worth[:, low - size : high - size] + price, out=here)
