"""The bound beside each replay, proved for the very work that the replay had.

The plan of a problem, on its nominal work, is made once per process; a replay's bound is what
its prices prove of the replay's own work, once for all policies that had the same work and
finished the same jobs. Both are functions of the problem and that work alone, so that the
result is the same on every executor.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from scheduler.core.bounds import Bounds, lower_bounds
from scheduler.core.problem import Problem

if TYPE_CHECKING:
    from scheduler.solver.plan import Plan

Bounding = Literal["auto", "plan", "quick", "none"]
"""``plan``: by prices over time; ``quick``: by area; ``auto``: by the plan where it is small."""

BOUNDINGS: Final[tuple[Bounding, ...]] = ("auto", "plan", "quick", "none")

MOST_JOBS_BY_TYPES: Final = 4000
"""Jobs times accelerator types up to which ``auto`` plans: about two seconds per problem, and a
fifth of that per replay."""

LEAST_FINISHED: Final = 0.9
"""Where fewer of the planned jobs finished, the plan's prices are those of another fleet."""

_KEPT: Final = 256
"""Bounds kept: a policy plays all its seeds before the next one does."""


class _OfProblem:
    """The plan of one problem, and the bounds found with it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.plan: Plan | None = None
        self.found: OrderedDict[str, Bounds] = OrderedDict()


_latest: list[_OfProblem] = []
"""Of the last problem only: problems are large."""


def bounds_of(
    problem: Problem, work: Sequence[float], finished: Sequence[int], bounding: Bounding
) -> Bounds:
    """Return bounds on mean completion time and makespan of a replay's finished jobs.

    Parameters
    ----------
    problem : Problem
        What was played.
    work : sequence of float
        Work that each job turned out to have.
    finished : sequence of int
        Jobs that finished, ascending.
    bounding : {"auto", "plan", "quick", "none"}
        Which bound. The plan's is never less than the quick one.
    """
    if bounding == "none":
        return Bounds(0.0, 0.0, len(finished), "none")
    if bounding == "quick" or not _plans(problem, len(finished), bounding):
        return lower_bounds(problem, work, finished)
    if not _latest or _latest[0].problem is not problem:
        _latest[:] = [_OfProblem(problem)]
    memory = _latest[0]
    key = _digest(work, finished)
    if key not in memory.found:
        memory.found[key] = _planned(memory, work, finished)
        if len(memory.found) > _KEPT:
            memory.found.popitem(last=False)
    return memory.found[key]


def _plans(problem: Problem, finished: int, bounding: Bounding) -> bool:
    jobs = len(problem.workload.jobs)
    if not finished:
        return False
    small = jobs * len(problem.types) <= MOST_JOBS_BY_TYPES
    return bounding == "plan" or (small and finished >= LEAST_FINISHED * jobs)


def _planned(memory: _OfProblem, work: Sequence[float], finished: Sequence[int]) -> Bounds:
    from scheduler.solver.plan import plan_all, plan_bound, priced_bound

    problem = memory.problem
    if len(finished) < LEAST_FINISHED * len(problem.workload.jobs):
        return plan_bound(problem, work, finished)
    if memory.plan is None:
        memory.plan = plan_all(problem)
    return priced_bound(problem, memory.plan, work, finished)


def _digest(work: Sequence[float], finished: Sequence[int]) -> str:
    of_work = hashlib.sha256(np.asarray(work, dtype=np.float64).tobytes())
    of_work.update(np.asarray(finished, dtype=np.int64).tobytes())
    return of_work.hexdigest()
