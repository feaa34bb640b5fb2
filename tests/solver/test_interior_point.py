"""Shares of time: optimal values against GLOP, feasibility, and what the policies ask for."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from ortools.linear_solver import pywraplp

from scheduler.solver.fair_shares import (
    Fleet,
    finish_time_shares,
    isolated_rates,
    isolated_shares,
    makespan_shares,
    max_min_shares,
    max_throughput_shares,
)


def random_fleet(seed: int) -> Fleet:
    rng = np.random.default_rng(seed)
    jobs, types = int(rng.integers(1, 30)), int(rng.integers(1, 5))
    rates = rng.lognormal(0, 1.5, (jobs, types))
    rates[rng.random(rates.shape) < 0.15] = 0.0
    rates[:, 0] = np.maximum(rates[:, 0], 0.01)
    gang = rng.choice([1.0, 2.0, 4.0, 8.0], (jobs, 1)) * np.ones((1, types))
    return Fleet(rates, gang, rng.integers(4, 40, types).astype(float))


def glop_value(fleet: Fleet, need: np.ndarray | None) -> float:
    """Return the largest level, or without need the largest sum of throughputs."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    jobs, types = fleet.rates.shape
    x = [[solver.NumVar(0, 1, "") for _ in range(types)] for _ in range(jobs)]
    level = solver.NumVar(0, solver.infinity(), "")
    for t in range(types):
        held = sum(float(fleet.gang[i, t]) * x[i][t] for i in range(jobs))
        solver.Add(held <= float(fleet.capacity[t]))
    total = 0
    for i in range(jobs):
        solver.Add(sum(x[i]) <= 1)
        throughput = sum(float(fleet.rates[i, t]) * x[i][t] for t in range(types))
        total += throughput
        if need is not None:
            solver.Add(throughput >= float(need[i]) * level)
    solver.Maximize(total if need is None else level)
    assert solver.Solve() == pywraplp.Solver.OPTIMAL
    return solver.Objective().Value()


def check_feasible(fleet: Fleet, x: np.ndarray, rel: float = 1e-6) -> None:
    assert x.min() >= 0
    assert (x.sum(axis=1) <= 1 + rel).all()
    assert ((fleet.gang * x).sum(axis=0) <= fleet.capacity * (1 + rel)).all()


@pytest.mark.parametrize("seed", range(40))
def test_values_are_those_of_the_simplex_method(seed: int) -> None:
    fleet = random_fleet(seed)
    need = np.random.default_rng([seed, 1]).lognormal(0, 1, len(fleet.rates))
    x = max_min_shares(fleet, need)
    check_feasible(fleet, x)
    reached = ((fleet.rates * x).sum(axis=1) / need).min()
    assert reached == pytest.approx(glop_value(fleet, need), rel=2e-5)
    x = max_throughput_shares(fleet, fleet.rates)
    check_feasible(fleet, x)
    assert (fleet.rates * x).sum() == pytest.approx(glop_value(fleet, None), rel=2e-5)


@pytest.mark.parametrize("seed", range(20))
def test_makespan_shares_meet_the_horizon_that_bisection_finds(seed: int) -> None:
    fleet = random_fleet(seed)
    left = np.random.default_rng([seed, 2]).lognormal(8, 1, len(fleet.rates))
    x = makespan_shares(fleet, left)
    check_feasible(fleet, x)
    least_s = 1 / glop_value(fleet, left)
    done_s = (left / (fleet.rates * x).sum(axis=1)).max()
    assert least_s * (1 - 1e-6) <= done_s <= max(1.05 * least_s, 105.0) * (1 + 1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_no_shares_are_fairer_in_finish_time(seed: int) -> None:
    fleet = random_fleet(seed)
    rng = np.random.default_rng([seed, 3])
    left = rng.lognormal(8, 1, len(fleet.rates))
    elapsed_s = rng.exponential(1000, len(left)) * (rng.random(len(left)) < 0.5)
    isolated_s = elapsed_s + left / isolated_rates(fleet)
    x = finish_time_shares(fleet, left, elapsed_s, isolated_s)
    check_feasible(fleet, x)
    rho = ((elapsed_s + left / (fleet.rates * x).sum(axis=1)) / isolated_s).max()
    # an equal split gives everybody 1, and a slightly smaller ratio cannot be met
    assert rho <= 1 + 1e-4
    window_s = 0.999 * rho * isolated_s - elapsed_s
    if window_s.min() > 0:
        assert glop_value(fleet, left / window_s) < 1


def test_room_left_over_is_spread_over_all() -> None:
    # three equal jobs on a type that is large enough for all: each may have all its time
    fleet = Fleet(np.ones((3, 1)), np.ones((3, 1)), np.array([6.0]))
    assert max_min_shares(fleet, np.ones(3)) == pytest.approx(np.ones((3, 1)), abs=1e-5)
    assert isolated_shares(fleet) == pytest.approx(np.ones((3, 1)))


def test_the_paper_example_of_max_min_fairness() -> None:
    # Gavel, section 4.1: (V100, P100, K80) rates, one accelerator each; effective throughputs
    # come out equal relative to an equal split of time
    rates = np.array([[40.0, 20.0, 10.0], [12.0, 8.0, 4.0], [100.0, 50.0, 0.0]])
    fleet = Fleet(rates, np.ones((3, 3)), np.ones(3))
    need = rates.mean(axis=1)
    x = max_min_shares(fleet, need)
    relative = (rates * x).sum(axis=1) / need
    assert relative.min() == pytest.approx(relative.max(), rel=1e-4)
    assert relative.min() == pytest.approx(glop_value(fleet, need), rel=1e-5)
    assert relative.min() > 1  # better than the equal split for everybody


PROGRAMS = """
import hashlib
import numpy as np
from scheduler.solver.fair_shares import Fleet, max_min_shares, max_throughput_shares
found = hashlib.sha256()
for seed, jobs, types in ((0, 7, 2), (1, 90, 3), (2, 400, 3), (3, 64, 8)):
    rng = np.random.default_rng(seed)
    rates = rng.lognormal(0, 1.5, (jobs, types))
    fleet = Fleet(rates, np.ones((jobs, types)), rng.integers(4, 40, types).astype(float))
    found.update(max_min_shares(fleet, rng.lognormal(0, 1, jobs)).tobytes())
    found.update(max_throughput_shares(fleet, fleet.rates).tobytes())
print(found.hexdigest())
"""


def test_shares_do_not_depend_on_the_number_of_threads() -> None:
    found = set()
    for threads in ("1", "2", "3"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAMS],
            env={**os.environ, **limits},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


def degenerate_fleet(seed: int) -> tuple[Fleet, np.ndarray]:
    """Few kinds of jobs, types alike or shut to some, capacities that just do or never bind."""
    rng = np.random.default_rng([seed, 9])
    kinds, jobs, types = int(rng.integers(1, 4)), int(rng.integers(1, 25)), int(rng.integers(1, 6))
    rates = rng.choice([1.0, 2.72, 0.55, 37177.5, 352817.7], (kinds, types))
    if rng.random() < 0.5:
        rates = np.repeat(rates[:, :1], types, axis=1)
    rates[rng.random(rates.shape) < rng.choice([0.0, 0.3])] = 0.0
    rates[rates.max(axis=1) == 0, 0] = 1.0
    pick = rng.integers(kinds, size=jobs)
    gang = np.repeat(rng.choice([1.0, 4.0, 8.0, 32.0], kinds)[pick][:, None], types, axis=1)
    capacity = np.full(types, rng.choice([gang.max(), gang.sum() / types, 8.0, 64.0]))
    need = rng.choice([1.0, 2.0, 1e3], jobs) if rng.random() < 0.5 else rates[pick].max(axis=1)
    return Fleet(rates[pick], gang, capacity), need


@pytest.mark.parametrize("seed", range(120))
def test_degenerate_programs_reach_the_optimum(seed: int) -> None:
    check_optimal(*degenerate_fleet(seed))


@pytest.mark.parametrize("jobs", range(1, 9))
@pytest.mark.parametrize("gang", [1.0, 2.0, 4.0, 8.0, 32.0])
def test_equal_jobs_that_fill_equal_types(jobs: int, gang: float) -> None:
    # with as many jobs as types everything is full at the optimum, and the rows of the jobs
    # add up to those of the types: among these, many a Newton system is exactly singular
    for types in range(1, 9):
        for rate in (1.0, 2.72, 37177.4895683):
            rates = np.full((jobs, types), rate)
            fleet = Fleet(rates, np.full(rates.shape, gang), np.full(types, gang))
            level = min(1.0, types / jobs)
            x = max_min_shares(fleet, np.full(jobs, rate))
            check_feasible(fleet, x, 2e-5)
            assert x.sum(axis=1) == pytest.approx(level, rel=2e-5)
            x = max_throughput_shares(fleet, rates)
            check_feasible(fleet, x, 2e-5)
            assert x.sum() == pytest.approx(min(jobs, types), rel=2e-5)


@pytest.mark.parametrize(
    ("rates", "gang", "capacity"),
    [
        ([[1.2, 1.2], [1.0, 1.0]], [[7.0, 6.0], [5.0, 5.0]], [1.0, 8.0]),
        ([[2.25570861] * 2, [1.0, 1.0]], [[1.0, 8.0]] * 2, [1.0, 3.0]),
        ([[1.0, 1.0]] * 3, [[3.0, 1.0]] * 3, [3.0, 1.0]),
        (
            [[1.60916, 0.0], [2.69372883, 2.87927378]] * 2,
            [[4.0, 4.0], [1.0, 5.0]] * 2,
            [9.0, 5.0],
        ),
    ],
)
def test_programs_of_dependent_rows(
    rates: list[list[float]], gang: list[list[float]], capacity: list[float]
) -> None:
    fleet = Fleet(np.array(rates), np.array(gang), np.array(capacity))
    check_optimal(fleet, np.ones(len(rates)))


def check_optimal(fleet: Fleet, need: np.ndarray) -> None:
    x = max_min_shares(fleet, need)
    check_feasible(fleet, x, 2e-5)
    reached = ((fleet.rates * x).sum(axis=1) / need).min()
    relative = fleet.rates / need[:, None]
    unit = relative.max(axis=1).min()  # in these units GLOP, too, gets along
    plain = Fleet(relative / unit, fleet.gang, fleet.capacity)
    assert reached / unit == pytest.approx(glop_value(plain, np.ones(len(need))), rel=2e-5)
    x = max_throughput_shares(fleet, fleet.rates)
    check_feasible(fleet, x, 2e-5)
    assert (fleet.rates * x).sum() == pytest.approx(glop_value(fleet, None), rel=2e-5)
