"""Without exact knowledge, nothing that is decided depends on how long a job still runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.generate.kinds import generate
from scheduler.io import load_cluster
from scheduler.physics.problem import build_problem
from scheduler.policies import names
from scheduler.policies.view import Information
from scheduler.simulate import simulate

LEVELS: tuple[Information, ...] = ("estimates", "none")


POLICIES = (
    *names(),
    *("srtf+preempt", "las+preempt", "themis+preempt", "sjf+conservative"),
    *("srtf+learned", "easy_backfill+learned", "optimizer+learned"),
)
SEEDS = (6, 1)
DAYS = 0.06
SLOW = ("optimizer", "gavel", "shockwave")
"""Who solves programs in each round plays one workload instead of two."""


@cache
def busy_problem(seed: int) -> Problem:
    """Return hours on a small fleet in which most jobs wait and many are stopped."""
    workload = generate(
        "helios-like", seed=seed, days=DAYS, mean_demand=60.0, max_gang=8, estimates="lognormal"
    )
    cluster = load_cluster("gavel-36")
    priced = {n: replace(a, usd_per_hour=1.0) for n, a in cluster.accelerators.items()}
    return build_problem(replace(cluster, accelerators=priced), workload)


def another_future(problem: Problem, run: Run, rng: np.random.Generator) -> tuple[Problem, int]:
    """Return the problem with other work in jobs that have not ended by some instant, and it.

    Jobs that have run by then may only turn out longer; those that have not, anything.
    """
    jobs = problem.workload.jobs
    ends = sorted(run.finished_us.values())
    at_us = ends[len(ends) // 2]
    begun = {a.job for a in run.allocations if a.start_us <= at_us}
    factor = np.ones(len(jobs))
    for job in range(len(jobs)):
        if run.finished_us.get(job, at_us + 1) > at_us:
            factor[job] = rng.uniform(1.0, 50.0) if job in begun else rng.uniform(0.1, 10.0)
    other = replace(jobs, work=jobs.work * factor)
    return replace(problem, workload=replace(problem.workload, jobs=other)), at_us


def decisions(run: Run, until_us: int) -> list[tuple[Any, ...]]:
    """Return every start up to an instant, and every end before it."""
    found = [
        (a.start_us, a.job, a.mode, a.placement, a.end_us if a.end_us <= until_us else None)
        for a in run.allocations
        if a.start_us <= until_us
    ]
    return sorted(found, key=lambda a: a[:3])


@pytest.mark.parametrize("information", LEVELS)
@pytest.mark.parametrize("policy", POLICIES)
def test_decisions_do_not_depend_on_what_is_to_come(policy: str, information: Information) -> None:
    for seed in SEEDS[:1] if policy.startswith(SLOW) else SEEDS:
        problem = busy_problem(seed)
        run = simulate(problem, policy, information=information)
        other, at_us = another_future(problem, run, np.random.default_rng([seed, 5]))
        assert decisions(simulate(other, policy, information=information), at_us) == decisions(
            run, at_us
        )
