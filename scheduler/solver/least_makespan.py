"""The linear program of least makespan over configurations, and what it says each job is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.workload import FloatArray


def makespan_prices(
    seconds: FloatArray, needs: Sequence[tuple[int, int]], capacity: Sequence[int]
) -> tuple[FloatArray, float]:
    """Return the dual value of each job's work and the least makespan.

    Jobs divide their work over configurations, one at a time; the accelerators of each group
    suffice over the whole span. All jobs are there from the start, and nothing is paid for
    changing configuration, so that the makespan is a lower bound under these terms.

    Parameters
    ----------
    seconds : ndarray, shape (jobs, configs)
        Time of all of a job's work in each configuration, positive.
    needs : sequence of (int, int)
        Group and accelerators of each configuration.
    capacity : sequence of int
        Accelerators of each group.

    Returns
    -------
    prices : ndarray, shape (jobs,)
        Seconds of makespan that a job's work costs; they sum to the makespan.
    makespan_s : float
        Value of the program.
    """
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    span = solver.NumVar(0, solver.infinity(), "")
    done = []
    held = [solver.Constraint(-solver.infinity(), 0.0) for _ in capacity]
    for row, size in zip(held, capacity, strict=True):
        row.SetCoefficient(span, -float(size))
    for times in seconds.tolist():
        work = solver.Constraint(1.0, solver.infinity())
        alone = solver.Constraint(-solver.infinity(), 0.0)
        alone.SetCoefficient(span, -1.0)
        for (group, count), time_s in zip(needs, times, strict=True):
            if count <= capacity[group]:
                x = solver.NumVar(0, solver.infinity(), "")
                work.SetCoefficient(x, 1.0 / time_s)
                alone.SetCoefficient(x, 1.0)
                held[group].SetCoefficient(x, float(count))
        done.append(work)
    solver.Minimize(span)
    solver.Solve()
    return np.array([max(row.dual_value(), 0.0) for row in done]), float(span.solution_value())
