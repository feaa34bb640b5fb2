"""Who plays the cells of a sweep: what all crews have in common, and the crew of one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.core.sweep import Limits
from scheduler.execute.sweep.grid import Group
from scheduler.execute.sweep.guard import Outcome, Task, run_tasks


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells of one group that go to a worker together.

    Parameters
    ----------
    number : int
        Tells the batches of a sweep apart.
    group : int
        Position of the group.
    tasks : tuple of Task
        What to play.
    """

    number: int
    group: int
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What came back of a batch.

    Parameters
    ----------
    number : int
        Of the batch.
    outcomes : tuple of Outcome
        One per task; empty where the worker was lost.
    lost : str
        Why it was lost, ``""`` if it was not.
    blameless : bool
        Whether the machine was lost, which says nothing against the cells.
    """

    number: int
    outcomes: tuple[Outcome, ...]
    lost: str = ""
    blameless: bool = False


class Crew(Protocol):
    """Workers that play batches.

    A crew never raises for what a cell does. It holds a few more batches than it has workers,
    so that none waits for its next one.
    """

    def room(self) -> int:
        """Return how many more batches may be handed over now."""

    def workers(self) -> int:
        """Return how many batches can be played at once."""

    def submit(self, batch: Batch) -> None:
        """Hand a batch over."""

    def wait(self, seconds: float) -> list[Report]:
        """Return what has come back, after at most about `seconds`; perhaps nothing."""

    def close(self) -> None:
        """End what still runs, at once."""


class LocalCrew:
    """A crew of this process alone: one cell after the other.

    Parameters
    ----------
    groups : sequence of Group
        What batches refer to.
    limits : Limits
        Of each cell. A cell that Python cannot interrupt is not bounded here.
    """

    def __init__(self, groups: Sequence[Group], limits: Limits) -> None:
        self._groups = groups
        self._limits = limits
        self._waiting: deque[Batch] = deque()

    def room(self) -> int:
        """Return 1 or 0: one batch at a time."""
        return 1 - len(self._waiting)

    def workers(self) -> int:
        """Return 1."""
        return 1

    def submit(self, batch: Batch) -> None:
        """Keep the batch for `wait`."""
        self._waiting.append(batch)

    def wait(self, seconds: float) -> list[Report]:
        """Play what is there, whatever it takes."""
        if not self._waiting:
            return []
        batch = self._waiting.popleft()
        group = self._groups[batch.group]
        outcomes = run_tasks(
            group.problem, group.settings, batch.tasks, self._limits, own_process=False
        )
        return [Report(batch.number, tuple(outcomes))]

    def close(self) -> None:
        """Nothing runs outside `wait`."""
        self._waiting.clear()
