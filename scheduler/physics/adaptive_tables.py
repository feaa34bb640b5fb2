"""Everything a problem of adaptive jobs needs to look up: rates, elastic gangs, epoch lengths."""

from __future__ import annotations

import numpy as np

from scheduler.core.adaptive import AdaptiveProblem, Shape, gang_shapes
from scheduler.core.workload import FloatArray
from scheduler.physics.goodput import Goodput

Config = tuple[int, int]
"""Position of a node group, and a number of accelerators."""


class Tables:
    """Look-ups of a problem.

    Parameters
    ----------
    problem : AdaptiveProblem
        Fleet, applications and jobs.

    Attributes
    ----------
    goodput : list of list of Goodput
        By application and group.
    configs : list of (Config, Shape)
        Every elastic gang.
    capacity : tuple of int
        Accelerators by group.
    lengths : list of ndarray
        Progress of each epoch, by application.
    """

    def __init__(self, problem: AdaptiveProblem) -> None:
        self.problem = problem
        self.goodput = [[Goodput(a, g.name) for g in problem.groups] for a in problem.applications]
        self.configs: list[tuple[Config, Shape]] = [
            ((i, sum(shape)), shape)
            for i, group in enumerate(problem.groups)
            for shape in gang_shapes(group)
        ]
        self.capacity = tuple(group.accelerators for group in problem.groups)
        self.lengths = [np.diff(a.epoch_ends, prepend=0.0) for a in problem.applications]

    def best_goodputs(self, application: int) -> FloatArray:
        """Return progress per second by config and epoch, each with its best batch."""
        tables = self.goodput[application]
        return np.array([tables[g].best(shape).goodput for (g, _), shape in self.configs])
