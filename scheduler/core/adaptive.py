"""Jobs whose rate changes as they train: batch size and gang adapt while progress is made.

An application is measured, not modelled: seconds per step by accelerator type and shape, and
gradient statistics by epoch and batch size. Progress is counted in steps at the smallest batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.core.workload import FloatArray

Shape = tuple[int, ...]
"""Accelerators on each node of a gang, in node order."""

StepRows = FloatArray
"""Columns: samples per accelerator (ascending), seconds of a step, seconds of it that
synchronise; shape (rows, 3)."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Measured seconds per step of one application on one accelerator type.

    Parameters
    ----------
    placements : mapping
        Rows by shape; each shape is the smallest of its rotations.
    scaling : mapping
        Rows by (nodes, accelerators), for shapes without rows of their own.
    largest_local : float
        Largest batch per accelerator that fits its memory, where stated apart from the rows.
    """

    placements: Mapping[Shape, StepRows]
    scaling: Mapping[tuple[int, int], StepRows]
    largest_local: float


@dataclass(frozen=True, slots=True)
class Application:
    """A training program: all its jobs are the same work.

    Parameters
    ----------
    name : str
        Name in files.
    steps : mapping
        Step times by accelerator type.
    batches : ndarray, shape (batches,)
        Global batch sizes of the statistics, ascending; the first is the reference batch.
    epoch_ends : ndarray, shape (epochs,)
        Progress at which each epoch ends, increasing.
    grad_sqr, grad_var : ndarray, shape (epochs, batches)
        Squared norm and variance of the gradient.
    slowdown : float
        Factor on every iteration, at least 1.
    restart_s : int
        Seconds a gang is held without progress at each start, resize or change of type.
    """

    name: str
    steps: Mapping[str, StepTimes]
    batches: FloatArray
    epoch_ends: FloatArray
    grad_sqr: FloatArray
    grad_var: FloatArray
    slowdown: float
    restart_s: int

    @property
    def epochs(self) -> int:
        """Return the number of epochs of a job."""
        return len(self.epoch_ends)


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Equal nodes of one accelerator type.

    Parameters
    ----------
    name : str
        Accelerator type.
    nodes, per_node : int
        Nodes, and accelerators on each.
    """

    name: str
    nodes: int
    per_node: int

    @property
    def accelerators(self) -> int:
        """Return the accelerators of the group."""
        return self.nodes * self.per_node


@dataclass(frozen=True, slots=True)
class AdaptiveJob:
    """One submitted job.

    Parameters
    ----------
    id : str
        As submitted.
    application : int
        Position in `AdaptiveProblem.applications`.
    release_s : float
        Submission, seconds from the start of the workload.
    accelerators, batch : int
        Rigid request: gang and global batch, for policies that obey it.
    """

    id: str
    application: int
    release_s: float
    accelerators: int
    batch: int


@dataclass(frozen=True, slots=True)
class AdaptiveProblem:
    """A fleet, applications and jobs in order of submission."""

    name: str
    groups: tuple[NodeGroup, ...]
    applications: tuple[Application, ...]
    jobs: tuple[AdaptiveJob, ...]


@dataclass(frozen=True, slots=True)
class Stint:
    """A job holding the same accelerators over ``[start_s, end_s)``.

    Parameters
    ----------
    job, group : int
        Positions in `AdaptiveProblem.jobs` and `.groups`.
    shape : tuple of int
        Accelerators on each node.
    nodes : tuple of int
        Nodes of the group, one for each entry of `shape`.
    start_s, end_s : int
        Whole seconds.
    restart_s : int
        Leading seconds without progress.
    idle_s : int
        Trailing seconds after the job's end: accelerators are free again at the next round.
    batches : tuple of (int, int, int)
        Second, epoch and global batch from there on, ascending.
    sync_s : float
        Seconds of the stint spent synchronising.
    """

    job: int
    group: int
    shape: Shape
    nodes: tuple[int, ...]
    start_s: int
    end_s: int
    restart_s: int
    idle_s: int
    batches: tuple[tuple[int, int, int], ...]
    sync_s: float

    @property
    def accelerators(self) -> int:
        """Return the accelerators held."""
        return sum(self.shape)


@dataclass(frozen=True, slots=True)
class AdaptiveRun:
    """What happened.

    Parameters
    ----------
    policy, information, rates : str
        Who decided, and what it was told.
    round_s : int
        Seconds between decisions.
    stints : tuple of Stint
        By start, then job.
    finished_s : tuple of int
        Completion of each job.
    restarts : tuple of int
        Times each job paid its restart.
    """

    policy: str
    information: str
    rates: str
    round_s: int
    stints: tuple[Stint, ...]
    finished_s: tuple[int, ...]
    restarts: tuple[int, ...]

    @property
    def horizon_s(self) -> int:
        """Return the last completion."""
        return max(self.finished_s, default=0)


def gang_shapes(group: NodeGroup) -> tuple[Shape, ...]:
    """Return the shapes of elastic gangs: powers of two inside a node, else whole nodes.

    Sizes below a node divide one another and larger gangs take whole nodes, so gangs that fit
    in the group's total always fit on its nodes.
    """
    inside = [1 << i for i in range(group.per_node.bit_length()) if 1 << i < group.per_node]
    whole = [(group.per_node,) * nodes for nodes in range(1, group.nodes + 1)]
    return (*((size,) for size in inside), *whole)
