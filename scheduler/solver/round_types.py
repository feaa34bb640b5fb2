"""What a placement round is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.problem import Mode
from scheduler.core.run import Placement, Status


@dataclass(frozen=True, slots=True)
class Option:
    """One way to start a job now, and what that is worth."""

    mode: int
    shape: Mode
    utility: float


@dataclass(frozen=True, slots=True)
class Held:
    """What a running candidate holds, and what leaving it in place is worth."""

    placement: Placement
    utility: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job the round may start, keep, move or stop.

    Parameters
    ----------
    job : int
        Job index.
    options : tuple of Option
        Ways to start it (for a running job: to move it).
    held : Held or None
        None for a waiting job.
    """

    job: int
    options: tuple[Option, ...]
    held: Held | None = None


@dataclass(frozen=True, slots=True)
class RoundAnswer:
    """A feasible round with its proof.

    Parameters
    ----------
    starts : tuple of (job, mode, Placement)
        Jobs that start or move.
    kept : tuple of int
        Running candidates left in place; the other running candidates stop or move.
    objective, bound : float
        Total utility reached, and what no round over these candidates can exceed.
    status : Status
        ``OPTIMAL`` when the two agree to the solver's integer scaling.
    """

    starts: tuple[tuple[int, int, Placement], ...]
    kept: tuple[int, ...]
    objective: float
    bound: float
    status: Status

    @property
    def gap(self) -> float:
        """Return (bound - objective) / bound, 0 where the bound is 0."""
        return (self.bound - self.objective) / self.bound if self.bound > 0 else 0.0
