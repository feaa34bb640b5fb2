from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scheduler import api
from scheduler.commands.options import Inputs, load_problem
from scheduler.core.cluster import Cluster, Fabric, Node, Pod, Site
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.workload import Jobs, ModelPhysics, Service, Workload
from scheduler.io.catalogue import accelerators, find_model
from scheduler.physics.problem import build_problem
from scheduler.policies.co_serving import CoScheduled
from scheduler.simulate import simulate
from scheduler.solver.length_split import Division, LengthBucket, divide
from scheduler.solver.length_split import divided as all_divided
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
    problem = problem_of(fleet(("A10G", "L4"), nodes=60), MIXED)
    made = divided(problem, MIXED)
    assert made.divided_usd_per_hour < made.whole_usd_per_hour
    assert len(made.services) == 2
    total = np.sum([s.demand_per_s for s in made.services], axis=0)
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
    asleep = with_lengths(problem_of(fleet(("A10G", "L4")), MIXED), MIXED, 0.0)
    assert all_divided(asleep, partial(build_problem, asleep.cluster), None) is asleep


def replica_hours_usd(problem: Problem, run: Run) -> float:
    price = [problem.cluster.accelerators[name].usd_per_hour or 0.0 for name in problem.types]
    total = 0.0
    for held in run.replicas:
        mode = problem.service_modes[held.service][held.mode]
        total += mode.count * price[mode.type_index] * (held.end_us - held.start_us) / 3.6e9
    return total


def with_lengths(problem: Problem, buckets: tuple[LengthBucket, ...], demand: float) -> Problem:
    (service,) = problem.workload.services
    told = replace(
        service,
        demand_per_s=service.demand_per_s * demand,
        lengths=tuple((b.share, b.prompt_tokens, b.output_tokens) for b in buckets),
    )
    return build_problem(problem.cluster, replace(problem.workload, services=(told,)))


def test_what_is_divided_costs_less_and_serves_no_less_whatever_it_is() -> None:
    rng = np.random.default_rng(0)
    costs = []
    for _ in range(18):
        share = float(rng.uniform(0.005, 0.05))
        buckets = (
            LengthBucket(float(rng.integers(100, 500)), float(rng.integers(20, 60)), 1 - share),
            LengthBucket(float(rng.integers(6000, 14_000)), float(rng.integers(200, 500)), share),
        )
        cluster = fleet(("A10G", "L4"), nodes=60)
        whole = with_lengths(problem_of(cluster, buckets), buckets, float(rng.uniform(0.2, 1.0)))
        parts = all_divided(whole, partial(build_problem, cluster), None)
        if parts is whole:
            continue
        runs = [(p, simulate(p, CoScheduled(), horizon_s=SPAN_S)) for p in (whole, parts)]
        before, after = (replica_hours_usd(*r) for r in runs)
        slo = [metrics_of(*r).slo_attainment for r in runs]
        assert slo[0] is not None
        assert slo[1] is not None
        assert slo[1] >= slo[0] - 1e-3  # smaller pools wait a trifle more
        assert after < before
        assert verify_run(*runs[1]) == []
        costs.append(after / before)
    assert len(costs) >= 5


def test_several_lengths_ask_for_the_sum_of_what_each_asks_for() -> None:
    cluster, buckets = fleet(("L40S", "A100-80GB-SXM")), ALIKE
    mixed = with_lengths(problem_of(cluster, buckets), buckets, 1.0)
    (service,) = mixed.workload.services
    alone = []
    for b in buckets:
        alike = replace(
            service, lengths=(), prompt_tokens=b.prompt_tokens, output_tokens=b.output_tokens
        )
        rated = build_problem(cluster, replace(mixed.workload, services=(alike,)))
        alone.append(rated.service_modes[0])
    for mode in mixed.service_modes[0]:
        same = [next(m for m in modes if m.groups == mode.groups) for modes in alone]
        seconds = sum(b.share / m.rate for b, m in zip(buckets, same, strict=True))
        assert mode.rate == pytest.approx(1 / seconds)


TOPOLOGY = """\
schema: topology/1
title: Two types
sites: [{name: main}]
pods:
  - name: a
    site: main
    uplink: 800 Gbit/s
    fabric: {kind: tree, nodes_per_leaf: 60}
    nodes: [{accelerator: A10G, nodes: 60, per_node: 8}]
  - name: b
    site: main
    uplink: 800 Gbit/s
    fabric: {kind: tree, nodes_per_leaf: 60}
    nodes: [{accelerator: L4, nodes: 60, per_node: 8}]
"""

WORKLOAD = """\
schema: workload/1
title: Short requests and a few long ones
services:
  - name: chat
    model: {name: llama-3-8b}
    replica: 1
    demand: [[0 s, 100 req/s], [10 min, 200 req/s]]
    ttft: 8 s
    end: 30 min
    lengths: [[0.98, 200, 40], [0.02, 12000, 400]]
"""


def test_a_workload_file_is_divided_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topology, workload = tmp_path / "fleet.yaml", tmp_path / "chat.yaml"
    topology.write_text(TOPOLOGY, encoding="utf-8")
    workload.write_text(WORKLOAD, encoding="utf-8")
    problem = load_problem(Inputs(str(topology), str(workload)))
    names = [service.name for service in problem.workload.services]
    assert names == ["chat on A10G", "chat on L4"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("service chat is divided by length, ")
    assert api.load(topology, workload).workload.services[0].name == names[0]
    assert not capsys.readouterr().err
    workload.write_text(WORKLOAD.replace("12000, 400", "220, 40"), encoding="utf-8")
    (service,) = load_problem(Inputs(str(topology), str(workload))).workload.services
    assert service.name == "chat"
    assert service.prompt_tokens == pytest.approx(0.98 * 200 + 0.02 * 220)
    assert not capsys.readouterr().err
