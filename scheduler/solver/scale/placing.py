"""From counted cuts to nodes: which slots and gangs of nodes there are, and who gets them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scheduler.core.workload import IntArray
from scheduler.solver.scale.columns import Fleet, Round
from scheduler.solver.scale.rows import JobTable, SizeTable
from scheduler.solver.scale.stock import Cuts


class Cutting:
    """Nodes of every slot and gang that some cuts leave to give away.

    Attributes
    ----------
    slots : dict of (type, size) to list of int
        A node per slot.
    gangs : dict of (type, size) to list of list of int
        The nodes of each gang.
    """

    def __init__(self, fleet: Fleet, gang_cuts: Cuts, slot_cuts: Cuts) -> None:
        self.slots: dict[tuple[int, int], list[int]] = {}
        self.gangs: dict[tuple[int, int], list[list[int]]] = {}
        types = range(len(fleet.node_size))
        whole = fleet.node_free == fleet.node_size[fleet.node_type]
        for t in types:
            of_type = fleet.node_type == t
            pods = _by(fleet.node_pod, np.flatnonzero(of_type & whole))
            nodes = self._cut_gangs(t, pods, gang_cuts)
            partly = np.flatnonzero(of_type & ~whole & (fleet.node_free > 0))
            by_left = _by_left(fleet, partly)
            by_left[int(fleet.node_size[t])] = nodes
            self._cut_slots(t, by_left, slot_cuts)

    def _cut_gangs(self, t: int, pods: Iterable[list[int]], cuts: Cuts) -> list[int]:
        """Cut gangs off pods; return what is left, nodes of the poorest pods last."""
        by_left: dict[int, list[list[int]]] = {}
        for nodes in pods:
            by_left.setdefault(len(nodes), []).append(nodes)
        mine = sorted(
            ((left, size, n) for (u, left, size), n in cuts.items() if u == t), reverse=True
        )
        for left, size, count in mine:
            there = by_left[left]
            for _ in range(count):
                nodes = there.pop()
                self.gangs.setdefault((t, size), []).append(nodes[left - size :])
                by_left.setdefault(left - size, []).append(nodes[: left - size])
        return [n for left in sorted(by_left, reverse=True) for pod in by_left[left] for n in pod]

    def _cut_slots(self, t: int, by_left: dict[int, list[int]], cuts: Cuts) -> None:
        mine = sorted(
            ((left, size, n) for (u, left, size), n in cuts.items() if u == t), reverse=True
        )
        for left, size, count in mine:
            there = by_left[left]
            cut = there[len(there) - count :]
            del there[len(there) - count :]
            self.slots.setdefault((t, size), []).extend(cut)
            by_left.setdefault(left - size, []).extend(cut)


def _by(group: IntArray, members: IntArray) -> list[list[int]]:
    """Return the members by group, groups ascending."""
    order = members[np.argsort(group[members], kind="stable")]
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return [part.tolist() for part in np.split(order, starts[1:])] if len(order) else []


def _by_left(fleet: Fleet, nodes: IntArray) -> dict[int, list[int]]:
    return {int(fleet.node_free[part[0]]): part for part in _by(fleet.node_free, nodes)}


def assign(
    round_: Round, table: SizeTable, jobs: JobTable, rows: IntArray, cutting: Cutting
) -> tuple[IntArray, IntArray, IntArray]:
    """Give each placed job its nodes; return ``first``, ``nodes``, ``counts`` of a `Decision`.

    Parameters
    ----------
    round_, table, jobs : Round, SizeTable, JobTable
        The round.
    rows : ndarray of int64, shape (jobs kept,)
        Row of each job placed; -1 elsewhere.
    cutting : Cutting
        Slots and gangs; at least as many of each size as the rows ask for.
    """
    sizes = [*table.slots, *table.gangs]
    held: list[list[int]] = [[]] * round_.options.jobs
    each = np.zeros(round_.options.jobs, dtype=np.int64)
    placed = np.flatnonzero(rows >= 0)
    key = jobs.key[rows[placed]]
    column = jobs.key_column[key].tolist()
    slots = jobs.key_slots[key].astype(np.int64).tolist()
    for job, flat, count in zip(jobs.job[placed].tolist(), column, slots, strict=True):
        t, c = divmod(flat, table.columns)
        if c >= len(table.slots):
            held[job] = cutting.gangs[t, sizes[c]].pop()
            each[job] = table.node_size[t]
        else:
            there = cutting.slots[t, sizes[c]]
            held[job] = there[len(there) - count :]
            del there[len(there) - count :]
            each[job] = sizes[c]
    length = np.array([len(nodes) for nodes in held], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(length)])
    nodes = np.fromiter((n for some in held for n in some), np.int64, int(first[-1]))
    return first, nodes, np.repeat(each, length)
