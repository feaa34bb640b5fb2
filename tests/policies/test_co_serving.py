from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.ledger import Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.workload import (
    JobClass,
    Jobs,
    Profile,
    ProfilePhysics,
    RunTimePhysics,
    Service,
    Workload,
)
from scheduler.io import load_cluster
from scheduler.physics.problem import build_problem
from scheduler.policies.co_serving import (
    CoScheduled,
    CoScheduledCausal,
    PeakProvisioned,
    SingleType,
    StaticSplit,
    ThresholdScaled,
    burst_capacity,
)
from scheduler.simulate import simulate
from scheduler.verify import verify_run

HOUR_S = 3600.0
SPAN_S = 6 * HOUR_S
ALL = (CoScheduled, CoScheduledCausal, PeakProvisioned, SingleType, StaticSplit, ThresholdScaled)


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A laboratory's 64 accelerators, a service with a peak at noon and a full queue."""
    rng = np.random.default_rng(0)
    times = np.arange(0.0, SPAN_S, 300.0)
    demand = 8 + 7 * np.sin(np.pi * times / SPAN_S) * rng.uniform(0.9, 1.1, len(times))
    rates = {("served", name, 1, "packed"): rate for name, rate in (("a100-80gb-sxm", 1.0),)}
    rates[("served", "v100-32gb-sxm", 1, "packed")] = 0.5
    service = Service("chat", ProfilePhysics("rates", "served"), (1,), times, demand, end_s=SPAN_S)
    count = 400
    jobs = Jobs(
        tuple(f"job-{i}" for i in range(count)),
        np.zeros(count, dtype=np.int64),
        np.sort(rng.uniform(0, SPAN_S / 2, count)),
        rng.lognormal(8.0, 0.8, count),
        np.full(count, np.nan),
        np.ones(count),
        np.full(count, np.nan),
        np.zeros(count, dtype=np.int64),
    )
    workload = Workload(
        "mixed",
        "one service and jobs",
        (JobClass("one", RunTimePhysics(), (1,)),),
        jobs,
        (service,),
        {"rates": Profile("rates", rates)},
    )
    cluster = load_cluster("lab-mixed-64")
    quiet = replace(cluster, failures=replace(cluster.failures, node_mtbf_s=float("inf")))
    return build_problem(quiet, workload)


@pytest.mark.parametrize("policy", ALL)
def test_every_way_of_provisioning_keeps_the_rules(problem: Problem, policy: type) -> None:
    run = simulate(problem, policy(), horizon_s=SPAN_S)
    assert verify_run(problem, run) == []
    again = simulate(problem, policy(), horizon_s=SPAN_S)
    assert (run.allocations, run.replicas) == (again.allocations, again.replicas)
    assert run.ledger.by_cause() == again.ledger.by_cause()


def test_foresight_wastes_less_and_serves_no_less(problem: Problem) -> None:
    played = {
        policy: metrics_of(problem, simulate(problem, policy(), horizon_s=SPAN_S))
        for policy in (CoScheduled, PeakProvisioned, ThresholdScaled)
    }
    ours = played[CoScheduled]
    for other in (PeakProvisioned, ThresholdScaled):
        assert ours.waste_fraction < played[other].waste_fraction
        assert ours.slo_attainment >= played[other].slo_attainment - 1e-9


def test_training_gives_way_before_the_peak(problem: Problem) -> None:
    """Everything demanded is served, but for what comes before the first replica has loaded."""
    service = problem.workload.services[0]
    run = simulate(problem, CoScheduled(), horizon_s=SPAN_S)
    lost = run.demanded[0] - run.served[0]
    assert lost == pytest.approx(float(service.demand_per_s[0]) * service.load_s, rel=1e-6)


def test_headroom_grows_with_its_probability() -> None:
    assert burst_capacity(10.0, 0.5) == pytest.approx(10.0)
    assert burst_capacity(10.0, 0.99) > burst_capacity(10.0, 0.9) > 10.0
    assert burst_capacity(0.0) == 0.0
    # 100 requests expected in 10 s: the 97.7 % quantile is two deviations, 20 requests, above
    assert burst_capacity(10.0, 0.97725, 10.0) == pytest.approx(12.0, rel=1e-3)


def test_headroom_holds_for_poisson_bursts() -> None:
    rng = np.random.default_rng(1)
    for rate in (3.0, 30.0):
        counts = rng.poisson(rate * 10.0, 20_000)
        within = (counts <= burst_capacity(rate, 0.95, 10.0) * 10.0).mean()
        assert within == pytest.approx(0.95, abs=0.015)


def test_a_split_keeps_training_off_its_nodes(problem: Problem) -> None:
    run = simulate(problem, StaticSplit(), horizon_s=SPAN_S)
    serving = {n for r in run.replicas for n in r.placement.nodes}
    training = {n for a in run.allocations for n in a.placement.nodes}
    assert not serving & training
    peak = simulate(problem, PeakProvisioned(), horizon_s=SPAN_S)
    headroom = run.ledger.of((Cause.HEADROOM,))
    assert headroom >= peak.ledger.of((Cause.HEADROOM,))


def test_a_single_type_serves_on_one_type(problem: Problem) -> None:
    run = simulate(problem, SingleType(), horizon_s=SPAN_S)
    modes = problem.service_modes[0]
    assert len({modes[r.mode].type_index for r in run.replicas}) == 1


def test_the_causal_forecast_knows_nothing_of_the_future(problem: Problem) -> None:
    """The same past and another future: the same replicas until they part."""
    service = problem.workload.services[0]
    half = len(service.times_s) // 2
    other = service.demand_per_s.copy()
    other[half:] = 1.0
    changed = replace(service, demand_per_s=other)
    twin = replace(problem, workload=replace(problem.workload, services=(changed,)))
    until = float(service.times_s[half])
    first, second = (simulate(p, CoScheduledCausal(), horizon_s=until) for p in (problem, twin))
    assert first.replicas == second.replicas
