from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.cluster import Cluster, Fabric, Node, Pod, Site
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.workload import Jobs, ModelPhysics, Service, Workload
from scheduler.io.catalogue import accelerators, find_model
from scheduler.physics.problem import build_problem
from scheduler.policies.co_serving import CoScheduled
from scheduler.simulate import simulate
from scheduler.solver.length_split import Division, LengthBucket, divide
from scheduler.verify import verify_run

MODEL = "llama-3-8b"
SPAN_S = 1800.0
MIXED = (LengthBucket(200.0, 40.0, 0.98), LengthBucket(12_000.0, 400.0, 0.02))
ALIKE = (LengthBucket(1000.0, 128.0, 0.5), LengthBucket(1100.0, 120.0, 0.5))


def fleet(types: tuple[str, ...], nodes: int = 12) -> Cluster:
    catalogue = accelerators()
    pods = tuple(
        Pod(
            name, "site",
            tuple(
                Node(f"{name}-{i}", name, 8, catalogue[name].scaleup_bytes_per_s,
                     catalogue[name].nic_bytes_per_s)
                for i in range(nodes)
            ),
            Fabric("tree", nodes_per_leaf=nodes), 1e11,
        )
        for name in types
    )  # fmt: skip
    return Cluster("fleet", "two types", {t: catalogue[t] for t in types}, pods, (Site("site"),))


def problem_of(cluster: Cluster, buckets: tuple[LengthBucket, ...]) -> Problem:
    times = np.arange(0.0, SPAN_S, 60.0)
    demand = 400 + 200 * np.sin(2 * np.pi * times / SPAN_S)
    service = Service(
        "chat", ModelPhysics(MODEL), (1,), times, demand, load_s=30.0, ttft_s=8.0,
        prompt_tokens=sum(b.prompt_tokens * b.share for b in buckets),
        output_tokens=sum(b.output_tokens * b.share for b in buckets), end_s=SPAN_S,
    )  # fmt: skip
    empty, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    jobs = Jobs((), whole, empty, empty, empty, empty, empty, whole)
    models = {MODEL: find_model(MODEL)}
    return build_problem(cluster, Workload("one", "", (), jobs, (service,), models=models))


def divided(problem: Problem, buckets: tuple[LengthBucket, ...]) -> Division:
    return divide(problem, 0, buckets, lambda w: build_problem(problem.cluster, w))


def test_a_division_costs_less_and_serves_no_less() -> None:
    problem = problem_of(fleet(("L40S", "A100-80GB-SXM"), nodes=20), MIXED)
    made = divided(problem, MIXED)
    assert made.divided_usd_per_hour < made.whole_usd_per_hour
    assert len(made.services) == 2
    total = sum(s.demand_per_s for s in made.services)
    assert total == pytest.approx(problem.workload.services[0].demand_per_s)
    tokens = sum(s.demand_per_s[0] * s.prompt_tokens for s in made.services) / total[0]
    assert tokens == pytest.approx(problem.workload.services[0].prompt_tokens)
    parts = build_problem(problem.cluster, replace(problem.workload, services=made.services))
    after = simulate(parts, CoScheduled(), horizon_s=SPAN_S)
    before = simulate(problem, CoScheduled(), horizon_s=SPAN_S)
    assert verify_run(parts, after) == []
    served = metrics_of(parts, after).slo_attainment
    assert served >= metrics_of(problem, before).slo_attainment - 1e-4
    short, long = sorted(made.services, key=lambda s: s.prompt_tokens)
    assert short.accelerators != long.accelerators


def test_what_would_not_be_cheaper_stays_whole() -> None:
    for types in (("A10", "H100-SXM"), ("H100-SXM",)):
        problem = problem_of(fleet(types), ALIKE)
        made = divided(problem, ALIKE)
        assert made.services == problem.workload.services
        assert made.divided_usd_per_hour == made.whole_usd_per_hour
