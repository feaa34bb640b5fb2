"""A market over a window of rounds: Nash social welfare with a look at the makespan.

Shockwave buys each job rounds of a window such that the product of the jobs' utilities, each
to the power of how unfairly it has been served, is as large as possible, less a penalty for
the longest job left over. Utility is the part of a job that is done by the end of the window;
its logarithm is taken piecewise linear, as in Shockwave's program, which makes shares of the
window a linear program.

References
----------
P. Zheng et al., "Shockwave: fair and efficient cluster scheduling for dynamic adaptation in
machine learning", NSDI 2023, sections 4 and 6.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from scheduler.core.workload import FloatArray
from scheduler.solver.fair_shares import Fleet

BASES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Parts done between which the logarithm is linear (Shockwave's configuration)."""

_LEAST_PART = 0.02
"""Part at which the logarithm begins, as that of 0 is not finite."""


def market_shares(
    fleet: Fleet,
    done: FloatArray,
    left: FloatArray,
    weight: FloatArray,
    window_s: float,
    makespan_weight: float,
) -> FloatArray:
    """Return shares of the window, shape (jobs, types).

    Parameters
    ----------
    fleet : Fleet
        Jobs and capacities.
    done, left : ndarray of float64, shape (jobs,)
        Work done and left; left is positive.
    weight : ndarray of float64, shape (jobs,)
        Exponent of each job's utility, positive.
    window_s : float
        Length of the window.
    makespan_weight : float
        What a second of the longest time left after the window counts against the mean
        logarithm.

    Raises
    ------
    RuntimeError
        If the solver fails.
    """
    from ortools.linear_solver import pywraplp

    jobs, types = fleet.rates.shape
    solver = pywraplp.Solver.CreateSolver("GLOP")
    infinity = solver.infinity()
    objective = solver.Objective()
    objective.SetMaximization()
    rooms = [solver.Constraint(-infinity, float(c)) for c in fleet.capacity]
    longest = solver.NumVar(0, infinity, "")
    alone_s = left / fleet.rates.max(axis=1)
    objective.SetCoefficient(longest, -makespan_weight * jobs)
    shares = {}
    for i in range(jobs):
        total = float(done[i] + left[i])
        # done / total + what is bought = the pieces of the logarithm filled so far
        part = solver.Constraint(float(done[i]) / total, float(done[i]) / total)
        whole = solver.Constraint(-infinity, 1.0)
        late = solver.Constraint(float(alone_s[i]), infinity)
        late.SetCoefficient(longest, 1.0)
        for t in range(types):
            if fleet.rates[i, t] > 0:
                shares[i, t] = share = solver.NumVar(0, 1, "")
                bought = float(fleet.rates[i, t]) * window_s
                part.SetCoefficient(share, -bought / total)
                whole.SetCoefficient(share, 1.0)
                rooms[t].SetCoefficient(share, float(fleet.gang[i, t]))
                late.SetCoefficient(share, bought / float(fleet.rates[i].max()))
        for low, high in pairwise(BASES):
            piece = solver.NumVar(0, high - low, "")
            part.SetCoefficient(piece, 1.0)
            rise = math.log(high) - math.log(max(low, _LEAST_PART))
            objective.SetCoefficient(piece, float(weight[i]) * rise / (high - low))
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        raise RuntimeError("GLOP found no optimum of the market program")
    found = np.zeros((jobs, types))
    for (i, t), share in shares.items():
        found[i, t] = share.solution_value()
    return found
