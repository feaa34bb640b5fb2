"""With user estimates the optimizer stays near the best baseline that knows as much."""

from __future__ import annotations

import pytest

from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.generate.kinds import generate
from scheduler.io import load_cluster
from scheduler.physics.load import scaled_to_load
from scheduler.physics.problem import build_problem
from scheduler.simulate import simulate
from scheduler.verify import verify_run

NEAR = 1.15
"""What a heuristic may lose to the best of five in one workload."""


@pytest.fixture(scope="module")
def lab() -> Problem:
    """Return a lab whose long training gangs have estimates several times too long."""
    workload = generate("llm-lab", seed=1012, days=1.5, mean_demand=30.0, max_gang=16)
    return scaled_to_load(build_problem(load_cluster("lab-mixed-64"), workload), 0.8)


def test_estimates_that_are_far_too_long_make_nothing_urgent(lab: Problem) -> None:
    def mean_jct_s(policy: str) -> float:
        run = simulate(lab, policy, information="estimates")
        assert verify_run(lab, run) == []
        return metrics_of(lab, run).mean_jct_s

    baselines = ("fifo", "easy_backfill", "srtf", "las", "sjf")
    assert mean_jct_s("optimizer") <= NEAR * min(map(mean_jct_s, baselines))
