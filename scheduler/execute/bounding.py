"""The bound beside each replay, proved for the very work that the replay had.

The plan of a problem, on its nominal work, is made once per process; a replay's bound is what
its prices prove of the replay's own work, once for all policies that had the same work and
finished the same jobs. Both are functions of the problem and that work alone, so that the
result is the same on every executor.

Where there are services, the bound is on schedules in which none of them goes without more
requests than in the run: what it serves, it takes from the jobs. `Bounds.holds_for` says so.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from scheduler.core.bounds import Bounds, lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S

if TYPE_CHECKING:
    from scheduler.solver.plan import Plan, Requests

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
    """The plans of one problem, and the bounds found with them."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.plans: list[Plan] = []
        self.found: OrderedDict[str, Bounds] = OrderedDict()


_latest: list[_OfProblem] = []
"""Of the last problem only: problems are large."""


def bounds_of(problem: Problem, run: Run, bounding: Bounding) -> Bounds:
    """Return bounds on mean completion time and makespan of a run's finished jobs.

    Parameters
    ----------
    problem : Problem
        What was played.
    run : Run
        Its work, the jobs that finished, and what its services were asked and served count.
    bounding : {"auto", "plan", "quick", "none"}
        Which bound. The plan's is never less than the quick one.
    """
    work, finished = run.actual_work, sorted(run.finished_us)
    if bounding == "none":
        return Bounds(0.0, 0.0, len(finished), "none")
    if bounding == "quick" or not _plans(problem, len(finished), bounding):
        return lower_bounds(problem, work, finished)
    if not _latest or _latest[0].problem is not problem:
        _latest[:] = [_OfProblem(problem)]
    memory = _latest[0]
    key = _digest(run, finished)
    if key not in memory.found:
        memory.found[key] = _planned(memory, work, finished, _requests(run))
        if len(memory.found) > _KEPT:
            memory.found.popitem(last=False)
    return memory.found[key]


def _plans(problem: Problem, finished: int, bounding: Bounding) -> bool:
    jobs = len(problem.workload.jobs)
    if not finished:
        return False
    small = jobs * len(problem.types) <= MOST_JOBS_BY_TYPES
    return bounding == "plan" or (small and finished >= LEAST_FINISHED * jobs)


def _requests(run: Run) -> Requests | None:
    if not run.demanded:
        return None
    from scheduler.solver.plan import Requests

    return Requests(run.served, run.demanded, run.horizon_us / US_PER_S)


def _planned(
    memory: _OfProblem, work: Sequence[float], finished: Sequence[int], asked: Requests | None
) -> Bounds:
    """Return what plans prove: one that leaves services out, and one that serves them."""
    from scheduler.solver.plan import plan_all, plan_bound, priced_bound

    problem = memory.problem
    if len(finished) < LEAST_FINISHED * len(problem.workload.jobs):
        return plan_bound(problem, work, finished)
    if not memory.plans:
        memory.plans.append(plan_all(problem))
        if asked is not None:
            memory.plans.append(plan_all(problem, serving=True))
    return priced_bound(problem, memory.plans, work, finished, asked=asked)


def _digest(run: Run, finished: Sequence[int]) -> str:
    digest = hashlib.sha256(np.asarray(run.actual_work, dtype=np.float64).tobytes())
    digest.update(np.asarray(finished, dtype=np.int64).tobytes())
    if run.demanded:
        amounts = [*run.served, *run.demanded, float(run.horizon_us)]
        digest.update(np.asarray(amounts, dtype=np.float64).tobytes())
    return digest.hexdigest()
