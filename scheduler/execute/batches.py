"""Which cells go to a worker next, and how many at once.

A task should last long enough that handing it over costs little, and the longest cells
should start first so that no core waits for a straggler at the end. Durations are not
known beforehand: the first cell of each policy goes out alone and its time guides the rest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from scheduler.execute.cell import Cell

TARGET_S: Final = 0.2
"""Least time one task should take (a Ray task costs about a millisecond to hand over)."""

HAND_OVER_S: Final = 0.005
"""Measured cost of one task to its driver. A task should last as long as it takes to hand one
to every other worker; with many workers that is longer than `TARGET_S`."""


class Batches:
    """Cells not yet handed out, by policy, with the measured time per cell.

    Parameters
    ----------
    cells : sequence of Cell
        What there is to do; a batch holds positions in this sequence.
    slots : int
        Workers that share the cells.
    slowest_first : bool
        Whether the policy with the longest cells goes first; else all advance together.
    """

    def __init__(self, cells: Sequence[Cell], slots: int, *, slowest_first: bool = True) -> None:
        self._slots = max(1, slots)
        self._slowest_first = slowest_first
        self._waiting: dict[str, deque[int]] = {}
        self._seconds: dict[str, float] = {}
        self._finished: dict[str, int] = {}
        for index, cell in enumerate(cells):
            self._waiting.setdefault(cell.policy, deque()).append(index)
        self._probes = deque(self._waiting)

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    def next(self) -> tuple[int, ...]:
        """Return the positions of the next batch, empty when nothing is left."""
        if not len(self):
            return ()
        if self._probes:
            policy = self._probes.popleft()
        else:
            policy = self._slowest() if self._slowest_first else self._fullest()
        queue = self._waiting[policy]
        if not queue:  # a policy may be drained before its probe is due
            return self.next()
        return tuple(queue.popleft() for _ in range(self._size(policy, len(queue))))

    def record(self, policy: str, cells: int, seconds: float) -> None:
        """Take note that `cells` cells of `policy` took `seconds` together."""
        self._seconds[policy] = self._seconds.get(policy, 0.0) + seconds
        self._finished[policy] = self._finished.get(policy, 0) + cells

    def _mean_s(self, policy: str) -> float:
        done = self._finished.get(policy, 0)
        return self._seconds[policy] / done if done else math.inf

    def _slowest(self) -> str:
        """Return the policy with the longest cells; those never timed count as longest."""
        return max((p for p, queue in self._waiting.items() if queue), key=self._mean_s)

    def _fullest(self) -> str:
        """Return the policy with the most cells left."""
        return max(self._waiting, key=lambda policy: len(self._waiting[policy]))

    def _size(self, policy: str, left: int) -> int:
        mean = self._mean_s(policy)
        target_s = max(TARGET_S, HAND_OVER_S * self._slots)
        wanted = 1 if math.isinf(mean) else math.ceil(target_s / max(mean, 1e-6))
        fair = math.ceil(left / (2 * self._slots))  # keep something for the other workers
        return max(1, min(wanted, fair, left))
