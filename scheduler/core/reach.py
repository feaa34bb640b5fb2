"""The ways in which an accelerator type may be used, and where each may be used now.

Which pools a gang could take a slot in changes only where something starts or ends. So each
way keeps its pools as a mask and looks again only at those touched since it was last asked;
a way nobody waits for is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scheduler.core.occupancy import Layout, Occupancy
from scheduler.core.problem import Mode


@dataclass(frozen=True, slots=True)
class Way:
    """One way to use an accelerator type.

    Parameters
    ----------
    mode : Mode
        A mode that uses the type so.
    least : int
        Its smallest slot on this type.
    kin : int
        Mask of the ways of the type that differ from it in size alone: where the smallest of
        them has no room, none has.
    """

    mode: Mode
    least: int
    kin: int


class Ways:
    """Every distinct way to use each type, those of small slots and gangs first.

    Parameters
    ----------
    types : int
        Number of accelerator types.
    tables : sequence of sequence of Mode
        What each of those who may wait may use.
    by_power : bool
        Whether two ways that differ in power alone are two.

    Attributes
    ----------
    of_type : list of tuple of Way
        By type.
    of_table : list of tuple of (int, int)
        By table: the types it may use, each with a mask of its ways in `of_type`.
    """

    def __init__(self, types: int, tables: Sequence[Sequence[Mode]], *, by_power: bool) -> None:
        found: list[dict[tuple[object, ...], Mode]] = [{} for _ in range(types)]
        keys: dict[int, tuple[object, ...]] = {}
        for modes in tables:
            for mode in modes:
                power_w = mode.power_w if by_power else 0.0
                key: tuple[object, ...] = mode.level, mode.groups, mode.share_milli, power_w
                keys[id(mode)] = key
                for group in mode.groups:
                    found[group.type_index].setdefault(key, mode)
        self.of_type: list[tuple[Way, ...]] = []
        place: list[dict[tuple[object, ...], int]] = []
        for t, here in enumerate(found):
            ranks = {key: _rank(mode, t) for key, mode in here.items()}
            order = sorted(here, key=ranks.__getitem__)
            place.append({key: i for i, key in enumerate(order)})
            kin: dict[tuple[object, ...], int] = {}
            for i, key in enumerate(order):
                name = _kin(here[key], t)
                kin[name] = kin.get(name, 0) | 1 << i
            self.of_type.append(
                tuple(Way(here[k], smallest_slot(here[k], t), kin[_kin(here[k], t)]) for k in order)
            )
        self.of_table: list[tuple[tuple[int, int], ...]] = []
        for modes in tables:
            mask: dict[int, int] = {}
            for mode in modes:
                for group in mode.groups:
                    t = group.type_index
                    mask[t] = mask.get(t, 0) | 1 << place[t][keys[id(mode)]]
            self.of_table.append(tuple(mask.items()))


class Reach:
    """In which pools each way may start now.

    Parameters
    ----------
    layout : Layout
        Pools and domains.
    occupancy : Occupancy
        What is free.
    ways : Ways
        What is asked for.
    """

    TRANSIENT: tuple[str, ...] = ("_ways", "_place", "_inside")

    def __init__(self, layout: Layout, occupancy: Occupancy, ways: Ways) -> None:
        types = range(len(ways.of_type))
        self._layout = layout
        self._occupancy = occupancy
        self._ways = ways
        self._place = [0] * len(layout.pool_type)
        for pools in layout.type_pools:
            for place, pool in enumerate(pools):
                self._place[pool] = 1 << place
        self._inside = {
            (t, level, entry.domain): sum(self._place[p] for p in entry.pools)
            for (t, level), entries in layout.domains_of.items()
            for entry in entries
        }
        self._mask = [[0] * len(ways.of_type[t]) for t in types]
        self._seen = [[-1] * len(ways.of_type[t]) for t in types]

    def pools(self, type_index: int, mask: int) -> Iterator[int]:
        """Yield the pools of a mask."""
        pools = self._layout.type_pools[type_index]
        while mask:
            low = mask & -mask
            mask ^= low
            yield pools[low.bit_length() - 1]

    def every(self, type_index: int) -> int:
        """Return the mask of all pools of a type."""
        return (1 << len(self._layout.type_pools[type_index])) - 1

    def place(self, pool: int) -> int:
        """Return the bit of a pool in the masks of its type."""
        return self._place[pool]

    def where(self, type_index: int, number: int) -> int:
        """Return the mask of the pools of a type in which a gang of a way may hold a slot."""
        now = self._occupancy.version(type_index)
        mode = self._ways.of_type[type_index][number].mode
        if self._seen[type_index][number] == now and len(mode.groups) == 1:
            return self._mask[type_index][number]
        return self._look(type_index, number, now)

    def _look(self, t: int, number: int, now: int) -> int:
        mode, layout = self._ways.of_type[t][number].mode, self._layout
        if len(mode.groups) > 1:  # other types have a say too
            pools: Iterable[int] = layout.type_pools[t]
        else:
            pools = self._occupancy.changed(t, self._seen[t][number])
        if mode.level:
            mask = self._in_domains(t, mode, self._mask[t][number], pools)
        else:
            mask, count = self._mask[t][number], mode.groups[0].count
            for pool in pools:
                bit = self._place[pool]
                has = self._occupancy.has_node(pool, count)
                mask = mask | bit if has else mask & ~bit
        self._mask[t][number] = mask
        self._seen[t][number] = now
        return mask

    def _in_domains(self, t: int, mode: Mode, mask: int, pools: Iterable[int]) -> int:
        level, occupancy = mode.level, self._occupancy
        of_pool = self._layout.problem.pools
        for domain in dict.fromkeys([of_pool[pool].domains[level - 1] for pool in pools]):
            inside = self._inside[t, level, domain]
            has = occupancy.has_room(mode, domain)
            mask = mask | inside if has else mask & ~inside
        return mask


def smallest_slot(mode: Mode, type_index: int) -> int:
    """Return the smallest slot that a mode has on a type."""
    return min(
        g.count % g.per_node or g.per_node for g in mode.groups if g.type_index == type_index
    )


def _rank(mode: Mode, t: int) -> tuple[object, ...]:
    parts = tuple((g.type_index, g.per_node, g.count) for g in mode.groups)
    return smallest_slot(mode, t), mode.level, len(parts), parts, mode.share_milli, mode.power_w


def _kin(mode: Mode, t: int) -> tuple[object, ...]:
    """Return what ways share that differ in the number of their slots alone."""
    if len(mode.groups) > 1:
        return mode.level, mode.groups
    group = mode.groups[0]
    return mode.level, group.per_node, group.count % group.per_node
