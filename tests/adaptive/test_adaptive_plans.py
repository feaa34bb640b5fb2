"""Bounds and schedules that know all arrivals, and predictions of work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from random_adaptive import random_problem

from scheduler.core.adaptive import AdaptiveProblem
from scheduler.physics.adaptive_tables import Config, Tables
from scheduler.policies.adaptive import make_adaptive
from scheduler.policies.adaptive.agents import KnownAgents
from scheduler.policies.adaptive.predicting import WorkPredictor
from scheduler.policies.adaptive.scripted import Scripted
from scheduler.policies.adaptive.view import AdaptiveView
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.solver.adaptive.lattice import ROUND_S, Lattice
from scheduler.solver.adaptive.offline import OfflineSearch, offline_schedule
from scheduler.solver.adaptive.paths import Paths
from scheduler.solver.adaptive.prices import priced_plan
from scheduler.solver.adaptive.replay import Replay
from scheduler.solver.adaptive_bound import adaptive_bounds
from scheduler.verify.adaptive import verify_adaptive


class AtRandom:
    """Gives whoever it likes whatever is free, and often lets them keep it."""

    name, round_s, rigid = "at_random", ROUND_S, False

    def __init__(self, tables: Tables, rng: np.random.Generator) -> None:
        self.tables, self.rng = tables, rng

    def decide(self, view: AdaptiveView) -> Mapping[int, Config]:
        free = list(self.tables.capacity)
        wanted: dict[int, Config] = {}
        for i in self.rng.permutation(len(view.jobs)).tolist():
            state = view.jobs[i]
            keep = state.config is not None and self.rng.random() < 0.9
            pick = self.tables.configs[int(self.rng.integers(len(self.tables.configs)))][0]
            group, count = state.config if keep and state.config else pick
            if count <= free[group]:
                free[group] -= count
                wanted[state.job] = (group, count)
        return wanted


def mean_jct_h(problem: AdaptiveProblem, ends: tuple[int, ...]) -> float:
    jct = [end - job.release_s for end, job in zip(ends, problem.jobs, strict=True)]
    return float(np.mean(jct)) / 3600


@pytest.mark.parametrize("seed", range(8))
def test_no_schedule_at_random_is_better_than_the_bound(seed: int) -> None:
    problem = random_problem(seed, jobs=int(np.random.default_rng(seed).integers(1, 5)))
    tables = Tables(problem)
    bound = adaptive_bounds(tables, priced_plan(tables, 6)).mean_jct_h
    rng = np.random.default_rng([seed, 1])
    for _ in range(6):
        run = simulate_adaptive(problem, AtRandom(tables, rng), KnownAgents(tables))
        assert mean_jct_h(problem, run.finished_s) >= bound


@pytest.mark.parametrize("seed", range(12))
def test_a_job_alone_is_bounded_to_the_second_by_its_best_single_stay(seed: int) -> None:
    problem = random_problem(seed, jobs=1)
    tables = Tables(problem)
    kind = problem.jobs[0].application
    restart = problem.applications[kind].restart_s
    seconds = np.round(tables.lengths[kind] / tables.best_goodputs(kind)).sum(axis=1)
    lattice = Lattice(tables, kind, lower=True)
    rounds = math.ceil(float(seconds.min()) / ROUND_S) + lattice.restart_rounds + 2
    paths = Paths(lattice, np.zeros((len(seconds), rounds)))
    best = restart + float(seconds.min())
    assert paths.cost(0) <= best
    if len(paths.path(0).stays) == 1:
        assert paths.cost(0) == pytest.approx(best)
        assert paths.path(0).end_s == pytest.approx(best)


def test_what_is_not_free_is_not_taken() -> None:
    problem = random_problem(3, jobs=1)
    tables = Tables(problem)
    kind = problem.jobs[0].application
    lattice = Lattice(tables, kind, lower=False)
    pay = np.zeros((len(lattice.count), 400))
    pay[:, 5:30] = np.inf
    paths = Paths(lattice, pay, free_after=False)
    for _, first, last in paths.path(0).stays:
        assert last <= 5 or first >= 30


@pytest.mark.parametrize("seed", range(4))
def test_the_schedule_that_knows_arrivals_is_verified_and_no_worse(seed: int) -> None:
    problem = random_problem(seed, jobs=14)
    tables = Tables(problem)
    plan = priced_plan(tables, 10)
    runs = []
    for name, information in (("sia", "none"), ("optimizer", "exact"), ("optimizer", "none")):
        policy, agents = make_adaptive(name, tables, information=information)
        runs.append(simulate_adaptive(problem, policy, agents))
    search = OfflineSearch(tables, plan.prices, np.random.default_rng(0))
    assert all(search.taken(run) is not None for run in runs)
    found = offline_schedule(tables, plan.prices, runs, np.random.default_rng(0), 3000)
    again = offline_schedule(tables, plan.prices, runs, np.random.default_rng(0), 3000)
    assert found == again
    script = Scripted(tables, found.stays, "clairvoyant")
    run = simulate_adaptive(problem, script, KnownAgents(tables))
    assert run.finished_s == found.end_s
    assert verify_adaptive(problem, run) == []
    ours = mean_jct_h(problem, run.finished_s)
    assert ours <= min(mean_jct_h(problem, r.finished_s) for r in runs) + 1e-12
    assert ours >= adaptive_bounds(tables, plan).mean_jct_h


@pytest.mark.parametrize("config", [0, 2, 5])
def test_work_that_ends_just_after_a_round_s_start_holds_that_round(config: int) -> None:
    problem = random_problem(0, jobs=1)
    old = problem.applications[problem.jobs[0].application]
    kind = replace(old, epoch_ends=np.array([1.0]), restart_s=50)
    kind = replace(kind, grad_sqr=old.grad_sqr[:1], grad_var=old.grad_var[:1])
    job = replace(problem.jobs[0], application=0, release_s=0.0)
    problem = replace(problem, applications=(kind,), jobs=(job,))
    rate = float(Tables(problem).best_goodputs(0)[config, 0])
    kind = replace(kind, epoch_ends=np.array([rate * (2 * ROUND_S + 0.4 - 50)]))
    tables = Tables(replace(problem, applications=(kind,)))
    replay = Replay(tables)
    with pytest.raises(ValueError, match="does not end"):
        replay.played(0, ((config, 0, 2),))
    stays, end = replay.played(0, ((config, 0, 9),))
    assert (stays, end) == (((config, 0, 3),), 2 * ROUND_S)
    run = simulate_adaptive(tables.problem, Scripted(tables, [stays], "one"), KnownAgents(tables))
    assert run.finished_s == (end,)


def test_a_run_whose_batches_are_not_the_best_is_not_taken_over() -> None:
    problem = random_problem(1)
    tables = Tables(problem)
    policy, agents = make_adaptive("gavel_max_sum", tables)
    run = simulate_adaptive(problem, policy, agents)
    prices = np.zeros((len(tables.capacity), 10))
    assert OfflineSearch(tables, prices, np.random.default_rng(0)).taken(run) is None


@pytest.mark.parametrize("attained_s", [0.0, 200.0, 1000.0, 4000.0])
def test_what_is_left_is_the_mean_of_those_that_last_longer(attained_s: float) -> None:
    spread = 0.6
    work = 1000.0 * np.exp(spread * np.random.default_rng(0).normal(size=2_000_000))
    longer = work[work > attained_s]
    left_s = WorkPredictor([1000.0], spread).left_s(0, 0, attained_s)
    assert left_s == pytest.approx(float((longer - attained_s).mean()), rel=0.03)


def test_what_is_left_has_no_jump_where_the_asymptote_takes_over() -> None:
    predictor = WorkPredictor([1000.0], 0.1)
    at = 1000.0 * math.exp(0.1 * 25.0)
    below, above = (predictor.left_s(0, 0, at * f) for f in (1 - 1e-6, 1 + 1e-6))
    assert below == pytest.approx(above, rel=0.05)


def test_history_outweighs_a_poor_estimate_and_not_a_good_one() -> None:
    for error, low, high in ((1.5, 95.0, 160.0), (0.02, 900.0, 1010.0)):
        predictor = WorkPredictor([1000.0], error)
        for _ in range(50):
            predictor.learn(0, 100.0)
        assert low <= predictor.left_s(0, 0, 0.0) <= high
        assert predictor.left_s(0, 1, 0.0) >= 1000.0  # of that application nothing is known


def test_estimates_follow_the_seed_and_learning_needs_no_second_look() -> None:
    problem = random_problem(4)
    tables = Tables(problem)

    def ends(seed: int, error: float) -> tuple[int, ...]:
        policy, agents = make_adaptive(
            "optimizer", tables, information="estimates", estimate_error=error, seed=seed
        )
        return simulate_adaptive(problem, policy, agents).finished_s

    assert ends(0, 1.0) == ends(0, 1.0)
    assert len({ends(seed, 2.0) for seed in range(6)}) > 1
