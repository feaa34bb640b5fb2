"""The engine's runs under every built-in policy, and under one that acts at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import random_problem

from scheduler.core.bounds import lower_bounds
from scheduler.core.cluster import FailureModel
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.policies.view import View
from scheduler.simulate import simulate
from scheduler.verify import verify_run


class RandomPolicy:
    """Starts, preempts, resizes and moves whatever it may, at random."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._wake_us = 0

    def decide(self, view: View) -> None:
        rng = self._rng
        for job in sorted(view.running):
            if view.preemptible(job) and rng.random() < 0.2:
                view.stop(job)
        for number in sorted(view.replicas):
            if rng.random() < 0.1:
                view.stop_replica(number)
        for s, modes in enumerate(view.problem.service_modes):
            if not view.services[s].ended and rng.random() < 0.5:
                m = int(rng.integers(len(modes)))
                placement = view.occupancy.find(modes[m], "first")
                if placement is not None and view.power_allows(modes[m], placement):
                    view.start_replica(s, m, placement)
        for job in rng.permutation(sorted(view.waiting)).tolist():
            modes = view.modes(job)
            m = int(rng.integers(len(modes)))
            placement = view.occupancy.find(modes[m], "best" if rng.random() < 0.5 else "first")
            if placement is not None and view.power_allows(modes[m], placement):
                view.start(job, m, placement)
        if self._wake_us <= view.now_us:
            self._wake_us = view.now_us + int(rng.integers(1, 40_000_000))
            view.wake_at(self._wake_us)


def case(seed: int) -> tuple[Problem, float | None, np.random.Generator]:
    rng = np.random.default_rng([seed, 1])
    problem = random_problem(rng)
    if rng.random() < 0.5:
        failures = FailureModel(node_mtbf_s=400.0, repair_s=30.0)
        problem = replace(problem, cluster=replace(problem.cluster, failures=failures))
        return problem, 400.0, rng  # without a horizon, what never gets far might never end
    if seed % 3:
        return problem, 300.0 * (seed % 3), rng
    # A slow stream without a horizon: its ledger ends with the last arrival.
    return replace(problem, workload=problem.workload.with_time_scaled(8)), None, rng


def play(seed: int, policy: str) -> tuple[Problem, Run]:
    problem, horizon_s, rng = case(seed)
    if policy == "random":
        horizon_s = horizon_s or 2000.0
    run = simulate(
        problem,
        RandomPolicy(rng) if policy == "random" else policy,
        seed=seed,
        noise_sigma=0.3,
        horizon_s=horizon_s,
        account="arrivals" if seed % 2 else "run",
    )
    return problem, run


def caps_tell_sites_apart(problem: Problem) -> bool:
    sites = problem.cluster.sites
    return len(sites) > 1 and any(site.power_cap_w is not None for site in sites)


@pytest.mark.parametrize("policy", ["fifo", "easy_backfill", "best_fit", "srtf", "random"])
def test_every_run_is_accepted(policy: str) -> None:
    for seed in range(160):
        if not caps_tell_sites_apart(case(seed)[0]):
            problem, run = play(seed, policy)
            assert verify_run(problem, run) == [], f"seed {seed}"


def test_ledgers_that_end_before_the_run_are_among_them() -> None:
    runs = [play(seed, "fifo")[1] for seed in range(0, 160, 3)]
    assert sum(run.ledger_end_us < run.horizon_us for run in runs) >= 5


def test_every_run_is_accepted_where_caps_tell_sites_apart() -> None:
    for seed in range(160):
        if caps_tell_sites_apart(case(seed)[0]):
            problem, run = play(seed, "best_fit")
            assert verify_run(problem, run) == [], f"seed {seed}"


def test_bounds_and_figures_hold_for_every_run() -> None:
    for seed in range(100):
        for policy in ("best_fit", "srtf", "random"):
            problem, run = play(seed, policy)
            if not run.finished_us:
                continue
            metrics = metrics_of(problem, run)
            bounds = lower_bounds(problem, run.actual_work, sorted(run.finished_us))
            assert 0 < bounds.mean_jct_s <= metrics.mean_jct_s
            assert 0 < bounds.makespan_s <= metrics.makespan_s
            assert metrics.mean_slowdown >= 1 - 1e-9
            assert metrics.goodput <= metrics.utilisation <= 1
            assert metrics.idle_fraction <= metrics.waste_fraction <= 1
            assert 0 <= metrics.fairness <= 1
