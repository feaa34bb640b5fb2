"""What a policy for adaptive jobs sees at a round, and the interface it fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler.core.adaptive import AdaptiveProblem, Shape
from scheduler.core.workload import FloatArray
from scheduler.physics.adaptive_tables import Config
from scheduler.physics.goodput import Rates


@dataclass(slots=True)
class JobState:
    """One submitted, unfinished job.

    Parameters
    ----------
    job, application : int
        Positions in the problem.
    release_s : float
        Submission.
    progress : float
        Work done, in reference steps.
    epoch : int
        Epoch at hand.
    config : tuple of int or None
        What it held in the round that ends; None where nothing.
    shape, nodes : tuple of int
        Where.
    restarts : int
        Restarts paid so far.
    restart_left_s : int
        Rest of a restart not yet paid.
    held_s : float
        Accelerator-seconds held so far.
    """

    job: int
    application: int
    release_s: float
    progress: float = 0.0
    epoch: int = 0
    config: Config | None = None
    shape: Shape = ()
    nodes: tuple[int, ...] = ()
    restarts: int = 0
    restart_left_s: int = 0
    held_s: float = 0.0


class Agents(Protocol):
    """The jobs' own side: which batch each runs with, and what is known of its speed."""

    def rates(self, state: JobState, group: int, shape: Shape) -> Rates:
        """Return the true rates under the batch the job would choose."""
        ...

    def goodputs(self, state: JobState) -> FloatArray:
        """Return believed progress per second by `Tables.configs` and epoch."""
        ...

    def observe(self, state: JobState) -> None:
        """Learn from the round a job has just run."""
        ...


@dataclass(frozen=True, slots=True)
class AdaptiveView:
    """The state at a round.

    Parameters
    ----------
    problem : AdaptiveProblem
        Fleet and applications; policies read no job that is not in `jobs`.
    time_s : int
        Now.
    jobs : sequence of JobState
        By submission.
    agents : Agents
        What is known of each job's speed.
    """

    problem: AdaptiveProblem
    time_s: int
    jobs: Sequence[JobState]
    agents: Agents


class AdaptivePolicy(Protocol):
    """Decides who holds what until the next round."""

    name: str
    round_s: int
    rigid: bool
    """Whether jobs run as submitted: their gang and their batch."""

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        """Return what each job holds from now on; jobs left out hold nothing."""
        ...
