"""Gavel's policies against runs of Gavel's own code, and the optimizer on the same traces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.gavel import PEERS, gavel_cluster, read_case, recorded_runs
from scheduler.core.bounds import lower_bounds
from scheduler.core.errors import InputError
from scheduler.core.metrics import Metrics, metrics_of
from scheduler.core.problem import Problem
from scheduler.core.workload import JobClass, Jobs, Profile, ProfilePhysics, Workload
from scheduler.physics.problem import build_problem
from scheduler.policies.gavel import Throughput
from scheduler.policies.rounds import SharedRounds, ShareRule, TypeModes
from scheduler.simulate import simulate
from scheduler.verify import verify_run

PEER = Path(__file__).resolve().parents[2] / ".." / "shared" / "peers"
needs_shared = pytest.mark.skipif(
    not PEER.is_dir(), reason="needs the shared reference data beside the checkout"
)
HOUR_S = 3600.0
CLUSTER = (12, 12, 12)


def published(jobs: int, restart_s: float) -> tuple[Problem, dict[str, dict[str, float]]]:
    name = f"gavel_static_multi_{jobs}_seed0.trace"
    problem = read_case(
        PEER / "gavel" / name, PEER / "gavel" / "simulation_throughputs.json", CLUSTER, restart_s
    )
    return problem, recorded_runs(PEER / "results-training.json", name, CLUSTER)


def play(problem: Problem, policy: str) -> Metrics:
    run = simulate(problem, policy)
    assert verify_run(problem, run) == []
    metrics = metrics_of(problem, run)
    assert metrics.finished == len(problem.workload.jobs)
    return metrics


@needs_shared
@pytest.mark.parametrize(
    "policy",
    [
        "gavel_max_min_perf",
        "gavel_makespan_perf",
        "gavel_throughput_perf",
        pytest.param("gavel_makespan", marks=pytest.mark.slow),
    ],
)
def test_120_jobs_as_recorded(policy: str) -> None:
    problem, recorded = published(120, 0.0)
    found, peer = play(problem, policy), recorded[PEERS[policy]]
    assert found.mean_jct_s / HOUR_S == pytest.approx(peer["mean_jct_h"], rel=0.03)
    assert found.makespan_s / HOUR_S == pytest.approx(peer["makespan_h"], rel=0.03)


@needs_shared
@pytest.mark.slow
def test_finish_time_fairness_as_recorded() -> None:
    problem, recorded = published(120, 0.0)
    found = play(problem, "gavel_finish_time_perf")
    peer = recorded["finish_time_fairness_perf"]
    assert found.mean_jct_s / HOUR_S == pytest.approx(peer["mean_jct_h"], rel=0.03)
    assert found.makespan_s / HOUR_S == pytest.approx(peer["makespan_h"], rel=0.03)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(
    "policy", ["gavel_max_min_perf", "gavel_makespan_perf", "gavel_throughput_perf"]
)
def test_300_jobs_as_recorded(policy: str) -> None:
    problem, recorded = published(300, 0.0)
    found, peer = play(problem, policy), recorded[PEERS[policy]]
    assert found.mean_jct_s / HOUR_S == pytest.approx(peer["mean_jct_h"], rel=0.03)
    assert found.makespan_s / HOUR_S == pytest.approx(peer["makespan_h"], rel=0.03)


@needs_shared
def test_one_schedule_has_both_a_short_makespan_and_a_low_mean_jct() -> None:
    problem, _ = published(300, 60.0)
    found = play(problem, "optimizer_makespan")
    assert found.makespan_s / HOUR_S <= 316
    assert found.mean_jct_s / HOUR_S <= 90
    assert found.makespan_s >= lower_bounds(problem).makespan_s


@needs_shared
@pytest.mark.slow
def test_mean_jct_where_it_leads() -> None:
    problem, _ = published(300, 60.0)
    found = play(problem, "optimizer_jct")
    assert found.mean_jct_s / HOUR_S <= 47
    assert found.mean_jct_s >= lower_bounds(problem).mean_jct_s


# --- made-up throughputs ---------------------------------------------------------------


def made_up(jobs: int, seed: int = 0, counts: tuple[int, ...] = (4, 4, 4)) -> Problem:
    rng = np.random.default_rng(seed)
    kinds = [(f"kind{i}", g) for i in range(4) for g in (1, 2)]
    rates = {}
    for name, gang in kinds:
        for factor, accelerator in zip((1.0, 0.5, 0.2), ("v100", "p100", "k80"), strict=True):
            rate = 10 * gang**0.9 * factor * float(rng.uniform(0.7, 1.3))
            rates[name, accelerator, gang, "packed"] = rate
    classes = tuple(
        JobClass(f"{n} x{g}", ProfilePhysics("t", n), (g,), restart_s=0.0) for n, g in kinds
    )
    nan = np.full(jobs, np.nan)
    columns = Jobs(
        tuple(f"j{i}" for i in range(jobs)),
        rng.integers(0, len(kinds), jobs),
        np.zeros(jobs),
        np.round(rng.lognormal(11, 1, jobs)),
        nan, np.ones(jobs), nan, np.zeros(jobs, dtype=np.int64),
    )  # fmt: skip
    workload = Workload("w", "", classes, columns, profiles={"t": Profile("t", rates)})
    return build_problem(gavel_cluster(counts), workload)


def test_a_gang_counts_in_full_where_its_class_cannot_run() -> None:
    problem = made_up(4)
    modes = tuple(tuple(m for m in ms if m.type_index != 2) for ms in problem.modes)
    table = TypeModes(replace(problem, modes=modes))
    sizes = np.array([c.gang[0] for c in problem.workload.classes], dtype=float)
    assert table.gang.tolist() == np.repeat(sizes[:, None], 3, axis=1).tolist()
    assert not table.rate[:, 2].any()


def test_knowing_rates_by_type_helps() -> None:
    gain = []
    for seed in range(3):
        problem = made_up(40, seed)
        known = play(problem, "gavel_max_min_perf").mean_jct_s
        gain.append(play(problem, "gavel_max_min").mean_jct_s / known)
    assert np.mean(gain) > 1


def test_the_makespan_policy_comes_close_to_the_bound() -> None:
    problem = made_up(60)
    found = play(problem, "gavel_makespan_perf").makespan_s
    assert found <= 1.06 * lower_bounds(problem).makespan_s


def test_cost_prefers_the_type_with_more_work_per_dollar() -> None:
    """Shares follow the price; what has no other taker still fills an idle type, as in Gavel."""
    seen: list[np.ndarray] = []

    def watch(rule: ShareRule) -> ShareRule:
        def watched(*known: object) -> np.ndarray:
            seen.append(rule(*known))  # type: ignore[arg-type]
            return seen[-1]

        return watched  # type: ignore[return-value]

    problem = made_up(1)
    prices = np.array([problem.cluster.accelerators[t].usd_per_hour for t in problem.types])
    modes = problem.modes[int(problem.workload.jobs.class_index[0])]
    rates = np.zeros(len(prices))
    for mode in reversed(modes):
        rates[mode.type_index] = mode.rate
    assert rates.argmax() != (rates / prices).argmax()
    for per_dollar, expected in ((False, rates.argmax()), (True, (rates / prices).argmax())):
        simulate(problem, SharedRounds(watch(Throughput()), per_dollar=per_dollar))
        assert seen[-1][0].argmax() == expected
        assert seen[-1][0].max() == pytest.approx(1.0, abs=1e-4)


def test_cost_needs_prices() -> None:
    problem = made_up(2)
    kinds = {n: replace(a, usd_per_hour=None) for n, a in problem.cluster.accelerators.items()}
    bare = replace(problem, cluster=replace(problem.cluster, accelerators=kinds))
    with pytest.raises(InputError, match="rental price of every type"):
        simulate(bare, "gavel_throughput_cost_perf")


def test_equal_jobs_share_a_machine_by_rounds() -> None:
    problem = made_up(6, 1, (1, 0, 0))
    one = problem.workload.jobs.take(np.zeros(3, dtype=np.int64))
    one = replace(one, ids=("a", "b", "c"), class_index=np.zeros(3, dtype=np.int64))
    problem = replace(problem, workload=replace(problem.workload, jobs=one))
    run = simulate(problem, "gavel_max_min_perf")
    ends = sorted(run.finished_us.values())
    assert ends[-1] - ends[0] <= 4 * 360e6  # they end within a few rounds of one another
    assert len(run.allocations) > 10
