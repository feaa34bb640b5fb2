"""Limits, dependencies, quotas, reservations and the like on cases worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from random_problems import fleet, workload

from scheduler.core.cluster import FailureModel, Outage, Reservation
from scheduler.core.errors import PolicyError
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Placement, Run
from scheduler.core.units import US_PER_S
from scheduler.core.workload import JobClass, RunTimePhysics, Tenancy
from scheduler.policies.view import View
from scheduler.simulate import simulate
from scheduler.verify import verify_run

LEVELS = ("node", "pod", "site", "fleet")


def one_of(
    pods: list[list[tuple[str, int]]],
    jobs: list[tuple[float, float]],
    gang: int = 1,
    *,
    of_tenant: list[int] | None = None,
    columns: dict[str, object] | None = None,
    tenancies: tuple[Tenancy, ...] = (),
    cluster: dict[str, object] | None = None,
    labels: tuple[tuple[tuple[str, str], ...], ...] = (),
    cpus: float | None = None,
    level: int = 0,
    **kind: object,
) -> Problem:
    """One class of `gang` accelerators on type A at rate 1, without restart time."""
    made, names, domains, pools = fleet(pods)
    made = dataclasses.replace(made, **(cluster or {}))
    numbers = iter(range(1000))

    def changed(node):
        i = next(numbers)
        more = {"labels": labels[i]} if labels else {}
        return dataclasses.replace(node, **more, **({} if cpus is None else {"cpus": cpus}))

    changed_pods = tuple(
        dataclasses.replace(p, nodes=tuple(changed(n) for n in p.nodes)) for p in made.pods
    )
    made = dataclasses.replace(made, pods=changed_pods)
    settled = {"restart_s": 0.0, **kind}
    classes = (JobClass("a", RunTimePhysics(), (gang,), **settled),)  # type: ignore[arg-type]
    load = workload(
        classes, [0] * len(jobs), [r for r, _ in jobs], [w for _, w in jobs], tenants=of_tenant
    )
    load = dataclasses.replace(
        load, jobs=dataclasses.replace(load.jobs, **(columns or {})), tenancies=tenancies
    )
    per_node = max(1, min(gang, max(size for pod in pods for _, size in pod)))
    modes = ((Mode((Group(0, gang, per_node),), level, 1.0, 1.0, 400.0 * gang),),)
    return Problem(made, load, names, LEVELS, domains, pools, modes)


def play(problem: Problem, policy: object = "fifo", **more: object) -> Run:
    run = simulate(problem, policy, **more)  # type: ignore[arg-type]
    assert verify_run(problem, run) == []
    return run


def ends_s(run: Run) -> dict[int, float]:
    return {j: e / US_PER_S for j, e in run.finished_us.items()}


def starts_s(run: Run) -> dict[int, float]:
    return {a.job: a.start_us / US_PER_S for a in reversed(run.allocations)}


def test_a_job_is_killed_at_its_limit_and_who_needs_it_is_cancelled() -> None:
    columns = {
        "limit_s": np.array([40.0, math.nan, math.nan, math.nan]),
        "after": ((), (0,), (1,), ()),
    }
    jobs = [(0.0, 100.0), (0.0, 5.0), (0.0, 5.0), (0.0, 7.0)]
    run = play(one_of([[("A", 1)]], jobs, columns=columns))
    assert dict(run.killed_us) == {0: 40 * US_PER_S}
    assert dict(run.cancelled) == {
        1: "needs job0, which reached its time limit",
        2: "needs job1, which was cancelled",
    }
    assert ends_s(run) == {3: 47.0}
    assert run.horizon_us == 47 * US_PER_S


class StopAt:
    """First come, first served, but every running job is preempted once at 10 s."""

    def decide(self, view: View) -> None:
        if view.now_us == 10 * US_PER_S:
            for job in list(view.running):
                view.stop(job)
        for job in sorted(view.waiting):
            found = view.find(job)
            if found is not None and view.now_us != 10 * US_PER_S:
                view.start(job, *found)
        view.wake_at(10 * US_PER_S if view.now_us < 10 * US_PER_S else 15 * US_PER_S)


def test_the_limit_counts_all_allocations_together() -> None:
    problem = one_of([[("A", 1)]], [(0.0, 100.0)], columns={"limit_s": np.array([30.0])})
    run = play(problem, StopAt())
    assert [(a.start_us, a.end_us) for a in run.allocations] == [
        (0, 10 * US_PER_S), (15 * US_PER_S, 35 * US_PER_S)
    ]  # fmt: skip
    assert dict(run.killed_us) == {0: 35 * US_PER_S}


def test_a_job_waits_for_what_it_needs_and_that_is_no_demand() -> None:
    problem = one_of([[("A", 2)]], [(0.0, 30.0), (0.0, 5.0)], columns={"after": ((), (0,))})
    run = play(problem)
    assert starts_s(run) == {0: 0.0, 1: 30.0}
    assert run.ledger.by_cause()["no_demand"] == pytest.approx(35.0)


def test_what_a_rejected_job_was_needed_for_is_cancelled() -> None:
    problem = one_of([[("A", 1)]], [(0.0, 1.0), (0.0, 1.0)], gang=2, columns={"after": ((), (0,))})
    run = play(problem)
    assert sorted(run.rejected) == [0, 1]
    assert not run.cancelled  # it could never have run by itself


def test_a_quota_leaves_accelerators_idle_as_incompatible() -> None:
    tenancies = (Tenancy("t0", quota={"A": 2}),)
    run = play(one_of([[("A", 4)]], [(0.0, 10.0)] * 4, tenancies=tenancies))
    assert sorted(starts_s(run).values()) == [0.0, 0.0, 10.0, 10.0]
    causes = run.ledger.by_cause()
    assert causes["incompatible"] == pytest.approx(20.0)
    assert causes["no_demand"] == pytest.approx(20.0)


@pytest.mark.parametrize(("borrow", "at_once"), [(0, 1), (1, 2), (None, 3)])
def test_a_tenant_borrows_what_others_leave(borrow: int | None, at_once: int) -> None:
    tenancies = (Tenancy("t0", total=1, borrow=borrow), Tenancy("t1", total=2))
    problem = one_of(
        [[("A", 4)]], [(0.0, 10.0)] * 3 + [(50.0, 1.0)], of_tenant=[0, 0, 0, 1], tenancies=tenancies
    )
    run = play(problem, "best_fit")
    assert sum(start == 0.0 for start in starts_s(run).values()) == at_once


def test_an_owner_may_start_within_its_quota_whatever_is_lent() -> None:
    tenancies = (Tenancy("t0", total=1, borrow=None), Tenancy("t1", total=1))
    jobs = [(0.0, 100.0), (0.0, 100.0), (5.0, 10.0), (6.0, 10.0)]
    problem = one_of([[("A", 4)]], jobs, of_tenant=[0, 0, 1, 0], tenancies=tenancies)
    run = play(problem, "best_fit")
    assert starts_s(run) == {0: 0.0, 1: 0.0, 2: 5.0, 3: 100.0}


def test_a_quota_smaller_than_any_gang_rejects() -> None:
    run = play(one_of([[("A", 4)]], [(0.0, 1.0)], gang=4, tenancies=(Tenancy("t0", total=3),)))
    assert "quotas" in run.rejected[0]


def test_reserved_nodes_are_for_their_tenant_alone() -> None:
    kept = Reservation("r", ("n0",), 10.0, 50.0, tenants=("t1",))
    jobs = [(0.0, 30.0), (12.0, 30.0), (12.0, 5.0)]
    problem = one_of([[("A", 1)]], jobs, of_tenant=[0, 0, 1], cluster={"reservations": (kept,)})
    run = play(problem, "best_fit")
    held = sorted((a.start_us // US_PER_S, a.end_us // US_PER_S, a.job) for a in run.allocations)
    assert held == [(0, 10, 0), (12, 17, 2), (50, 70, 0), (70, 100, 1)]
    assert run.ledger.by_cause()["incompatible"] == pytest.approx(2.0 + 33.0)


def test_what_may_not_be_preempted_stays_on_reserved_nodes() -> None:
    kept = Reservation("r", ("n0",), 10.0, 50.0, jobs=("job1",))
    problem = one_of(
        [[("A", 1)]], [(0.0, 30.0), (12.0, 5.0)], cluster={"reservations": (kept,)},
        preemptible=False,
    )  # fmt: skip
    assert ends_s(play(problem)) == {0: 30.0, 1: 35.0}


def test_a_drained_node_empties_and_takes_nothing_new() -> None:
    drain = Outage("n0", 10.0, 60.0, "drain")
    jobs = [(0.0, 20.0), (0.0, 40.0), (15.0, 5.0)]
    run = play(one_of([[("A", 2)]], jobs, cluster={"outages": (drain,)}))
    assert ends_s(run) == {0: 20.0, 1: 40.0, 2: 65.0}
    assert run.ledger.by_cause()["down"] == pytest.approx(40.0 + 20.0)
    assert run.ledger.by_cause()["lost"] == 0


def test_a_failed_accelerator_leaves_the_rest_of_its_node_at_work() -> None:
    model = FailureModel(accelerator_mtbf_s=300.0, accelerator_repair_s=50.0)
    jobs = [(float(k), 40.0) for k in range(0, 400, 10)]
    problem = one_of([[("A", 4)], [("A", 4)]], jobs, cluster={"failures": model}, checkpoint_s=10.0)
    runs = [play(problem, seed=seed) for seed in range(10)]
    struck = [c for run in runs for c in run.crashes]
    assert {d.cause for run in runs for d in run.downs} == {"accelerator"}
    assert struck
    assert all(c.node >= 0 for c in struck)
    assert all(len(run.finished_us) == len(jobs) for run in runs)
    assert sum(metrics_of(problem, run).restarts for run in runs) == len(struck)


def test_accelerators_fail_as_often_as_they_should() -> None:
    model = FailureModel(accelerator_mtbf_s=1000.0, accelerator_repair_s=1.0, repair_sigma=0.0)
    problem = one_of([[("A", 8)]] * 4, [(0.0, 1.0)], cluster={"failures": model})
    found = [len(play(problem, seed=s, horizon_s=1000.0).downs) for s in range(40)]
    assert np.mean(found) == pytest.approx(32, abs=4 * math.sqrt(32 / 40))


def test_a_switch_takes_its_whole_domain_along() -> None:
    model = FailureModel(switch_mtbf_s=100.0, switch_repair_s=5.0)
    problem = one_of([[("A", 2)] * 3] * 2, [(0.0, 300.0)] * 4, cluster={"failures": model})
    run = play(problem, horizon_s=300.0)
    at: dict[int, set[int]] = {}
    for down in run.downs:
        at.setdefault(down.start_us, set()).add(down.node)
    assert at
    assert all(nodes in ({0, 1, 2}, {3, 4, 5}) for nodes in at.values())


def test_a_wide_gang_crashes_in_proportion_to_its_width() -> None:
    model = FailureModel(crash_accelerator_s=400.0)
    crashes = {}
    for gang in (1, 4):
        problem = one_of(
            [[("A", gang)]], [(0.0, 100.0)], gang, cluster={"failures": model}, checkpoint_s=1e-3
        )
        crashes[gang] = np.mean([len(play(problem, seed=s).crashes) for s in range(200)])
    assert crashes[1] == pytest.approx(0.25, abs=0.14)
    assert crashes[4] == pytest.approx(1.0, abs=0.28)


def test_crashes_meet_a_job_at_the_same_points_of_its_life_under_every_policy() -> None:
    model = FailureModel(crash_accelerator_s=50.0)
    problem = one_of(
        [[("A", 2)]], [(0.0, 60.0), (1.0, 80.0), (2.0, 20.0)], cluster={"failures": model},
        checkpoint_s=5.0,
    )  # fmt: skip
    lives = []
    for policy in ("fifo", "srtf"):
        run = play(problem, policy, seed=4)
        held: dict[int, int] = {}
        points: dict[int, list[int]] = {}
        crashes = {(c.job, c.at_us) for c in run.crashes}
        for a in sorted(run.allocations, key=lambda a: a.start_us):
            held[a.job] = held.get(a.job, 0) + a.end_us - a.start_us
            if (a.job, a.end_us) in crashes:
                points.setdefault(a.job, []).append(held[a.job])
        lives.append(points)
    assert lives[0]
    for job in lives[0].keys() & lives[1].keys():
        for one, other in zip(lives[0][job], lives[1][job], strict=False):
            assert abs(one - other) <= 10


def test_labels_host_resources_and_spread_decide_where_jobs_go() -> None:
    two = [[("A", 4)], [("A", 4)]]
    eu, us = (("region", "eu"),), (("region", "us"),)
    run = play(one_of(two, [(0.0, 9.0)] * 2, labels=(us, eu)))
    assert {a.placement.nodes for a in run.allocations} == {(0,)}
    labelled = one_of(two, [(0.0, 9.0)] * 2, labels=(us, eu))
    kind = dataclasses.replace(labelled.workload.classes[0], labels=eu)
    load = dataclasses.replace(labelled.workload, classes=(kind,))
    run = play(dataclasses.replace(labelled, workload=load))
    assert {a.placement.nodes for a in run.allocations} == {(1,)}

    host = one_of(two, [(0.0, 9.0)] * 3, cpus=10.0)
    kind = dataclasses.replace(host.workload.classes[0], cpus=6.0)
    load = dataclasses.replace(host.workload, classes=(kind,))
    assert sorted(starts_s(play(dataclasses.replace(host, workload=load))).values()) == [0, 0, 9]

    apart = play(one_of(two, [(0.0, 9.0)] * 3, apart="pod"))
    assert sorted(starts_s(apart).values()) == [0.0, 0.0, 9.0]
    near = play(one_of(two, [(0.0, 9.0)] * 3, gang=2, near="pod"))
    assert sorted(starts_s(near).values()) == [0.0, 0.0, 9.0]


class MoveOnce:
    """Moves its first job to the other node at 10 s."""

    def __init__(self, mode: int) -> None:
        self._mode = mode

    def decide(self, view: View) -> None:
        for job in sorted(view.waiting):
            view.start(job, 0, Placement((0,), (1,)))
        if view.now_us == 10 * US_PER_S:
            view.move(0, self._mode, Placement((1,), (1 + self._mode,)))
        view.wake_at(10 * US_PER_S)


@pytest.mark.parametrize(("mode", "end_s"), [(0, 103.0), (1, 58.0)])
def test_moves_and_resizes_pay_their_restart_and_are_counted(mode: int, end_s: float) -> None:
    problem = one_of([[("A", 2)], [("A", 2)]], [(0.0, 97.0)], restart_s=3.0)
    kind = dataclasses.replace(problem.workload.classes[0], gang=(1, 2))
    two = Mode((Group(0, 2, 2),), 0, 2.0, 2.0, 800.0)
    load = dataclasses.replace(problem.workload, classes=(kind,))
    problem = dataclasses.replace(problem, workload=load, modes=((*problem.modes[0], two),))
    run = play(problem, MoveOnce(mode))
    assert ends_s(run) == {0: end_s}  # 7 s of work by 10 s, 3 s of restart, then the rest
    metrics = metrics_of(problem, run)
    assert (metrics.moves, metrics.resizes, metrics.preemptions) == (1 - mode, mode, 0)


def test_the_view_knows_priorities_tenants_and_limits() -> None:
    seen = []

    class Look:
        def decide(self, view: View) -> None:
            for job in sorted(view.waiting):
                view.start(job, *(view.find(job) or (0, Placement((), ()))))
            seen.append((view.tenant_holds(), view.tenant_used_s()))
            assert [view.priority(j) for j in (0, 1)] == [7, 0]
            assert view.limit_s(0) == 50.0
            assert math.isnan(view.limit_s(1))
            assert view.tenancy(1).share == 3.0
            assert [view.tenant_of(j) for j in (0, 1)] == [0, 1]

    columns = {"priority": np.array([7, 0]), "limit_s": np.array([50.0, math.nan])}
    problem = one_of(
        [[("A", 4)]], [(0.0, 10.0), (4.0, 10.0)], 2, of_tenant=[0, 1], columns=columns,
        tenancies=(Tenancy("t1", share=3.0),),
    )  # fmt: skip
    play(problem, Look())
    assert seen[:3] == [
        ([[2], [0]], [0.0, 0.0]), ([[2], [2]], [8.0, 0.0]), ([[0], [2]], [20.0, 12.0])
    ]  # fmt: skip


def test_a_policy_that_breaks_a_rule_is_told_which() -> None:
    class Careless:
        def decide(self, view: View) -> None:
            for job in sorted(view.waiting):
                view.start(job, 0, Placement((0,), (1,)))

    problem = one_of([[("A", 4)]], [(0.0, 9.0)] * 2, tenancies=(Tenancy("t0", total=1),))
    with pytest.raises(PolicyError, match="job 1 is beyond the quota of its tenant"):
        play(problem, Careless())
