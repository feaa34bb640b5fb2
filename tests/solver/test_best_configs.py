"""The round's assignment equals brute force, and both of its methods agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from scheduler.core.workload import FloatArray
from scheduler.solver import best_configs as module
from scheduler.solver.best_configs import best_configs
from scheduler.solver.least_makespan import makespan_prices
from scheduler.solver.time_shares import max_min_shares, max_sum_shares

NEEDS = [(0, 1), (0, 2), (0, 4), (1, 1), (1, 3)]
CAPACITY = (5, 4)


def value_of(answer: list[int], values: FloatArray) -> float:
    """Return the value of a feasible answer, fail on any other."""
    free = list(CAPACITY)
    for c in answer:
        if c >= 0:
            free[NEEDS[c][0]] -= NEEDS[c][1]
    assert min(free) >= 0
    return float(sum(values[j, c] for j, c in enumerate(answer) if c >= 0))


@pytest.mark.parametrize("seed", range(60))
def test_equal_to_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.5, 2, (int(rng.integers(1, 5)), len(NEEDS)))
    values[rng.random(values.shape) < 0.2] = -np.inf
    best = 0.0
    for answer in itertools.product(range(-1, len(NEEDS)), repeat=len(values)):
        used = [sum(NEEDS[c][1] for c in answer if c >= 0 and NEEDS[c][0] == g) for g in (0, 1)]
        if used[0] <= CAPACITY[0] and used[1] <= CAPACITY[1]:
            worth = sum(float(values[j, c]) for j, c in enumerate(answer) if c >= 0)
            best = max(best, worth)
    assert value_of(best_configs(values, NEEDS, CAPACITY), values) == pytest.approx(best)
    if seed % 10 == 0:
        monkeypatch.setattr(module, "STATES", 0)
        assert value_of(best_configs(values, NEEDS, CAPACITY), values) == pytest.approx(
            best, abs=1e-4
        )


@pytest.mark.parametrize("seed", range(10))
def test_shares_are_feasible_optimal_and_equal_for_equal_jobs(seed: int) -> None:
    from ortools.linear_solver import pywraplp

    rng = np.random.default_rng(seed)
    jobs = int(rng.integers(3, 15))
    values = rng.uniform(0.1, 5, (jobs, 3))
    gangs = rng.integers(1, 9, jobs).astype(float)
    values[1], gangs[1] = values[0], gangs[0]
    capacity = np.array([8.0, 12.0, 16.0])
    for fair, shares in (
        (False, max_sum_shares(values, gangs, capacity)),
        (True, max_min_shares(values, gangs, capacity)),
    ):
        assert (shares >= 0).all()
        assert (shares.sum(axis=1) <= 1 + 1e-6).all()
        assert (gangs @ shares <= capacity + 1e-5).all()
        assert shares[0] == pytest.approx(shares[1], abs=1e-5)
        solver = pywraplp.Solver.CreateSolver("GLOP")
        x = [[solver.NumVar(0, 1, "") for _ in range(3)] for _ in range(jobs)]
        for row in x:
            solver.Add(sum(row) <= 1)
        for t in range(3):
            solver.Add(sum(gangs[j] * x[j][t] for j in range(jobs)) <= capacity[t])
        worth = [sum(values[j, t] * x[j][t] for t in range(3)) for j in range(jobs)]
        if fair:
            least = solver.NumVar(0, solver.infinity(), "")
            for one in worth:
                solver.Add(one >= least)
            solver.Maximize(least)
            ours = (values * shares).sum(axis=1).min()
        else:
            solver.Maximize(sum(worth))
            ours = (values * shares).sum()
        solver.Solve()
        assert ours == pytest.approx(solver.Objective().Value(), rel=1e-5)


def test_prices_of_the_least_makespan_sum_to_it() -> None:
    seconds = np.array([[100.0, 60, 40, 80, 30], [10.0, 6, 4, 8, 3]])
    prices, least = makespan_prices(seconds, NEEDS, CAPACITY)
    assert least == pytest.approx(30)  # the long job alone, at its fastest
    assert prices.sum() == pytest.approx(least)
    assert prices[0] > prices[1]
