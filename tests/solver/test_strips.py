"""Schedules that end together: legal, bounded, optimal where the optimum is known."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.solver.job_values import KnownJobs, completion_bound, job_values
from scheduler.solver.strips import Strip, StripPlan, makespan_program, strip_plan


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    jobs, types = int(rng.integers(1, 40)), int(rng.integers(1, 4))
    capacity = rng.integers(2, 13, types).astype(float)
    gang = rng.choice([1.0, 2.0, 4.0], (jobs, 1), p=[0.6, 0.3, 0.1]) * np.ones((1, types))
    run_s = rng.lognormal(7, 1.2, (jobs, 1)) * rng.uniform(1, 5, (jobs, types))
    run_s[(rng.random(run_s.shape) < 0.1) | (gang > capacity)] = np.inf
    able = np.isfinite(run_s).any(axis=1)
    able[0] |= not able.any()
    if not np.isfinite(run_s[0]).any():
        run_s[0], gang[0] = 100.0, 1.0
    return run_s[able], np.full(int(able.sum()), 30.0), gang[able], capacity


def check_legal(plan: StripPlan, run_s: np.ndarray, start_s: np.ndarray, gang: np.ndarray,
                capacity: np.ndarray) -> None:  # fmt: skip
    done = np.zeros(len(run_s))
    for p in plan.pieces:
        done[p.job] += (p.run_s - start_s[p.job]) / run_s[p.job, p.type_index]
        for q in plan.pieces:
            if q.job == p.job and q is not p:
                assert q.end_s <= p.start_s + 1e-6 or p.end_s <= q.start_s + 1e-6
        held = sum(
            gang[q.job, q.type_index]
            for q in plan.pieces
            if q.type_index == p.type_index and q.start_s <= p.start_s + 1e-9 < q.end_s - 1e-6
        )
        assert held <= capacity[p.type_index] + 1e-9
    assert done == pytest.approx(np.ones(len(run_s)), rel=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_plans_are_legal_and_bounded(seed: int) -> None:
    run_s, start_s, gang, capacity = draw(seed)
    plan = strip_plan(run_s, start_s, gang, capacity, np.full(len(run_s), -1))
    check_legal(plan, run_s, start_s, gang, capacity)
    assert plan.least_makespan_s <= plan.makespan_s * (1 + 1e-9)
    assert plan.makespan_s == pytest.approx(max(p.end_s for p in plan.pieces))
    known = KnownJobs(run_s, gang, np.ones(len(run_s)), capacity)
    assert completion_bound(known) <= plan.mean_end_s
    again = strip_plan(run_s, start_s, gang, capacity, np.full(len(run_s), -1))
    assert again == plan


def test_many_small_jobs_come_close_to_the_program() -> None:
    rng = np.random.default_rng(3)
    run_s = rng.exponential(600, (300, 1)) * np.array([[1.0, 2.0, 3.0]])
    gang = np.ones((300, 3))
    plan = strip_plan(run_s, np.zeros(300), gang, np.full(3, 8.0), np.full(300, -1))
    assert plan.makespan_s <= 1.02 * plan.least_makespan_s


def test_makespan_program_on_known_optima() -> None:
    # McNaughton: identical machines, preemption: max(longest, sum / machines)
    one = np.array([[5.0], [3.0], [4.0]])
    assert makespan_program(one, np.ones((3, 1)), np.array([2.0])).makespan_s == pytest.approx(6.0)
    one[0] = 9.0
    assert makespan_program(one, np.ones((3, 1)), np.array([2.0])).makespan_s == pytest.approx(9.0)
    # gangs of eight do not share twelve accelerators: one after the other
    eight = np.full((3, 1), 8.0)
    assert makespan_program(np.ones((3, 1)), eight, np.array([12.0])).makespan_s == pytest.approx(
        3.0
    )


def test_a_strip_finds_the_first_gap() -> None:
    strip = Strip(4.0)
    strip.put(3.0, 0.0, 10.0)
    strip.put(2.0, 12.0, 5.0)
    assert strip.earliest(1.0, 5.0) == 0.0
    assert strip.earliest(2.0, 2.0) == 10.0
    assert strip.earliest(4.0, 3.0) == 17.0
    assert strip.earliest(2.0, 1.0, after=11.5) == 11.5


def shortest_first(run_s: np.ndarray) -> float:
    """Mean completion on one machine, which no schedule betters (Smith 1956)."""
    return float(np.cumsum(np.sort(run_s)).mean())


@pytest.mark.parametrize("seed", range(10))
def test_completion_bound_on_one_machine(seed: int) -> None:
    run_s = np.random.default_rng(seed).lognormal(7, 1, 25)
    known = KnownJobs(run_s[:, None], np.ones((25, 1)), np.ones(25), np.ones(1))
    bound = completion_bound(known, knots=60)
    best = shortest_first(run_s)
    assert 0.93 * best <= bound <= best


def test_values_are_what_one_more_job_would_cost() -> None:
    run_s = np.array([100.0, 400.0, 900.0])
    known = KnownJobs(run_s[:, None], np.ones((3, 1)), np.ones(3), np.ones(1))
    values = job_values(known, buckets=60)
    for i in range(3):
        twice = np.append(run_s, run_s[i])
        more = 4 * shortest_first(twice) - 3 * shortest_first(run_s)
        assert values[i] == pytest.approx(more, rel=0.35)
    assert values[0] < values[1] < values[2]
