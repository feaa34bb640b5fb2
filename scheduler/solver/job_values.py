"""What it is worth to get a job done: the duals of a linear program over time.

The program spreads the work of known jobs over types and buckets of time that widen
geometrically, for the least sum of weighted mean completion dates. The dual of a job's row is
the cost of having one more such job: the date at which it would end, and what it would push
back, in seconds. A round that weighs jobs by it (`scheduler.policies.priced`) sees beyond the
present: what a V100 is worth to somebody later, not only who is shortest now.

`completion_bound` is the same program made a bound on the mean completion time of every
schedule. With ``y`` a job's work by date, its completion is at least ``sum date * y + p / 2``
for its shortest run time p (it is never done faster), and at least the time it runs. Work is
weighed at the knots of a grid, each with the capacity under its hat function: prices that are
linear between knots are dual solutions of the continuous-time program, and against linear
prices a job is cheapest at a knot. Beyond the last knot capacity is unlimited, at its date.

References
----------
A. Schulz, M. Skutella, "Scheduling unrelated machines by randomized rounding", SIAM J.
Discrete Mathematics 15(4), 2002 (interval-indexed programs for unrelated machines).
M. Goemans, "Improved approximation algorithms for scheduling with release dates", SODA 1997.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.core.workload import FloatArray


@dataclass(frozen=True, slots=True)
class KnownJobs:
    """Jobs that are all there now, and the fleet they share.

    Parameters
    ----------
    run_s : ndarray of float64, shape (jobs, types)
        Time the rest of a job takes on a type; infinite where it cannot run. Every job can
        run somewhere.
    gang : ndarray of float64, shape (jobs, types)
        Accelerators held there.
    weight : ndarray of float64, shape (jobs,)
        Importance, positive.
    capacity : ndarray of float64, shape (types,)
        Accelerators.
    """

    run_s: FloatArray
    gang: FloatArray
    weight: FloatArray
    capacity: FloatArray

    def drained_s(self) -> float:
        """Return a rough date by which everything could be done."""
        area = np.where(np.isfinite(self.run_s), self.run_s * self.gang, np.inf).min(axis=1)
        longest_s = float(self.run_s.min(axis=1).max())
        return max(longest_s, float(area.sum() / self.capacity.sum()))


def job_values(jobs: KnownJobs, buckets: int) -> FloatArray:
    """Return the dual of each job's row, in weighted seconds, shape (jobs,).

    Parameters
    ----------
    jobs : KnownJobs
        Jobs and fleet.
    buckets : int
        Buckets of time, from an hour's fraction to four times the rough drain time.

    Raises
    ------
    RuntimeError
        If the solver fails.
    """
    end_s = 4 * jobs.drained_s()
    edges = np.concatenate([[0.0], np.geomspace(min(1800.0, end_s / 50), end_s, buckets)])
    width_s = np.append(np.diff(edges), np.inf)  # what is left has all the room it needs after
    program = _Program(jobs, width_s, unit_s=max(1.0, end_s / 500))
    middle_s = np.append((edges[1:] + edges[:-1]) / 2, 2 * end_s)
    for (i, t, b), share in program.shares.items():
        cost_s = middle_s[b] + 0.5 * jobs.run_s[i, t]
        program.objective.SetCoefficient(share, float(jobs.weight[i] * cost_s / program.unit_s))
    program.solve()
    return np.array([row.dual_value() for row in program.whole]) * program.unit_s


def completion_bound(jobs: KnownJobs, knots: int = 36) -> float:
    """Return a lower bound on the mean completion date, over any schedule; weights are ignored.

    Raises
    ------
    RuntimeError
        If the solver fails.
    """
    end_s = 2 * jobs.drained_s()
    dates_s = np.concatenate([[0.0], np.geomspace(min(1800.0, end_s / 50), end_s, knots)])
    width_s = np.full(len(dates_s), np.inf)
    width_s[0] = dates_s[1] / 2
    width_s[1:-1] = (dates_s[2:] - dates_s[:-2]) / 2
    program = _Program(jobs, width_s, unit_s=max(1.0, end_s / 500))
    solver, unit_s = program.solver, program.unit_s
    by_date: list[Any] = []
    by_time: list[Any] = []
    for shortest_s in jobs.run_s.min(axis=1).tolist():
        end = solver.NumVar(0, solver.infinity(), "")
        program.objective.SetCoefficient(end, 1.0)
        for least, rows in ((0.5 * shortest_s / unit_s, by_date), (0.0, by_time)):
            row = solver.Constraint(least, solver.infinity())
            row.SetCoefficient(end, 1.0)
            rows.append(row)
    for (i, t, b), share in program.shares.items():
        by_date[i].SetCoefficient(share, -float(dates_s[b] / unit_s))
        by_time[i].SetCoefficient(share, -float(jobs.run_s[i, t] / unit_s))
    program.solve()
    # GLOP's primal and dual values agree to its tolerance; that much is taken off
    return float(program.objective.Value() * unit_s / len(jobs.run_s) * (1 - 1e-6))


class _Program:
    """Work of jobs by type and bucket, within capacity, each job on one type at a time."""

    def __init__(self, jobs: KnownJobs, width_s: FloatArray, unit_s: float) -> None:
        from ortools.linear_solver import pywraplp

        self._optimal = pywraplp.Solver.OPTIMAL
        self.solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        self.unit_s = unit_s
        solver, run_s, gang = self.solver, jobs.run_s, jobs.gang
        self.objective = solver.Objective()
        self.objective.SetMinimization()
        self.shares: dict[tuple[int, int, int], Any] = {}
        bounded = np.isfinite(width_s)
        rooms = [
            [
                (
                    size,
                    [
                        solver.Constraint(-solver.infinity(), slots * width / unit_s)
                        for width in width_s[bounded].tolist()
                    ],
                )
                for size, slots in _slots(gang[np.isfinite(run_s[:, t]), t], jobs.capacity[t])
            ]
            for t in range(len(jobs.capacity))
        ]
        self.whole = [solver.Constraint(1.0, solver.infinity()) for _ in run_s]
        for i in range(len(run_s)):
            types = np.flatnonzero(np.isfinite(run_s[i])).tolist()
            for b, width in enumerate(width_s.tolist()):
                alone = (
                    solver.Constraint(-solver.infinity(), width / unit_s) if bounded[b] else None
                )
                for t in types:
                    self.shares[i, t, b] = share = solver.NumVar(0, solver.infinity(), "")
                    time = float(run_s[i, t] / unit_s)
                    self.whole[i].SetCoefficient(share, 1.0)
                    if alone is None:
                        continue
                    alone.SetCoefficient(share, time)
                    for size, rows in rooms[t]:
                        if gang[i, t] >= size:
                            count = gang[i, t] if size == 1 else gang[i, t] // size
                            rows[b].SetCoefficient(share, time * float(count))

    def solve(self) -> None:
        """Solve.

        Raises
        ------
        RuntimeError
            If there is no optimum.
        """
        if self.solver.Solve() != self._optimal:
            raise RuntimeError("GLOP found no optimum of the completion program")


def _slots(gangs: FloatArray, capacity: float) -> list[tuple[float, float]]:
    """Return gang sizes with how many fit: 1 for the capacity, others if they leave a rest."""
    sizes = [z for z in np.unique(gangs).tolist() if z > 1 and capacity % z]
    return [(1.0, float(capacity)), *((z, float(capacity // z)) for z in sizes)]
