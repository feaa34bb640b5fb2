"""Orders of arrival of a wanted demand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from random_packings import packing_problem, random_packing_problem

from scheduler.core.packing import PackingProblem
from scheduler.generate.pod_arrivals import inflated_arrivals, published_experiment


def demand(problem: PackingProblem, arrivals: np.ndarray) -> int:
    return int(problem.pods.demand_milli[arrivals].sum())


def test_short_lists_are_followed_by_draws() -> None:
    problem = packing_problem([("A", 8, 1, 1)] * 20, [(1, 1, 1, 500, "")] * 30 + [(1, 1, 0, 0, "")])
    arrivals = inflated_arrivals(problem, 1.3, np.random.default_rng(0))
    assert sorted(arrivals[:31].tolist()) == list(range(31))
    assert 1.3 * 160_000 - 500 < demand(problem, arrivals) <= 1.3 * 160_000


def test_long_lists_lose_pods() -> None:
    problem = packing_problem([("A", 8, 1, 1)], [(1, 1, 2, 1000, "")] * 30)
    arrivals = inflated_arrivals(problem, 1.3, np.random.default_rng(0))
    assert demand(problem, arrivals) == 10_000
    assert max(Counter(arrivals.tolist()).values()) == 1


def test_the_last_draw_may_exceed_the_target_by_its_other_accelerators() -> None:
    """Only one accelerator of a pod is compared with what is left, as in the simulator."""
    problem = packing_problem([("A", 8, 1, 1)], [(1, 1, 4, 1000, "")])
    arrivals = inflated_arrivals(problem, 1.3, np.random.default_rng(0))
    assert demand(problem, arrivals) == 12_000


def test_nothing_to_reach_the_demand_with() -> None:
    problem = packing_problem([("A", 8, 1, 1)], [(1, 1, 0, 0, "")])
    with pytest.raises(ValueError, match="no pod asks"):
        inflated_arrivals(problem, 1.3, np.random.default_rng(0))


def test_a_published_seed_fixes_arrivals_and_ranks() -> None:
    problem = random_packing_problem(np.random.default_rng(1))
    first, again = (published_experiment(problem, 42) for _ in range(2))
    other = published_experiment(problem, 43)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    assert sorted(first[1].tolist()) == list(range(len(problem.nodes)))
