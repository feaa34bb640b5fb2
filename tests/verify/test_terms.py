"""Runs under quotas, limits, dependencies, reservations and the like pass every check."""

from __future__ import annotations

import numpy as np
import pytest
from random_terms import TERMS, RandomMover, random_terms

from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.simulate import simulate
from scheduler.verify import recompute_idle, verify_run

POLICIES = ("fifo", "easy_backfill", "best_fit", "srtf", "mover")


def play(seed: int, policy: str, only: str | None = None) -> tuple[Problem, Run]:
    rng = np.random.default_rng([seed, 7])
    problem = random_terms(rng, only)
    run = simulate(
        problem,
        RandomMover(rng) if policy == "mover" else policy,
        seed=seed,
        noise_sigma=0.3 * (seed % 2),
        horizon_s=400.0 if seed % 3 else 150.0,
    )
    return problem, run


@pytest.mark.parametrize("policy", POLICIES)
def test_every_run_is_accepted(policy: str) -> None:
    for seed in range(100):
        problem, run = play(seed, policy)
        assert verify_run(problem, run) == [], f"seed {seed}"


@pytest.mark.parametrize("term", TERMS)
def test_every_run_with_one_term_is_accepted(term: str) -> None:
    for seed in range(25):
        for policy in ("best_fit", "mover"):
            problem, run = play(seed, policy, term)
            assert verify_run(problem, run) == [], f"seed {seed}, {policy}"


def test_idle_time_is_what_the_definition_says() -> None:
    for seed in range(40):
        problem, run = play(seed, "fifo")
        idle = np.asarray(recompute_idle(problem, run))
        first = int(Cause.POWER_CAP)
        assert np.array_equal(idle[:, first:], run.ledger.amount_us[:, first:]), f"seed {seed}"
