"""Whether anything of a class could start now, answered from what has changed since last time.

Between two rounds most of what waits cannot start, and each event frees accelerators in one or
two pools. So a class that has no place is asked again only about the pools that changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.core.occupancy import Occupancy
from scheduler.core.problem import Mode
from scheduler.core.reach import Reach, Ways


class Openings:
    """Classes with room for a gang.

    Parameters
    ----------
    occupancy : Occupancy
        What is free, live.
    tables : sequence of sequence of Mode
        By class, the modes that are looked at.
    """

    def __init__(self, occupancy: Occupancy, tables: Sequence[Sequence[Mode]]) -> None:
        types = len(occupancy.type_free)
        self._occupancy = occupancy
        self._ways = Ways(types, tables, by_power=False)
        self._reach = Reach(occupancy.layout, occupancy, self._ways)
        self._version = [-1] * types
        self._open = [0] * types
        self._closed = [0] * types

    def any_of(self, table: int) -> bool:
        """Return whether some mode of a class has room now, power caps aside."""
        for t, mask in self._ways.of_table[table]:
            version = self._occupancy.version(t)
            if version != self._version[t]:
                self._version[t] = version
                self._open[t] = self._closed[t] = 0
            if self._open[t] & mask or self._has(t, mask & ~self._closed[t]):
                return True
        return False

    def _has(self, t: int, unknown: int) -> bool:
        """Return whether one of some ways of a type has room; note what was found."""
        ways = self._ways.of_type[t]
        while unknown:
            low = unknown & -unknown
            number = low.bit_length() - 1
            way = ways[number]
            if self._reach.where(t, number):
                if len(way.mode.groups) == 1:
                    self._open[t] |= low
                return True
            if len(way.mode.groups) == 1:  # nor has what is larger; else other types have a say
                low = way.kin & -low
                self._closed[t] |= low
            unknown &= ~low
        return False
