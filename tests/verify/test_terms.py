"""Runs under quotas, limits, dependencies, reservations and the like pass every check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_terms import TERMS, RandomMover, random_terms

from scheduler.core.cluster import Outage
from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run, Schedule, Status
from scheduler.core.units import US_PER_S
from scheduler.simulate import simulate
from scheduler.verify import recompute_idle, verify_run, verify_schedule

POLICIES = (
    "fifo",
    "easy_backfill",
    "best_fit",
    "srtf",
    "optimizer",
    "slurm",
    "kueue_strict",
    "mover",
)


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


def planned(problem: Problem, run: Run) -> Schedule:
    """What was finished, as a plan."""
    kept = tuple(a for a in run.allocations if a.job in run.finished_us)
    return Schedule(kept, "own", 1.0, 1.0, Status.FEASIBLE)


def test_plans_keep_the_terms_too() -> None:
    found = dict.fromkeys(("needs", "limit", "drain"), 0)
    for seed in range(60):
        problem, run = play(2 * seed, "best_fit", "needs")  # even seeds: without noise
        schedule = planned(problem, run)
        if run.downs or run.crashes or verify_schedule(problem, schedule):
            continue
        for a in schedule.allocations[:1]:
            jobs = problem.workload.jobs
            limit = jobs.limit_s.copy()
            limit[a.job] = (a.end_us - a.start_us - 1) / US_PER_S
            node = problem.cluster.nodes[a.placement.nodes[0]].id
            drain = Outage(node, a.start_us / US_PER_S, a.end_us / US_PER_S, "drain")
            after = list(jobs.after or ((),) * len(jobs))
            after[a.job] = ((a.job + 1) % len(jobs),)
            for code, columns, outages in (
                ("limit", {"limit_s": limit}, ()),
                ("drain", {}, (drain,)),
                ("needs", {"after": tuple(after)}, ()),
            ):
                load = replace(problem.workload, jobs=replace(jobs, **columns))
                cluster = replace(problem.cluster, outages=(*problem.cluster.outages, *outages))
                other = replace(problem, workload=load, cluster=cluster)
                codes = {v.code for v in verify_schedule(other, schedule)}
                found[code] += code in codes
                assert code in codes or code == "needs", f"seed {seed}"
    assert min(found.values()) >= 5
