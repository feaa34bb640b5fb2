"""Arrays of jobs of which only so many run at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from scheduler.core.workload import Jobs


class Turns:
    """Who has a turn, and who waits for one.

    A turn is had from the instant a job may start to its end; being stopped on the way does
    not end it. So at most as many of an array wait or run as may run, and policies see no
    others.

    Parameters
    ----------
    array_of : sequence of int
        By job, its array, or -1.
    most : sequence of int
        By array, its turns.

    Attributes
    ----------
    held : int
        Jobs that are ready and wait for a turn.
    """

    def __init__(self, array_of: Sequence[int], most: Sequence[int]) -> None:
        self.held = 0
        self._array_of = list(array_of)
        self._left = list(most)
        self._ready: list[list[int]] = [[] for _ in most]
        self._changed: dict[int, None] = {}

    @classmethod
    def of(cls, jobs: Jobs) -> Turns | None:
        """Return the turns of a workload, None where no array has a limit."""
        return cls(jobs.array_index.tolist(), jobs.array_most) if jobs.array_most else None

    def asks(self, job: int) -> bool:
        """Note that a job is ready; return False if it needs no turn."""
        array = self._array_of[job]
        if array < 0:
            return False
        heapq.heappush(self._ready[array], job)
        self._changed[array] = None
        self.held += 1
        return True

    def ended(self, job: int) -> None:
        """Note that a job has ended."""
        array = self._array_of[job]
        if array >= 0:
            self._left[array] += 1
            self._changed[array] = None

    def deal(self) -> list[int]:
        """Give the turns that are left to the first that are ready; return who has one now."""
        dealt = []
        for array in self._changed:
            ready = self._ready[array]
            while ready and self._left[array]:
                self._left[array] -= 1
                dealt.append(heapq.heappop(ready))
        self._changed.clear()
        self.held -= len(dealt)
        return sorted(dealt)
