"""The clock of a run and what it still has in store.

Events are ordered by (time, kind, sequence), a total order, so that a run depends on nothing
but its inputs and its seed.
"""

from __future__ import annotations

import heapq
from typing import Final

Event = tuple[int, int, int, int, int]
"""Instant, kind, sequence number, whom it concerns, and one detail of it."""


class Kind:
    """Event kinds, in the order in which they are handled at one instant.

    Plain numbers: the heap compares and the loop looks up millions of them.
    """

    FINISH: Final = 0
    LIMIT: Final = 1
    CRASH: Final = 2
    REPAIR: Final = 3
    FAIL: Final = 4
    RESERVE: Final = 5
    ARRIVE: Final = 6
    DEMAND: Final = 7
    LOADED: Final = 8
    WAKE: Final = 9
    CLOSE: Final = 10


class Clock:
    """The present instant, and the events to come.

    Attributes
    ----------
    now_us : int
        Present instant.
    heap : list of Event
        A heap of what is to come.
    """

    __slots__ = ("_sequence", "heap", "now_us")

    def __init__(self) -> None:
        self.now_us = 0
        self.heap: list[Event] = []
        self._sequence = 0

    def push(self, at_us: int, kind: int, subject: int, detail: int = 0) -> None:
        """Let something happen at `at_us`; of one kind, the first pushed comes first."""
        self._sequence = sequence = self._sequence + 1
        heapq.heappush(self.heap, (at_us, kind, sequence, subject, detail))
