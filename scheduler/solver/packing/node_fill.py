"""The best way to fill one node: groups of pods chosen for its accelerators and its CPU.

A group is what one accelerator holds, or one pod with several, or one pod with none. Groups
are drawn from knapsacks over one accelerator, at several prices of CPU and memory; a dynamic
program over accelerators and CPU puts them together, and a price keeps them within memory.
The answer always fits. It is the best over the groups drawn, not over all there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing import WHOLE_MILLI
from scheduler.core.workload import FloatArray, IntArray
from scheduler.solver.packing.fills import ShareKnapsack
from scheduler.solver.packing.table import PackingTable

Group = tuple[int, ...]
"""Classes of the pods of a group, ascending."""

Pattern = tuple[Group, ...]
"""Groups of one node, in order."""

CELLS: Final = 256
"""Steps of CPU in the dynamic program."""

_PRICE_POINTS: Final = (
    *((0.0, 0.0), (0.05, 0.0), (0.0, 0.05), (0.2, 0.0), (0.0, 0.2)),
    *((0.2, 0.2), (0.7, 0.0), (0.0, 0.7)),
)
"""Prices of CPU and memory, in accelerators for what a node has of them per accelerator."""

_PLENTY: Final = 16
"""Pods of a class, from which on it is as good as endless for one node."""

_MEMORY_TRIES: Final = 5
_TINY: Final = 1e-9
_NEVER: Final = -1e15


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of a node.

    Parameters
    ----------
    accelerators : int
        Empty ones.
    cpu_milli, memory_bytes : int
        Free.
    """

    accelerators: int
    cpu_milli: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups to choose from. Columns of shape (groups,)."""

    members: tuple[Group, ...]
    accelerators: IntArray
    cpu_milli: IntArray
    memory_bytes: IntArray
    worth: FloatArray


class NodeFiller:
    """Fills nodes with pods of one table."""

    def __init__(self, table: PackingTable) -> None:
        self.table = table
        self.sharing = np.flatnonzero(table.shares)
        self.sizes, self.size_of = np.unique(table.share_milli[self.sharing], return_inverse=True)
        self.knapsack = ShareKnapsack(self.sizes)

    def room(self, shape: int) -> Room:
        """Return the room of an empty node."""
        table = self.table
        return Room(
            int(table.shape_accelerators[shape]),
            int(table.shape_cpu_milli[shape]),
            int(table.shape_memory_bytes[shape]),
        )

    def fill(self, shape: int, worth: FloatArray, most: IntArray, room: Room) -> Pattern:
        """Return groups for the room left of a node.

        Parameters
        ----------
        shape : int
            Of the node.
        worth : ndarray of float64, shape (classes,)
            Of one pod; those of no worth are left out.
        most : ndarray of int64, shape (classes,)
            Pods there are of each class.
        room : Room
            What may be filled.
        """
        left = most.copy()
        chosen: list[Group] = []
        while True:
            groups = self.groups(shape, worth, left, room)
            picked = compose(groups, room)
            dropped = False
            for i in picked:
                members = groups.members[i]
                need = np.bincount(members, minlength=len(left))
                if (need > left).any():
                    dropped = True
                    continue
                left -= need
                chosen.append(members)
                room = Room(
                    room.accelerators - int(groups.accelerators[i]),
                    room.cpu_milli - int(groups.cpu_milli[i]),
                    room.memory_bytes - int(groups.memory_bytes[i]),
                )
            if not dropped:
                return tuple(sorted(chosen))

    def groups(self, shape: int, worth: FloatArray, most: IntArray, room: Room) -> Groups:
        """Return groups that are worth something and fit the room one by one."""
        table = self.table
        usable = table.fits[shape] & (most > 0) & (worth > _TINY)
        usable &= table.accelerators <= room.accelerators
        usable &= (table.cpu_milli <= room.cpu_milli) & (table.memory_bytes <= room.memory_bytes)
        usable[usable] = ~self._dominated(np.flatnonzero(usable), worth, most)
        found: dict[Group, None] = {}
        for c in np.flatnonzero(usable & ~table.shares).tolist():
            found[c,] = None
        if room.accelerators and usable[self.sharing].any():
            for members in self._shared(shape, np.where(usable, worth, _NEVER)):
                found[members] = None
        counts = np.zeros((len(found), len(worth)), dtype=np.int64)
        members_of = list(found)
        for i, members in enumerate(members_of):
            for c in members:
                counts[i, c] += 1
        cpu, memory = counts @ table.cpu_milli, counts @ table.memory_bytes
        whole = np.array([table.accelerators[m[0]] for m in members_of], dtype=np.int64)
        keep = (counts <= most).all(axis=1) if found else np.zeros(0, dtype=np.bool_)
        keep &= (cpu <= room.cpu_milli) & (memory <= room.memory_bytes)
        rows = np.flatnonzero(keep)
        return Groups(
            tuple(members_of[i] for i in rows.tolist()),
            whole[rows],
            cpu[rows],
            memory[rows],
            counts[rows] @ worth,
        )

    def _dominated(self, rows: IntArray, worth: FloatArray, most: IntArray) -> NDArray[np.bool_]:
        """Return which classes another one of as many pods beats, for the same accelerators."""
        table = self.table

        def above(column: FloatArray | IntArray) -> NDArray[np.bool_]:
            values = column[rows]
            return np.asarray(values[:, None] >= values, dtype=np.bool_)

        beats = above(worth) & above(-table.cpu_milli) & above(-table.memory_bytes)
        plenty = np.minimum(most, _PLENTY)
        beats &= above(plenty)
        for column in (table.accelerators, table.share_milli):
            beats &= column[rows][:, None] == column[rows]
        beats &= ~beats.T | np.tri(len(rows), k=-1, dtype=np.bool_).T  # of equal ones, the first
        np.fill_diagonal(beats, val=False)
        return np.asarray(beats.any(axis=0), dtype=np.bool_)

    def _shared(self, shape: int, worth: FloatArray) -> list[Group]:
        """Return fills of one accelerator: the best with each class, at each price point."""
        table, sharing = self.table, self.sharing
        whole = max(int(table.shape_accelerators[shape]), 1)
        cpu = table.cpu_milli[sharing] * whole / max(int(table.shape_cpu_milli[shape]), 1)
        memory = table.memory_bytes[sharing] * whole / max(int(table.shape_memory_bytes[shape]), 1)
        points = np.array(_PRICE_POINTS) * WHOLE_MILLI
        priced = worth[sharing] - points[:, :1] * cpu - points[:, 1:] * memory
        at = np.full((len(points), len(self.sizes)), _NEVER)
        of_size = np.zeros((len(points), len(self.sizes)), dtype=np.int64)
        for z in range(len(self.sizes)):
            columns = np.flatnonzero(self.size_of == z)
            pick = priced[:, columns].argmax(axis=1)
            at[:, z] = priced[np.arange(len(points)), columns[pick]]
            of_size[:, z] = sharing[columns[pick]]
        _, last = self.knapsack.best(at)
        found: dict[Group, None] = {}
        cells = self.knapsack.cells
        usable = np.flatnonzero(worth[sharing] > 0).tolist()
        for p in range(len(points)):
            rest = last[:, p]
            tails: dict[int, Group] = {}
            for i in usable:
                room = cells - int(self.knapsack.steps[self.size_of[i]])
                if room not in tails:
                    sizes = self.knapsack.sizes_of(rest, room)
                    tails[room] = tuple(of_size[p, list(sizes)].tolist())
                found[tuple(sorted((int(sharing[i]), *tails[room])))] = None
        return list(found)


def compose(groups: Groups, room: Room) -> list[int]:
    """Return positions of groups, with repeats, that fit the room together.

    The memory price is searched by bisection until what it chooses fits.
    """
    scale = CELLS / max(room.cpu_milli, 1)
    steps = np.ceil(groups.cpu_milli * scale - _TINY).astype(np.int64)
    steps = np.where(groups.accelerators == 0, np.maximum(steps, 1), steps)
    low, high = 0.0, None
    best: list[int] = []
    best_worth = -1.0
    price = 0.0
    size = max(float(groups.worth.max(initial=0.0)), 1.0) / max(room.memory_bytes, 1)
    for _ in range(_MEMORY_TRIES):
        picked = _choose(groups, groups.worth - price * groups.memory_bytes, steps, room)
        used = int(groups.memory_bytes[picked].sum()) if picked else 0
        if used <= room.memory_bytes:
            gained = float(groups.worth[picked].sum()) if picked else 0.0
            if gained > best_worth:
                best, best_worth = picked, gained
            if price == 0.0:
                break
            high = price
        else:
            low = price
        price = (low + high) / 2 if high is not None else 4 * low if low else size
    return best


def _choose(groups: Groups, worth: FloatArray, steps: IntArray, room: Room) -> list[int]:
    """Return the groups of greatest worth within accelerators and CPU."""
    pays = np.flatnonzero((worth > _TINY) & (steps <= CELLS))
    if not len(pays):
        return []
    wide = groups.accelerators[pays]
    table = np.zeros((room.accelerators + 1, CELLS + 1))
    choice = np.full(table.shape, -1, dtype=np.int64)
    _without_accelerators(pays[wide == 0], worth, steps, table[0], choice[0])
    by_width = {k: pays[wide == k] for k in sorted({int(k) for k in wide if k > 0})}
    cells = np.arange(CELLS + 1)
    gather: dict[int, tuple[IntArray, NDArray[np.bool_]]] = {}
    for k, rows in by_width.items():
        before = cells - steps[rows][:, None]
        gather[k] = (np.maximum(before, 0), before < 0)
    for taken in range(1, room.accelerators + 1):
        table[taken] = table[taken - 1]
        for k, rows in by_width.items():
            if k > taken:
                continue
            before, outside = gather[k]
            tried = table[taken - k][before] + worth[rows][:, None]
            tried[outside] = _NEVER
            pick = tried.argmax(axis=0)
            found = tried[pick, cells]
            better = found > table[taken] + _TINY
            table[taken] = np.where(better, found, table[taken])
            choice[taken] = np.where(better, rows[pick], choice[taken])
    picked = []
    taken, cell = room.accelerators, CELLS
    while taken or cell:
        i = int(choice[taken, cell])
        if i < 0:
            if taken:
                taken -= 1
            else:
                cell -= 1
            continue
        picked.append(i)
        taken -= int(groups.accelerators[i])
        cell -= int(steps[i])
    return picked


def _without_accelerators(
    rows: IntArray, worth: FloatArray, steps: IntArray, table: FloatArray, choice: IntArray
) -> None:
    """Fill the row of the program that has no accelerators: an unbounded knapsack over CPU."""
    if not len(rows):
        return
    size = steps[rows]
    order = np.argsort(size, kind="stable")
    rows, size = rows[order], size[order]
    gain = worth[rows]
    reach = np.searchsorted(size, np.arange(CELLS + 1), side="right").tolist()
    for cell in range(1, CELLS + 1):
        table[cell] = table[cell - 1]
        usable = reach[cell]
        if not usable:
            continue
        tried = table[cell - size[:usable]] + gain[:usable]
        pick = int(tried.argmax())
        if tried[pick] > table[cell] + _TINY:
            table[cell], choice[cell] = tried[pick], rows[pick]
