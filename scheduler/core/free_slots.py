"""Free slots by domain, kept up to date pool by pool.

Whether a domain holds a gang is a question of how many slots of a size it has free. Summed anew
from its pools, each answer costs as much as the fleet is large; here it is one number, and what
starts or ends corrects the sums of the domains around the pools that it touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from scheduler.core.problem import Problem

PoolSlots = Callable[[int, int], int]
"""Free slots of a pool, by pool and slot size."""


class FreeSlots:
    """Sums over the pools of one accelerator type inside each domain, by type and slot size.

    Parameters
    ----------
    problem : Problem
        Pools and domains.

    Attributes
    ----------
    seen : list of int
        By type, the changes that the sums take account of (`Occupancy.version`).
    """

    __slots__ = ("_by_domain", "_by_pool", "_problem", "seen")

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._by_domain: list[dict[int, list[int]]] = [{} for _ in problem.types]
        self._by_pool: list[dict[int, dict[int, int]]] = [{} for _ in problem.types]
        self.seen = [0] * len(problem.types)

    def copy(self) -> FreeSlots:
        """Return an independent copy, for an occupancy that has not changed yet."""
        twin = FreeSlots.__new__(FreeSlots)
        twin._problem = self._problem
        twin._by_domain = [{s: v.copy() for s, v in sums.items()} for sums in self._by_domain]
        twin._by_pool = [{s: v.copy() for s, v in sums.items()} for sums in self._by_pool]
        twin.seen = [0] * len(self.seen)
        return twin

    def of(
        self, type_index: int, size: int, pools: Iterable[int], slots: PoolSlots
    ) -> Sequence[int]:
        """Return the free slots of `size` accelerators of a type, by domain.

        Parameters
        ----------
        type_index, size : int
            Which sums.
        pools : iterable of int
            All pools of the type.
        slots : callable
            What each has free now.
        """
        sums = self._by_domain[type_index].get(size)
        if sums is None:
            sums = self._by_domain[type_index][size] = [0] * len(self._problem.domains)
            each = self._by_pool[type_index][size] = {}
            for pool in pools:
                each[pool] = free = slots(pool, size)
                for domain in self._problem.pools[pool].domains:
                    sums[domain] += free
        return sums

    def correct(self, type_index: int, pools: Iterable[int], slots: PoolSlots) -> None:
        """Bring the sums of a type up to date.

        Parameters
        ----------
        type_index : int
            Which type.
        pools : iterable of int
            All pools of it that changed.
        slots : callable
            What each has free now.
        """
        of_pool, by_pool = self._problem.pools, self._by_pool[type_index]
        by_domain = self._by_domain[type_index]
        for pool in pools:
            for size, each in by_pool.items():
                free = slots(pool, size)
                change = free - each[pool]
                if change:
                    each[pool] = free
                    sums = by_domain[size]
                    for domain in of_pool[pool].domains:
                        sums[domain] += change
