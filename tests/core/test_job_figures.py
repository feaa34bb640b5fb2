"""Distributions, finish-time fairness and tenants: by hand, and again from the raw run."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from random_problems import fleet, random_problem, workload

from scheduler.core.job_figures import exclusive_rate, exclusive_s, job_figures, mean_contention
from scheduler.core.metrics import FAIR, FIGURES, metrics_of, p_value
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Run
from scheduler.core.workload import JobClass, RunTimePhysics, Tenancy
from scheduler.simulate import simulate
from scheduler.solver.fair_shares import Fleet, isolated_rates

LEVELS = ("node", "pod", "site", "fleet")


def two_types() -> Problem:
    """Four accelerators of A (rate 4 for a gang of four), two of B (rate 1 for a gang of two)."""
    cluster, names, domains, pools = fleet([[("A", 4), ("B", 2)]])
    classes = (
        JobClass("wide", RunTimePhysics(), (4,), restart_s=0.0, cpus=2.0),
        JobClass("small", RunTimePhysics(), (2,), restart_s=1.0),
    )
    modes = (
        (Mode((Group(0, 4, 4),), 0, 4.0, 4.0, 1.0),),
        (Mode((Group(0, 2, 2),), 0, 2.0, 2.0, 1.0), Mode((Group(1, 2, 2),), 0, 1.0, 1.0, 1.0)),
    )
    jobs = workload(classes, [0, 0, 1], [0.0, 0.0, 0.0], [40.0, 40.0, 11.0], None or (), [0, 1, 1])
    jobs = replace(jobs, tenancies=(Tenancy("t1", share=2.0),))
    return Problem(cluster, jobs, names, LEVELS, domains, pools, modes)


def test_an_equal_part_by_hand() -> None:
    # First come: job 0 has A until 10, job 1 until 20; job 2 runs on B at rate 1 from 0 to 12.
    problem = two_types()
    run = simulate(problem, "best_fit")
    assert {j: t / 1e6 for j, t in run.finished_us.items()} == {0: 10.0, 1: 20.0, 2: 12.0}
    # In the system: 3 until 10, 2 until 12, 1 until 20.
    contention = [3.0, (30 + 4 + 8) / 20, (30 + 4) / 12]
    np.testing.assert_allclose(mean_contention(problem, run), contention)
    # A third of A is its gang a third of the time; of both types a small gang has 4/2n
    # of the time on A and 2/2n on B, here together more than the whole: scaled to it.
    n = contention[2]
    on_a, on_b = 2 / n, 1 / n
    alone = [10 * contention[0], 10 * contention[1], 1 + 11 / ((on_a * 2 + on_b) / (on_a + on_b))]
    np.testing.assert_allclose(exclusive_s(problem, run), alone)
    ratios = [10 / alone[0], 20 / alone[1], 12 / alone[2]]
    metrics = metrics_of(problem, run)
    assert metrics.mean_finish_time_ratio == pytest.approx(statistics.fmean(ratios))
    assert metrics.max_finish_time_ratio == pytest.approx(max(ratios))
    assert metrics.unfair_fraction == pytest.approx(sum(r > 1 for r in ratios) / 3)
    # slowdowns: 1, 2 and 12 over 1 + 11 / 2
    assert metrics.p50_slowdown == pytest.approx(12 / 6.5)
    assert metrics.p90_slowdown == pytest.approx(12 / 6.5 + 0.8 * (2 - 12 / 6.5))


def test_tenants_by_hand() -> None:
    problem = two_types()
    run = simulate(problem, "best_fit")
    first, second = metrics_of(problem, run).tenants
    # of the run's 20 s: t0 held four A for 10; t1 four A for 10 and two B for 12
    assert (first.tenant, first.weight, first.accelerator_s) == ("t0", 1.0, 40.0)
    assert (second.tenant, second.weight, second.accelerator_s) == ("t1", 2.0, 64.0)
    assert (first.share, second.share) == pytest.approx((40 / 104, 64 / 104))
    assert first.dominant_share == pytest.approx(40 / 80)
    assert second.dominant_share == pytest.approx(max(40 / 80, 24 / 40) / 2)
    x, y = first.dominant_share, second.dominant_share
    fairness = metrics_of(problem, run).share_fairness
    assert fairness == pytest.approx((x + y) ** 2 / (2 * (x * x + y * y)))


def test_a_resource_other_than_accelerators_can_dominate() -> None:
    problem = two_types()
    pod = problem.cluster.pods[0]
    hosts = tuple(replace(n, cpus=8.0, host_memory_bytes=1e9) for n in pod.nodes)
    cluster = replace(problem.cluster, pods=(replace(pod, nodes=hosts),))
    limited = replace(problem, cluster=cluster)
    first = metrics_of(limited, simulate(problem, "best_fit")).tenants[0]
    assert first.dominant_share == pytest.approx(max(40 / 80, 2 * 4 * 10 / (16 * 20)))
    few = replace(pod, nodes=tuple(replace(n, cpus=4.0) for n in pod.nodes))
    limited = replace(problem, cluster=replace(problem.cluster, pods=(few,)))
    first = metrics_of(limited, simulate(problem, "best_fit")).tenants[0]
    assert first.dominant_share == pytest.approx(max(40 / 80, 2 * 4 * 10 / (8 * 20)))


def test_the_equal_part_is_gavels() -> None:
    """For whole numbers of jobs, the isolated allocation that Gavel's policies are held to."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        types, n = int(rng.integers(1, 4)), int(rng.integers(1, 9))
        capacity = rng.integers(4, 40, types)
        gang = int(rng.integers(1, 5))
        rates = np.round(rng.uniform(0.5, 5, types), 3)
        modes = tuple(
            Mode((Group(t, gang, gang),), 0, float(rates[t]), 5.0, 1.0) for t in range(types)
        )
        ours = exclusive_rate(modes, tuple(capacity.tolist()), np.array([float(n)]))[0]
        square = np.full((n, types), float(gang))
        theirs = isolated_rates(Fleet(np.tile(rates, (n, 1)), square, capacity.astype(float)))[0]
        assert ours == pytest.approx(theirs)


def again(problem: Problem, run: Run) -> dict[str, float]:
    """The new figures from the raw run, job by job and with nothing shared."""
    jobs = problem.workload.jobs
    release = [round(t * 1e6) for t in jobs.release_s]
    gone = {*run.rejected, *run.cancelled}
    out = {
        j: run.finished_us.get(j, run.killed_us.get(j, run.horizon_us)) for j in range(len(jobs))
    }
    stays = {j: (release[j], out[j]) for j in out if j not in gone and out[j] > release[j]}
    points = sorted({t for stay in stays.values() for t in stay})
    jct, slow, rho, queued = [], [], [], []
    for j, end in sorted(run.finished_us.items()):
        kind = problem.workload.classes[jobs.class_index[j]]
        modes = problem.modes[jobs.class_index[j]]
        jct.append((end - release[j]) / 1e6)
        best = max(m.rate for m in modes)
        slow.append(jct[-1] / (kind.restart_s + run.actual_work[j] / best))
        a, b = stays[j]
        area = 0
        for t, u in pairwise(points):
            if a <= t and u <= b:
                area += (u - t) * sum(s <= t and u <= e for s, e in stays.values())
        n = area / (b - a)
        singles = [m for m in modes if len(m.groups) == 1] or modes
        chosen: dict[tuple[int, ...], tuple[float, float, float]] = {}
        for m in singles:
            share = min(problem.capacity()[g.type_index] / n / g.count for g in m.groups)
            key = tuple(g.type_index for g in m.groups)
            does = min(1.0, share) * m.rate
            if key not in chosen or does > chosen[key][0]:
                chosen[key] = (does, share, m.rate)
        total = max(1.0, sum(s for _, s, _ in chosen.values()))
        rate = sum(s * r for _, s, r in chosen.values()) / total
        rho.append(jct[-1] / (kind.restart_s + run.actual_work[j] / rate))
    for j in range(len(jobs)):
        starts = [a.start_us for a in run.allocations if a.job == j]
        if starts:
            queued.append((min(starts) - release[j]) / 1e6)
    figures = {}
    for name, values in (
        ("jct_s", jct), ("queueing_s", queued), ("slowdown", slow), ("finish_time_ratio", rho),
    ):  # fmt: skip
        figures[f"mean_{name}"] = statistics.fmean(values) if values else math.nan
        for p in (50, 90, 95, 99):  # linear interpolation between the order statistics
            place = (len(values) - 1) * p / 100
            ranked = sorted(values)
            low = ranked[math.floor(place)] if values else math.nan
            high = ranked[math.ceil(place)] if values else math.nan
            figures[f"p{p}_{name}"] = low + (high - low) * (place - math.floor(place))
    figures["max_finish_time_ratio"] = max(rho, default=math.nan)
    figures["unfair_fraction"] = sum(r > FAIR for r in rho) / len(rho) if rho else math.nan
    shares = []
    for t, name in enumerate(problem.workload.tenants):
        if t not in jobs.tenant_index:
            continue
        held = [0.0] * len(problem.types)
        for a in run.allocations:
            if jobs.tenant_index[a.job] == t:
                for g in problem.modes[jobs.class_index[a.job]][a.mode].groups:
                    held[g.type_index] += g.count * (a.end_us - a.start_us)
        for r in run.replicas:
            if problem.workload.services[r.service].tenant == name:
                raise AssertionError("services have a tenant of their own here")
        shares.append(max(h / c for h, c in zip(held, problem.capacity(), strict=True)))
    for s, service in enumerate(problem.workload.services):
        held = [0.0] * len(problem.types)
        for r in run.replicas:
            if r.service == s:
                for g in problem.service_modes[s][r.mode].groups:
                    held[g.type_index] += g.count * (r.end_us - r.start_us)
        assert service.tenant == "serving"
        shares.append(max(h / c for h, c in zip(held, problem.capacity(), strict=True)))
    squares = sum(x * x for x in shares)
    figures["share_fairness"] = sum(shares) ** 2 / len(shares) / squares if squares else 1.0
    return figures


@pytest.mark.parametrize("policy", ["fifo", "srtf", "las"])
def test_every_figure_again_from_the_raw_run(policy: str) -> None:
    compared = 0
    for seed in range(40):
        problem = random_problem(np.random.default_rng([seed, 11]))
        horizon_s = None if seed % 2 else 300.0
        run = simulate(problem, policy, seed=seed, noise_sigma=0.2, horizon_s=horizon_s)
        found = metrics_of(problem, run)
        for name, value in again(problem, run).items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-9, nan_ok=True), (seed, name)
            compared += math.isfinite(value)
        used = sum(t.accelerator_s for t in found.tenants)
        held = sum(
            sum(r.placement.counts) * (r.end_us - r.start_us)
            for r in (*run.allocations, *run.replicas)
        )
        assert used == pytest.approx(held / 1e6)
        if used:
            assert sum(t.share for t in found.tenants) == pytest.approx(1)
    assert compared > 500


def test_percentiles_are_in_order_and_named_in_full() -> None:
    problem = random_problem(np.random.default_rng([1, 11]))
    found = metrics_of(problem, simulate(problem, "fifo"))
    for quantity in ("jct_s", "queueing_s", "slowdown", "finish_time_ratio"):
        values = [getattr(found, f"p{p}_{quantity}") for p in (50, 90, 95, 99)]
        assert values == sorted(values)
        assert f"mean_{quantity}" in FIGURES
    each = job_figures(problem, simulate(problem, "fifo"))
    assert len(each.jct_s) == len(each.slowdown) == len(each.finish_time_ratio) == found.finished


def test_p_values_of_gossets_sleep_data() -> None:
    # t = 4.062 with 9 degrees of freedom: p = 0.00283 (R's t.test on its `sleep` data)
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert p_value(differences) == pytest.approx(0.002833, abs=1e-6)
    assert p_value([-d for d in differences]) == pytest.approx(0.002833, abs=1e-6)
    assert (p_value([0.0, 0.0]), p_value([2.0, 2.0])) == (1.0, 0.0)
    assert math.isnan(p_value([1.0]))
    assert math.isnan(p_value([1.0, math.nan]))
