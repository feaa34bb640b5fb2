"""What is free on each node over time, as one matrix, and where a job would end first.

Rows are the instants at which something changes, columns the nodes. A window of time in which
a node always has c free is one in which no row has less; running counts of rows that have less
tell that for every window of one length at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.problem import Group, Mode
from scheduler.core.run import Placement
from scheduler.core.workload import IntArray
from scheduler.solver.offline.instance import Instance, Planned, lay_out, node_types

CELL_TIME: Final = 4e-9
CALL_TIME: Final = 6e-5
"""About seconds that a search takes per cell of the matrix and per call, as repeatable time."""


class Timetable:
    """Free accelerators by instant and node.

    Parameters
    ----------
    instance : Instance
        Nodes, outages, ways.
    plan : mapping of int to Planned
        What is held from the beginning.

    Attributes
    ----------
    spent : float
        Deterministic time of all searches so far.
    """

    def __init__(self, instance: Instance, plan: Mapping[int, Planned] | None = None) -> None:
        self.instance = instance
        self.types = node_types(instance.problem)
        self.size = np.array([node.count for node in instance.problem.cluster.nodes], np.int64)
        self.spent = 0.0
        self._ways = {c: _by_mode(instance, c) for c in instance.ways}
        spans = [(a, b, n) for n, of in instance.downs.items() for a, b in of if a < b]
        rows = [(a, b, n, int(self.size[n])) for a, b, n in spans]
        for planned in (plan or {}).values():
            place = planned.placement
            held = zip(place.nodes, place.counts, strict=True)
            rows += [(planned.start, planned.end, n, count) for n, count in held]
        self.times = np.unique(np.array([0, *(t for r in rows for t in r[:2])], dtype=np.int64))
        change = np.zeros((len(self.times), len(self.size)), dtype=np.int64)
        if rows:
            table = np.array(rows, dtype=np.int64)
            first, last = (
                np.searchsorted(self.times, table[:, 0]),
                np.searchsorted(self.times, table[:, 1]),
            )
            np.add.at(change, (first, table[:, 2]), -table[:, 3])
            np.add.at(change, (last, table[:, 2]), table[:, 3])
        self.free = self.size + np.cumsum(change, axis=0)

    def add(self, planned: Planned) -> None:
        """Hold what is planned."""
        self._change(planned, -1)

    def remove(self, planned: Planned) -> None:
        """Give it back."""
        self._change(planned, 1)

    def _change(self, planned: Planned, sign: int) -> None:
        first, last = self._row(planned.start), self._row(planned.end)
        place = planned.placement
        for n, count in zip(place.nodes, place.counts, strict=True):
            self.free[first:last, n] += sign * count

    def _row(self, at: int) -> int:
        """Return the row that begins at `at`, made if there is none."""
        row = int(np.searchsorted(self.times, at))
        if row == len(self.times) or self.times[row] != at:
            self.times = np.insert(self.times, row, at)
            self.free = np.insert(self.free, row, self.free[row - 1], axis=0)
        return row

    def tidy(self) -> None:
        """Drop rows in which nothing changes."""
        keep = np.ones(len(self.times), dtype=bool)
        keep[1:] = (self.free[1:] != self.free[:-1]).any(axis=1)
        self.times, self.free = self.times[keep], self.free[keep]

    def busy(self, nodes: Iterable[int], last: int) -> dict[int, list[tuple[int, int, int]]]:
        """Return what is in use of nodes before `last`: from when, to when, how much."""
        found: dict[int, list[tuple[int, int, int]]] = {}
        for n in nodes:
            used = self.size[n] - self.free[:, n]
            change = np.flatnonzero(np.diff(used)) + 1
            first = np.concatenate([[0], change])
            ends = np.append(self.times[change], last)
            spans = zip(
                self.times[first].tolist(), ends.tolist(), used[first].tolist(), strict=True
            )
            found[n] = [(a, min(b, last), c) for a, b, c in spans if c and a < min(b, last)]
        return found

    def soonest(self, unit: int, first: int, latest: int | None = None) -> Planned | None:
        """Return where a job ends first of all modes and places, ending by `latest` if given."""
        best: Planned | None = None
        for found in self.ends_by_mode(unit, first, latest, best_only=True):
            best = found
        return best

    def ends_by_mode(
        self, unit: int, first: int, latest: int | None = None, *, best_only: bool = False
    ) -> Iterable[Planned]:
        """Yield the first place of each mode that has one, quickest modes first.

        With `best_only`, only those that end before the ones before them.
        """
        end = latest
        lengths = self.instance.lengths[unit]
        for m, areas in self._ways[self.instance.class_of(unit)]:
            length = lengths.get(m)
            if length is None or (end is not None and first + length > end):
                continue
            last_start = None if end is None else end - length
            found = self._earliest(self.instance.mode(unit, m), areas, length, first, last_start)
            if found is not None:
                planned = Planned(m, found[0], found[0] + length, found[1])
                yield planned
                if best_only:
                    end = planned.end - 1

    def _earliest(
        self,
        mode: Mode,
        areas: Sequence[NDArray[np.int64]],
        length: int,
        first: int,
        last_start: int | None,
    ) -> tuple[int, Placement] | None:
        best: tuple[int, Placement] | None = None
        for nodes in areas:
            found = self._earliest_in(mode, nodes, length, first, last_start)
            if found is not None:
                best = found
                if found[0] == first:
                    return best
                last_start = found[0] - 1
        return best

    def _earliest_in(
        self,
        mode: Mode,
        nodes: NDArray[np.int64],
        length: int,
        first: int,
        last_start: int | None,
    ) -> tuple[int, Placement] | None:
        times = self.times
        row = int(np.searchsorted(times, first, side="right")) - 1
        stop = len(times)
        if last_start is not None:
            stop = int(np.searchsorted(times, last_start, side="right"))
            if stop <= row:
                return None
        starts = self._with_drains(np.maximum(times[row:stop], first), nodes, last_start)
        begin = np.searchsorted(times, starts, side="right") - 1 - row
        end = np.searchsorted(times, starts + length, side="left") - row
        free = self.free[row : row + int(end.max()), nodes]
        self.spent += CALL_TIME + CELL_TIME * free.size * (3 if mode.level == 0 else 12)
        open_to = self._open(starts, nodes)
        if mode.level == 0:
            fits = _always(free, mode.groups[0].count, begin, end) & open_to
            rows = np.flatnonzero(fits.any(axis=1))
            if not len(rows):
                return None
            k = int(rows[0])
            least = free[begin[k] : end[k]].min(axis=0)
            some = np.flatnonzero(fits[k])
            node = int(some[np.lexsort((some, least[some]))[0]])
            return int(starts[k]), Placement((int(nodes[node]),), (mode.groups[0].count,))
        enough = np.ones(len(starts), dtype=bool)
        for group in mode.groups:
            enough &= self._slots(free, nodes, group, begin, end, open_to)
        for k in np.flatnonzero(enough).tolist():
            least = np.where(open_to[k], free[begin[k] : end[k]].min(axis=0), 0)
            room = dict(zip(nodes.tolist(), np.maximum(least, 0).tolist(), strict=True))
            place = lay_out(mode, nodes.tolist(), self.types, room)
            if place is not None:
                return int(starts[k]), place
        return None

    def _slots(
        self,
        free: IntArray,
        nodes: NDArray[np.int64],
        group: Group,
        begin: IntArray,
        end: IntArray,
        open_to: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Return in which windows the nodes have room for a group's slots, more or less."""
        mine = np.flatnonzero(np.array([self.types[n] == group.type_index for n in nodes.tolist()]))
        whole, rest = divmod(group.count, group.per_node)
        some = free[:, mine]
        count = np.zeros(len(begin), dtype=np.int64)
        most = int(self.size[nodes[mine]].max()) if len(mine) else 0
        for slots in range(1, most // group.per_node + 1):
            fits = _always(some, slots * group.per_node, begin, end) & open_to[:, mine]
            count += fits.sum(axis=1)
        enough = count >= whole
        if rest:
            enough &= (_always(some, rest, begin, end) & open_to[:, mine]).any(axis=1)
        return enough

    def _with_drains(
        self, starts: IntArray, nodes: NDArray[np.int64], last_start: int | None
    ) -> IntArray:
        """Return candidates for a start, ends of drains among them."""
        drains = self.instance.drains
        if not drains:
            return starts
        ends = [b for n in nodes.tolist() for _, b in drains.get(n, ()) if b > starts[0]]
        ends = [b for b in ends if last_start is None or b <= last_start]
        return np.unique(np.concatenate([starts, np.array(ends, dtype=np.int64)]))

    def _open(self, starts: IntArray, nodes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which nodes let something start at which instants."""
        found = np.ones((len(starts), len(nodes)), dtype=bool)
        for column, n in enumerate(nodes.tolist()):
            for a, b in self.instance.drains.get(n, ()):
                found[:, column] &= (starts < a) | (starts >= b)
        return found


def _always(free: IntArray, count: int, begin: IntArray, end: IntArray) -> NDArray[np.bool_]:
    """Return in which windows of rows which nodes always have `count` free."""
    short = np.zeros((len(free) + 1, free.shape[1]), dtype=np.int32)
    np.cumsum(free < count, axis=0, out=short[1:])
    return np.asarray(short[end] == short[begin])


def _by_mode(
    instance: Instance, class_index: int
) -> tuple[tuple[int, tuple[NDArray[np.int64], ...]], ...]:
    """Return the modes of a class, quickest first, with their domains; single nodes together."""
    modes = instance.problem.modes[class_index]
    areas: dict[int, list[tuple[int, ...]]] = {}
    for m, nodes in instance.ways[class_index]:
        areas.setdefault(m, []).append(nodes)
    found = []
    for m in sorted(areas, key=lambda m: (-modes[m].rate, modes[m].count, m)):
        some = areas[m]
        if modes[m].level == 0:
            some = [tuple(n for (n,) in some)]
        found.append((m, tuple(np.array(nodes, dtype=np.int64) for nodes in some)))
    return tuple(found)
