"""What an offline search is asked, what it came to, and the schedules that it compares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.core.run import Allocation, Schedule, Status
from scheduler.solver.offline.instance import Instance, Planned

SAME: Final = 1e-6
"""Relative difference of objective and bound that counts as none (as the verifier's)."""


@dataclass(frozen=True, slots=True)
class Aim:
    """An objective, and by how much later ones may worsen it.

    Parameters
    ----------
    name : str
        One of `OBJECTIVES`.
    tolerance : float
        Relative, of its best value found.
    """

    name: str
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What was reached for one objective.

    Parameters
    ----------
    aim : Aim
        The objective.
    best, value : float
        Best value found, and that of the final schedule.
    bound : float
        On the value, given what leads; of the kind of schedule that the answer is.
    general_bound : float
        On the value of every schedule.
    status : Status
        Whether the best value was proved.
    proof : str
        How the bound was proved, for people.
    """

    aim: Aim
    best: float
    value: float
    bound: float
    general_bound: float
    status: Status
    proof: str

    @property
    def gap(self) -> float:
        """Return how far the value is from the bound, relative to the value."""
        if math.isinf(self.value) or self.value == 0:
            return 0.0
        return abs(self.value - self.bound) / abs(self.value)


@dataclass(frozen=True, slots=True)
class OfflineAnswer:
    """An offline schedule and its proof.

    Parameters
    ----------
    schedule : Schedule
        Of the leading objective; what is maximised is negated in it.
    stages : tuple of Stage
        By objective, the leading one first.
    preempts : bool
        Whether some job runs in more than one part.
    made_by : str
        What found it.
    first : str
        What the search for the leading objective began with, and `first_objective` its value.
    first_objective : float
        Infinite where nothing was known.
    windows, improved : int
        Steps of repair, and those that helped.
    gains : mapping of str to float
        By kind of step, what it gained, relative.
    deterministic_time : float
        That was spent, about seconds.
    tick_s : float
        Of the interval model.
    """

    schedule: Schedule
    stages: tuple[Stage, ...]
    preempts: bool
    made_by: str
    first: str
    first_objective: float
    windows: int
    improved: int
    gains: Mapping[str, float]
    deterministic_time: float
    tick_s: float

    @property
    def general_bound(self) -> float:
        """Return the leading objective's bound on every schedule."""
        return self.stages[0].general_bound

    @property
    def proof(self) -> str:
        """Return how the leading objective's bound was proved."""
        return self.stages[0].proof

    @property
    def gap(self) -> float:
        """Return the leading objective's gap."""
        return self.stages[0].gap


@dataclass(frozen=True, slots=True)
class Found:
    """A verified schedule; with the plan that it is, where it can be searched from."""

    name: str
    allocations: tuple[Allocation, ...]
    loss: float
    instance: Instance | None = None
    plan: Mapping[int, Planned] | None = None

    @property
    def preempts(self) -> bool:
        """Whether some job is in several parts."""
        return len(self.allocations) > len({a.job for a in self.allocations})


@dataclass(frozen=True, slots=True)
class Reached:
    """What the search for one objective came to, as losses."""

    found: Found
    bound: float
    general: float
    status: Status
    proof: str
    general_proof: str
    first: str
    first_loss: float


def nothing(aims: Sequence[Aim]) -> OfflineAnswer:
    """Return the answer where there is no job to plan."""
    schedule = Schedule((), aims[0].name, 0.0, 0.0, Status.OPTIMAL)
    proof = "there is no job to plan"
    stages = tuple(Stage(a, 0.0, 0.0, 0.0, 0.0, Status.OPTIMAL, proof) for a in aims)
    return OfflineAnswer(schedule, stages, False, "nothing", "nothing", 0.0, 0, 0, {}, 0.0, 0.0)


def better_of(one: Found | None, other: Found | None) -> Found | None:
    """Return the one of less loss, the first of equals."""
    if one is None or other is None:
        return one or other
    return other if other.loss < one.loss else one


def met(loss: float, bound: float) -> bool:
    """Return whether a bound proves that there is nothing better."""
    if math.isinf(loss):  # nothing is known yet
        return False
    return loss - bound <= 0.9 * SAME * max(1.0, abs(loss))
