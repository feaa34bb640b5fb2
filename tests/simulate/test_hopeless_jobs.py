"""A run without an end ends all the same where only jobs go on that can save nothing."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from random_problems import random_problem
from random_terms import random_terms

from scheduler.core.cluster import FailureModel
from scheduler.core.problem import Problem
from scheduler.io.results import run_from_json, run_to_json
from scheduler.simulate import engine, simulate
from scheduler.simulate.hopeless import MOST_STARTS, chance_of
from scheduler.verify import verify_run


def crashing(problem: Problem, crash_accelerator_s: float, **fields: float) -> Problem:
    """The same jobs, crashing, with other checkpoints or restarts."""
    failures = FailureModel(crash_accelerator_s=crash_accelerator_s)
    classes = tuple(replace(c, **fields) for c in problem.workload.classes)
    return replace(
        problem,
        cluster=replace(problem.cluster, failures=failures),
        workload=replace(problem.workload, classes=classes),
    )


@pytest.mark.parametrize("policy", ["fifo", "optimizer"])
def test_a_job_that_can_save_nothing_does_not_keep_a_run_going(
    policy: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "_FRUITLESS_FAILURES", 500)
    problem = random_terms(np.random.default_rng([336, 77]))
    with caplog.at_level(logging.WARNING):
        run = simulate(problem, policy)
    (job,) = run.given_up
    assert job in {*run.running, *run.waiting}
    assert "must last 238.8 s" in run.given_up[job]
    assert "9 accelerators fail every 16.67 s" in caplog.text
    assert verify_run(problem, run) == []
    assert run_from_json(run_to_json(run)).given_up == run.given_up
    assert len(run.crashes) < 10_000


def test_a_run_with_a_horizon_goes_on_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FRUITLESS_FAILURES", 50)
    problem = random_terms(np.random.default_rng([336, 77]))
    run = simulate(problem, "fifo", horizon_s=5000.0)
    assert len(run.crashes) > 100
    assert not run.given_up
    assert run.horizon_us == 5_000_000_000


def test_who_has_a_chance_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FRUITLESS_FAILURES", 5)
    failed = 0
    for seed in range(30):
        problem = random_problem(np.random.default_rng([seed, 5]))
        problem = crashing(problem, 900.0, checkpoint_s=math.inf)
        chances = [
            chance_of(problem, c, work)
            for c, work in zip(
                problem.workload.jobs.class_index.tolist(),
                problem.workload.jobs.work.tolist(),
                strict=True,
            )
            if problem.modes[c]
        ]
        if max((c.starts for c in chances if c), default=0.0) > 200:
            continue
        run = simulate(problem, "fifo", seed=seed)
        assert not run.given_up
        failed += len(run.crashes)
    assert failed > 20


def test_expected_starts_are_those_of_the_exponential_law() -> None:
    problem = random_problem(np.random.default_rng(1))
    c = next(c for c, modes in enumerate(problem.modes) if modes)
    problem = crashing(problem, 1000.0, checkpoint_s=30.0, restart_s=10.0)
    work = 1e9  # far more than 30 s of it
    chance = chance_of(problem, c, work)
    assert chance is not None
    least = min(mode.count for mode in problem.modes[c])
    assert (chance.mode.count, chance.lasts_s) == (least, 40.0)
    draws = np.random.default_rng(2).exponential(1000.0 / least, 200_000)
    assert chance.starts == pytest.approx(1 / np.mean(draws > 40.0), rel=0.02)


def test_saving_all_the_time_or_never_failing_is_no_lack_of_hope() -> None:
    problem = random_problem(np.random.default_rng(1))
    c = next(c for c, modes in enumerate(problem.modes) if modes)
    assert chance_of(crashing(problem, math.inf), c, 1e9) is None
    always = chance_of(crashing(problem, 1.0, checkpoint_s=0.0, restart_s=0.0), c, 1e9)
    assert always is not None
    assert always.starts == 1.0
    never = chance_of(crashing(problem, 1e-3, checkpoint_s=math.inf), c, 1e9)
    assert never is not None
    assert never.starts > MOST_STARTS
