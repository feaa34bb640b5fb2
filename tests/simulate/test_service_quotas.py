"""Quotas count the replicas of a tenant's services beside its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_problems import random_problem
from random_terms import RandomMover
from test_terms_by_hand import one_of

from scheduler.core.errors import PolicyError
from scheduler.core.ledger import Cause
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.core.workload import ProfilePhysics, Service, Tenancy
from scheduler.policies.view import View
from scheduler.simulate import simulate
from scheduler.simulate.quota import most_served_per_s
from scheduler.verify import verify_run

POLICIES = (
    *("fifo", "srtf", "easy_backfill", "optimizer"),
    *("co_schedule", "co_schedule_causal", "threshold_scaled", "static_split"),
)


def serving(
    demand: list[tuple[float, float]], tenancies: tuple[Tenancy, ...], jobs: list[float]
) -> Problem:
    """Eight accelerators of one type; a replica takes two, answers 1/s and loads for no time."""
    problem = one_of([[("A", 8)]], [(0.0, w) for w in jobs], tenancies=tenancies)
    service = Service(
        "chat", ProfilePhysics("t", "chat"), (2,),
        np.array([t for t, _ in demand]), np.array([d for _, d in demand]),
        min_replicas=0, load_s=0.0, end_s=100.0, tenant="t0", arrivals="steady",
    )  # fmt: skip
    workload = replace(problem.workload, services=(service,), tenants=("t0",))
    modes = ((Mode((Group(0, 2, 2),), 0, 1.0, 1.0, 800.0),),)
    return replace(problem, workload=workload, service_modes=modes)


def replicas_at(run: Run, at_s: float) -> int:
    at_us = int(at_s * US_PER_S)
    return sum(1 for r in run.replicas if r.start_us <= at_us < r.end_us)


def served(problem: Problem, policy: object = "fifo") -> Run:
    run = simulate(problem, policy, horizon_s=100.0)  # type: ignore[arg-type]
    assert verify_run(problem, run) == []
    return run


@pytest.mark.parametrize("policy", POLICIES)
def test_replicas_stop_at_the_quota(policy: str) -> None:
    problem = serving([(0.0, 4.0)], (Tenancy("t0", quota={"A": 5}),), [])
    run = served(problem, policy)
    assert replicas_at(run, 50.0) == 2
    assert run.ledger.by_cause()[Cause.INCOMPATIBLE.label] == 4 * 100.0
    assert served(serving([(0.0, 4.0)], (), []), policy).ledger.by_cause()["incompatible"] == 0


def test_jobs_of_the_tenant_and_its_replicas_share_one_quota() -> None:
    """Replicas first, as these policies do; jobs have the rest, one accelerator each."""
    problem = serving([(0.0, 2.0)], (Tenancy("t0", total=5),), [30.0, 30.0, 30.0])
    run = served(problem)
    starts_s = {a.job: a.start_us / US_PER_S for a in run.allocations}
    assert starts_s == {0: 0.0, 1: 30.0, 2: 60.0}
    assert replicas_at(run, 10.0) == 2


def test_a_service_borrows_what_others_leave() -> None:
    rules = (Tenancy("t0", quota={"A": 2}, borrow=2), Tenancy("t1", quota={"A": 6}))
    problem = serving([(0.0, 4.0)], rules, [])
    workload = replace(problem.workload, tenants=("t0", "t1"))
    run = served(replace(problem, workload=workload))
    assert replicas_at(run, 50.0) == 2


class Greedy:
    """Starts a replica at each instant, whatever the quota."""

    def decide(self, view: View) -> None:
        placement = view.place(view.problem.service_modes[0][0])
        assert placement is not None
        view.start_replica(0, 0, placement)


def test_a_policy_that_goes_beyond_it_is_stopped() -> None:
    demand = [(10.0 * k, 4.0 + k) for k in range(4)]
    problem = serving(demand, (Tenancy("t0", quota={"A": 5}),), [])
    with pytest.raises(PolicyError, match="replica of chat is beyond the quota of its tenant"):
        simulate(problem, Greedy(), horizon_s=100.0)


@pytest.mark.parametrize("policy", ["mover", *POLICIES])
def test_random_quotas_hold_for_jobs_and_replicas(policy: str) -> None:
    """The verifier counts both, and books what a quota leaves idle, by its own code."""
    bound = 0
    for seed in range(15 if policy == "optimizer" else 60):
        rng = np.random.default_rng([seed, 57])
        problem = random_problem(rng)
        if not problem.workload.services:
            continue
        problem = with_quotas(rng, problem)
        who = RandomMover(rng) if policy == "mover" else policy
        run = simulate(problem, who, seed=seed, horizon_s=250.0)
        assert verify_run(problem, run) == [], f"seed {seed}"
        free = simulate(without_quotas(problem), "fifo", seed=seed, horizon_s=250.0)
        bound += len(run.replicas) < len(free.replicas)
    assert bound


def with_quotas(rng: np.random.Generator, problem: Problem) -> Problem:
    """Draw quotas for every tenant; services belong to them at random."""
    workload = problem.workload
    most = sum(problem.capacity())
    tenancies = tuple(
        Tenancy(
            name,
            quota={t: int(rng.integers(1, most + 1)) for t in problem.types if rng.random() < 0.5},
            total=int(rng.integers(1, most + 1)) if rng.random() < 0.7 else None,
            borrow=None if rng.random() < 0.3 else int(rng.integers(0, 4)),
        )
        for name in workload.tenants
    )
    services = tuple(
        replace(s, tenant=str(rng.choice(workload.tenants))) for s in workload.services
    )
    return replace(problem, workload=replace(workload, tenancies=tenancies, services=services))


def without_quotas(problem: Problem) -> Problem:
    return replace(problem, workload=replace(problem.workload, tenancies=()))


def test_a_quota_one_below_what_replicas_held_is_a_violation() -> None:
    done = 0
    for seed in range(60):
        problem = without_quotas(random_problem(np.random.default_rng([seed, 58])))
        if not problem.workload.services:
            continue
        name = problem.workload.tenants[0]
        services = tuple(replace(s, tenant=name) for s in problem.workload.services)
        run = simulate(problem, "fifo", seed=seed, horizon_s=250.0)
        if not run.replicas:
            continue
        at_us = run.replicas[0].start_us
        jobs = problem.workload.jobs
        held = [a for a in run.allocations if jobs.tenant_index[a.job] == 0]
        used = sum(
            sum(h.placement.counts)
            for h in (*held, *run.replicas)
            if h.start_us <= at_us < h.end_us
        )
        for total, broken in ((used - 1, True), (10**6, False)):
            rule = (Tenancy(name, total=total),)
            workload = replace(problem.workload, services=services, tenancies=rule)
            found = {v.code for v in verify_run(replace(problem, workload=workload), run)}
            assert ("quota" in found) is broken, f"seed {seed}"
        done += 1
    assert done > 10


def test_the_most_that_a_quota_lets_a_service_serve() -> None:
    def most(*rules: Tenancy, tenants: tuple[str, ...] = ("t0",)) -> float:
        problem = serving([(0.0, 4.0)], rules, [])
        return most_served_per_s(
            replace(problem, workload=replace(problem.workload, tenants=tenants)), 0
        )

    assert most() == float("inf")
    assert most(Tenancy("t0", quota={"A": 5})) == 2.5  # half a replica more than there can be
    assert most(Tenancy("t0", total=3, quota={"A": 5})) == 1.5
    assert most(Tenancy("t0", quota={"A": 64})) == 4.0  # the fleet ends there
    two = (Tenancy("t0", quota={"A": 2}, borrow=3), Tenancy("t1", quota={"A": 2}))
    assert most(*two, tenants=("t0", "t1")) == 2.0  # together they have four


def test_the_command_says_when_a_quota_is_below_the_peak(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    topology, workload = tmp_path / "t.yaml", tmp_path / "w.yaml"
    topology.write_text(
        "schema: topology/1\ntitle: Eight\nsites: [{name: main}]\npods:\n"
        "  - {name: p, site: main, fabric: {kind: tree, nodes_per_leaf: 4, latency: 1 us},\n"
        "     nodes: [{accelerator: T4, nodes: 2, per_node: 4}]}\n"
    )
    workload.write_text(
        "schema: workload/1\ntitle: A service\nprofiles:\n"
        "  own: {rates: [{job_type: chat, accelerator: T4, count: 1, rate: 2.0}]}\n"
        "classes: []\n"
        "services:\n"
        "  - {name: chat, profile: {table: own, job_type: chat}, replica: 1, end: 1 h,\n"
        "     demand: [[0 s, 9 req/s]], tenant: web}\n"
        "tenants: {web: {total: 3}}\n"
    )
    code, _, said = call("run", topology, workload, "--policy", "fifo")
    assert code == 0, said
    assert "service chat can serve at most 6 of its peak of 9 requests/s" in said
    assert "more is beyond the quota of its tenant web" in said
