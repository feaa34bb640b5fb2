"""Queues of waiting jobs by want: thousands of like jobs cost a policy as much as one."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from itertools import chain

from scheduler.policies.view import View


class ClassQueues:
    """Waiting jobs by want, each want in order of a key that is fixed while a job waits.

    A want is a class, or finer (`View.want_of`). Its jobs want the same placements, so once
    the first cannot start, none behind it can: a policy drops the want and goes on with the
    others.

    Parameters
    ----------
    key : callable
        ``key(view, job)``; smaller comes first. Ties go to the lower job index.
    """

    def __init__(self, key: Callable[[View, int], float]) -> None:
        self._key = key
        self._key_of: dict[int, float] = {}
        self._queues: dict[int, list[tuple[float, int]]] = {}

    def update(self, view: View) -> None:
        """Take in the jobs that joined, and those whose key changed, since the last decision."""
        for job in chain(view.joined, view.changed) if view.changed else view.joined:
            if job not in view.waiting:
                continue
            entry = (self._key(view, job), job)
            self._key_of[job] = entry[0]
            queue = self._queues.setdefault(view.want_of(job), [])
            at = bisect.bisect_left(queue, entry)
            if at == len(queue) or queue[at] != entry:
                queue.insert(at, entry)

    def heads(self, view: View) -> dict[int, Iterator[tuple[float, int]]]:
        """Return, by want, an iterator of ``(key, job)`` over the jobs that wait."""
        alive = {}
        for want in sorted(self._queues):
            queue = self._queues[want]
            stale = 0
            while stale < len(queue) and not self._waits(queue[stale], view):
                stale += 1
            del queue[:stale]
            if queue:
                alive[want] = self._entries(queue, view)
            else:
                del self._queues[want]
        return alive

    def _waits(self, entry: tuple[float, int], view: View) -> bool:
        return entry[1] in view.waiting and self._key_of[entry[1]] == entry[0]

    def _entries(self, queue: list[tuple[float, int]], view: View) -> Iterator[tuple[float, int]]:
        return (entry for entry in queue if self._waits(entry, view))
