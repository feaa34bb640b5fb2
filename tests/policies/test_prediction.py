"""Run times learnt in a run: right where the law is known, and better to go by than nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from random_problems import random_problem

from scheduler.core.cluster import Cluster
from scheduler.core.errors import InputError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.workload import JobClass, Jobs, RunTimePhysics, Workload
from scheduler.io import load_cluster
from scheduler.io.results import run_to_json
from scheduler.physics.problem import build_problem
from scheduler.policies import known, make, nearest, origin
from scheduler.policies.learned import Learned
from scheduler.policies.life_tables import (
    ESTIMATES,
    EVEN,
    SECONDS,
    Law,
    given_estimate,
    octave_steps,
)
from scheduler.policies.view import Information
from scheduler.simulate import simulate
from scheduler.simulate.engine import Engine
from scheduler.verify import verify_run

STARTS = np.array(SECONDS.starts)


def law_of(alive: np.ndarray) -> Law:
    """Return the law of which this share is alive at the start of each step."""
    shares = np.append(1.0 - alive[1:] / alive[:-1], 0.5)
    return Law.of(np.clip(shares, 0.0, 1.0 - 1e-9))


def fleet(nodes: int) -> Cluster:
    """Return one pod of servers of eight accelerators."""
    cluster = load_cluster("gavel-36")
    pod = cluster.pods[0]
    return replace(cluster, pods=(replace(pod, nodes=pod.nodes[:nodes]),))


def workload_of(
    release_s: np.ndarray,
    work_s: np.ndarray,
    *,
    estimate_s: np.ndarray | None = None,
    tenant: np.ndarray | None = None,
    gang: int = 1,
    restart_s: float = 0.0,
) -> Workload:
    """Return jobs of one class that differ in run time, estimate and tenant alone."""
    n = len(work_s)
    tenant = np.zeros(n, dtype=np.int64) if tenant is None else tenant
    kind = JobClass("c", RunTimePhysics(), (gang,), restart_s=restart_s)
    jobs = Jobs(
        tuple(f"j{i}" for i in range(n)), np.zeros(n, dtype=np.int64), release_s, work_s,
        np.full(n, np.nan) if estimate_s is None else estimate_s, np.ones(n), np.full(n, np.nan),
        tenant,
    )  # fmt: skip
    names = tuple(f"t{i}" for i in range(int(tenant.max()) + 1))
    return Workload("w", "", (kind,), jobs, tenants=names)


# --- laws ------------------------------------------------------------------------------


@pytest.mark.parametrize("had_s", [0.0, 45.0, 600.0, 7000.0])
def test_what_has_no_memory_has_the_same_left_at_every_age(had_s: float) -> None:
    law = law_of(np.maximum(np.exp(-STARTS / 3600.0), 1e-200))
    assert law.index_s(had_s) == pytest.approx(3600.0, rel=0.06)
    assert law.median_left_s(had_s) == pytest.approx(3600.0 * math.log(2.0), rel=0.06)


def test_the_median_left_is_that_of_those_who_came_so_far() -> None:
    law = law_of(np.minimum(1.0, (60.0 / np.maximum(STARTS, 1.0)) ** 2))
    for had_s in (100.0, 1000.0, 5e4):  # Pareto of index 2: left is a fixed part of what was had
        assert law.median_left_s(had_s) == pytest.approx((2**0.5 - 1) * had_s, rel=0.1)


def test_the_index_is_the_best_of_all_lengths_by_enumeration() -> None:
    rng = np.random.default_rng(4)
    ends_s = np.append(STARTS[1:], 2 * STARTS[-1])
    for _ in range(20):
        shares = rng.uniform(0.0, 0.5, len(STARTS))
        law = Law.of(shares)
        for k in rng.integers(0, len(STARTS) - 1, 5).tolist():
            best, alive, served, done = math.inf, 1.0, 0.0, 0.0
            for j in range(k, len(STARTS)):
                gone = alive * shares[j]
                served += (alive - gone / 2) * (ends_s[j] - STARTS[j])
                done += gone
                alive -= gone
                best = min(best, served / done)
            assert law.index_s(float(STARTS[k])) == pytest.approx(best)


def test_an_estimate_moves_a_law_as_bayes_has_it() -> None:
    rng = np.random.default_rng(8)
    length = np.exp(rng.normal(8.0, 1.0, 400_000))
    error = rng.normal(0.0, 0.8, len(length))
    estimate = 4000.0 * 1.05
    near = np.abs(np.log(length) + error - math.log(estimate)) < 0.02
    alive = np.array([max(float((length >= s).mean()), 1e-7) for s in STARTS])
    shares = np.clip(np.append(1.0 - alive[1:] / alive[:-1], 0.5), 0.0, 1 - 1e-9)
    law = Law.of(given_estimate(shares, ESTIMATES.prior, octave_steps(estimate)))
    assert law.median_left_s(0.0) == pytest.approx(float(np.median(length[near])), rel=0.1)


def test_with_nothing_learnt_the_estimate_stands() -> None:
    for estimate_s in (90.0, 3600.0, 2e5):
        law = Law.of(given_estimate(EVEN, ESTIMATES.prior, octave_steps(estimate_s)))
        assert law.median_left_s(0.0) == pytest.approx(estimate_s, rel=0.12)


# --- learning ---------------------------------------------------------------------------


def users(seed: int) -> tuple[Problem, float]:
    """Return a fleet whose eight users submit batches of like jobs, and their spread."""
    rng = np.random.default_rng(seed)
    sigma, release_s, work_s, tenant = 0.2, [], [], []
    for batch in range(24):
        typical_s = math.exp(rng.normal(7.0, 1.2))
        for _ in range(20):
            release_s.append(1800.0 * batch + rng.uniform(0, 60))
            work_s.append(typical_s * math.exp(sigma * rng.standard_normal()))
            tenant.append(batch % 8)
    order = np.argsort(release_s)
    workload = workload_of(
        np.array(release_s)[order], np.array(work_s)[order], tenant=np.array(tenant)[order]
    )
    return build_problem(fleet(2), workload), sigma


def test_users_who_repeat_themselves_are_learnt_to_within_their_spread() -> None:
    problem, sigma = users(3)
    facts = simulate(problem, "fifo+learned", information="none").solver
    assert facts["predicted_jobs"] == len(problem.workload.jobs)
    assert facts["predicted_error_median"] < 2.0 * sigma
    assert 0.2 < facts["predicted_under_share"] < 0.8
    assert "estimate_error_median" not in facts


def test_the_error_of_estimates_is_stated_and_learnt() -> None:
    problem, _ = users(4)
    jobs = problem.workload.jobs
    told = replace(jobs, estimate_s=10.0 * jobs.work)
    problem = replace(problem, workload=replace(problem.workload, jobs=told))
    facts = simulate(problem, "srtf+learned", information="estimates").solver
    assert facts["estimate_error_median"] == pytest.approx(math.log(10.0), rel=1e-6)
    assert facts["predicted_error_median"] < 0.3


def mean_jct_s(problem: Problem, policy: str, information: Information = "none") -> float:
    run = simulate(problem, policy, information=information)
    assert verify_run(problem, run) == []
    return metrics_of(problem, run).mean_jct_s


def test_batches_of_like_jobs_do_not_take_turns() -> None:
    jobs = workload_of(np.zeros(60), np.full(60, 3600.0), restart_s=30.0)
    problem = build_problem(fleet(2), jobs)
    assert mean_jct_s(problem, "srtf+learned") <= 1.03 * mean_jct_s(problem, "fifo", "exact")


def test_estimates_that_are_better_than_history_stay_in_force() -> None:
    rng = np.random.default_rng(6)
    work_s = np.exp(rng.normal(7.0, 1.5, 120))
    jobs = workload_of(np.sort(rng.uniform(0, 2e4, 120)), work_s, estimate_s=work_s.copy())
    problem = build_problem(fleet(2), jobs)
    raw = simulate(problem, "srtf", information="estimates")
    told = simulate(problem, "srtf+learned", information="estimates")
    assert told.finished_us == raw.finished_us


# --- one server ------------------------------------------------------------------------


def two_points(seed: int) -> Problem:
    """Return M/G/1 at load 0.8: nine in ten jobs need one unit, the tenth thirty."""
    rng = np.random.default_rng(seed)
    n, unit_s = 400, 60.0
    work_s = unit_s * np.where(rng.random(n) < 0.9, 1.0, 30.0)
    gap_s = rng.exponential(unit_s * 3.9 / 0.8, n)
    whole = sum(node.count for node in fleet(1).pods[0].nodes)
    jobs = workload_of(np.cumsum(gap_s), work_s, gang=whole)
    return build_problem(fleet(1), jobs)


def test_one_server_with_a_two_point_law_is_near_the_optimum_of_gittins() -> None:
    # Preempting whoever has survived the short length, for new ones, is the optimum there; its
    # mean is that of SRPT up to the little that a long job's end would be known to be near.
    ratio: dict[str, list[float]] = {"fifo": [], "srtf": []}
    over_exact = []
    for seed in range(6):
        problem = two_points(seed)
        ours = mean_jct_s(problem, "srtf+learned")
        for name, found in ratio.items():
            found.append(math.log(ours / mean_jct_s(problem, name)))
        over_exact.append(math.log(ours / mean_jct_s(problem, "srtf", "exact")))
    for found in ratio.values():
        assert np.mean(found) + 2.0 * np.std(found, ddof=1) / len(found) ** 0.5 < 0.0
    assert np.mean(over_exact) < math.log(1.25)


# --- runs and names -----------------------------------------------------------------------


@pytest.mark.parametrize("information", ["estimates", "none"])
@pytest.mark.parametrize("policy", ["optimizer+learned", "easy_backfill+learned"])
def test_a_run_resumed_has_not_forgotten(policy: str, information: Information) -> None:
    problem, _ = users(5)
    estimate_s = problem.workload.jobs.work * np.random.default_rng(1).uniform(
        1.0, 9.0, len(problem.workload.jobs)
    )
    jobs = replace(problem.workload.jobs, estimate_s=estimate_s).take(np.arange(160))
    whole = replace(problem, workload=replace(problem.workload, jobs=jobs))
    for case in (whole, random_problem(np.random.default_rng([2, 3]))):

        def engine(case: Problem = case) -> Engine:
            return Engine(
                case, make(policy), policy_name=policy, seed=0, information=information,
                noise_sigma=0.0, horizon_s=None, account="run",
            )  # fmt: skip

        run = engine().run()
        assert verify_run(case, run) == []
        ends = sorted(run.finished_us.values()) or [60_000_000]
        first = engine()
        first.play(ends[len(ends) // 2] + 1)
        saved = json.loads(json.dumps(first.save()))
        again = Engine.restore(case, saved, make(policy)).run()
        assert json.dumps(run_to_json(again), sort_keys=True) == json.dumps(
            run_to_json(run), sort_keys=True
        )


def test_with_exact_knowledge_nothing_is_learnt_and_nothing_changes() -> None:
    problem, _ = users(7)
    plain = simulate(problem, "srtf", noise_sigma=0.1)
    told = simulate(problem, "srtf+learned", noise_sigma=0.1)
    assert told.finished_us == plain.finished_us
    assert not told.solver


def test_every_policy_has_a_name_under_which_it_learns() -> None:
    assert known("srtf+learned")
    assert known("sjf+conservative+learned")
    assert not known("nonsense+learned")
    assert nearest("strf+learned") == "srtf+learned"
    assert origin("fifo+learned") == "fleetfit"
    learns = make("optimizer+learned")
    assert isinstance(learns, Learned)
    assert not isinstance(learns.policy, Learned)
    with pytest.raises(InputError, match=r"\+learned"):
        make("nonsense+learned")
