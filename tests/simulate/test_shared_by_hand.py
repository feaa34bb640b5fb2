"""Jobs that share accelerators, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import LEVELS, fleet, workload

from scheduler.core.cluster import FailureModel, Node, Site
from scheduler.core.ledger import Cause
from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.run import Placement, Run, SharePlacement
from scheduler.core.tenant_use import tenant_use
from scheduler.core.workload import JobClass, RunTimePhysics, Tenancy
from scheduler.policies.view import View
from scheduler.simulate import simulate
from scheduler.verify import verify_run

WATTS = 400.0
Ask = tuple[float, float, float, float]
"""Share (a whole number: a gang), memory of a share in GB (0: its part), release, run time."""


def problem_of(asks: list[Ask], nodes: list[int], **fields: object) -> Problem:
    """Return a problem on nodes of 80 GB accelerators; jobs run for their time."""
    cluster, names, domains, pools = fleet([[("A", size) for size in nodes]], sites=(Site("s"),))
    kinds = list(dict.fromkeys((size, memory) for size, memory, _, _ in asks))
    classes, modes = [], []
    for size, memory in kinds:
        share = round(1000 * size) if size < 1 else 1000
        count = max(1, int(size))
        kind = JobClass(f"c{size}-{memory}", RunTimePhysics(), (count,), restart_s=0.0)
        classes.append(replace(kind, share_milli=share, memory_bytes=memory * 1e9, **fields))
        takes = (memory * 1e9 or 80e9 * share / 1000) if share < 1000 else 0.0
        group = Group(0, count, count)
        power_w = WATTS * count * share / 1000
        modes.append((Mode((group,), 0, 1.0, 1.0, power_w, memory_bytes=takes, share_milli=share),))
    jobs = workload(
        tuple(classes),
        [kinds.index((size, memory)) for size, memory, _, _ in asks],
        [release for *_, release, _ in asks],
        [run for *_, run in asks],
    )
    return Problem(cluster, jobs, names, LEVELS, domains, pools, tuple(modes))


def played(problem: Problem, policy: object = "fifo", **options: object) -> Run:
    run = simulate(problem, policy, **options)
    assert verify_run(problem, run) == []
    return run


def where(run: Run) -> dict[int, tuple[int, int]]:
    """Return node and device of each job."""
    return {a.job: (a.placement.nodes[0], a.placement.device) for a in run.allocations}


def seconds(run: Run, cause: Cause) -> float:
    return int(run.ledger.amount_us[:, cause].sum()) / 1e6


def test_parts_of_two_accelerators_are_not_one() -> None:
    asks = [(0.6, 0.0, 0.0, 100.0), (0.6, 0.0, 0.0, 100.0), (0.6, 0.0, 10.0, 50.0)]
    run = played(problem_of(asks, [2]))
    assert run.finished_us == {0: 100_000_000, 1: 100_000_000, 2: 150_000_000}
    assert where(run)[0] != where(run)[1]
    assert seconds(run, Cause.PRODUCTIVE) == pytest.approx(0.6 * 250)
    assert seconds(run, Cause.SHAPE) == pytest.approx(0.8 * 90)  # 0.4 + 0.4 would be enough
    assert seconds(run, Cause.NO_DEMAND) == pytest.approx(0.8 * 10 + 1.4 * 50)
    assert run.ledger.total_us() == 2 * 150_000_000


def test_what_is_left_is_too_little_in_all() -> None:
    asks = [(0.6, 0.0, 0.0, 100.0), (0.6, 0.0, 0.0, 50.0)]
    run = played(problem_of(asks, [1]))
    assert seconds(run, Cause.GANG_WAIT) == pytest.approx(0.4 * 100)
    assert run.finished_us[1] == 150_000_000


def test_a_whole_gang_waits_for_parts_that_would_be_enough() -> None:
    asks = [(0.6, 0.0, 0.0, 100.0), (0.5, 0.0, 0.0, 40.0), (1, 0.0, 0.0, 10.0)]
    run = played(problem_of(asks, [2]))
    # 0.4 + 0.5 are not one accelerator; when the second leaves, its device is free
    assert seconds(run, Cause.GANG_WAIT) == pytest.approx(0.9 * 40)
    assert run.finished_us[2] == 50_000_000
    asks = [(0.4, 0.0, 0.0, 100.0), (0.7, 0.0, 0.0, 100.0), (0.5, 80.0, 0.0, 10.0)]
    run = played(problem_of(asks, [2]))
    assert seconds(run, Cause.SHAPE) == pytest.approx(0.9 * 100)  # by its memory, it has none


def test_a_policy_that_lets_a_rest_lie_is_told_so() -> None:
    class Waits:
        def decide(self, view: View) -> None:
            for job in list(view.waiting):
                if view.now_us >= 10_000_000 or job == 0:
                    view.start(job, *view.find(job))
            view.wake_at(10_000_000)

    run = played(problem_of([(0.25, 0.0, 0.0, 40.0), (0.7, 0.0, 0.0, 10.0)], [1]), Waits())
    assert where(run) == {0: (0, 0), 1: (0, 0)}
    assert seconds(run, Cause.POLICY) == pytest.approx(0.75 * 10)
    assert seconds(run, Cause.NO_DEMAND) == pytest.approx(0.05 * 10 + 0.75 * 20)


def test_the_tightest_open_accelerator_is_taken() -> None:
    asks = [
        *[(0.5, 0.0, 0.0, 100.0), (0.7, 0.0, 0.0, 100.0), (0.25, 0.0, 1.0, 10.0)],
        *[(0.5, 0.0, 2.0, 10.0), (0.05, 0.0, 3.0, 10.0), (0.3, 0.0, 4.0, 10.0)],
    ]
    found = where(played(problem_of(asks, [2, 2]), "best_fit"))
    assert found[0] == (0, 0)
    assert found[1] == (0, 1)
    assert found[2] == (0, 1)  # leaves 0.05
    assert found[3] == (0, 0)  # leaves nothing
    assert found[4] == (0, 1)
    assert found[5] == (1, 0)  # one of its own


def test_memory_keeps_sharers_apart() -> None:
    asks = [(0.3, 50.0, 0.0, 10.0), (0.3, 50.0, 0.0, 10.0), (0.3, 30.0, 1.0, 5.0)]
    run = played(problem_of(asks, [2]))
    assert where(run) == {0: (0, 0), 1: (0, 1), 2: (0, 0)}
    assert max(a.end_us for a in run.allocations) == 10_000_000


def test_cpus_and_host_memory_go_with_the_job_not_with_its_share() -> None:
    asks = [(0.1, 0.0, 0.0, 10.0)] * 5
    problem = problem_of(asks, [4], cpus=8.0, host_memory_bytes=3e9)
    for limits, finish in (((16.0, 1e12), 30), ((64.0, 7e9), 30), ((40.0, 15e9), 10)):
        pods = tuple(
            replace(
                pod,
                nodes=tuple(replace(n, cpus=limits[0], host_memory_bytes=limits[1]) for n in nodes),
            )
            for pod in problem.cluster.pods
            for nodes in [pod.nodes]
        )
        limited = replace(problem, cluster=replace(problem.cluster, pods=pods))
        run = played(limited)
        assert max(run.finished_us.values()) == finish * 1_000_000
        assert {device for _, device in where(run).values()} == {0}


def test_quotas_count_shares_as_what_they_are() -> None:
    problem = problem_of([(0.3, 0.0, 0.0, 10.0)] * 7, [8])
    quota = (Tenancy("t0", quota={"A": 2}, total=1),)
    run = played(replace(problem, workload=replace(problem.workload, tenancies=quota)))
    starts = sorted(a.start_us for a in run.allocations)
    assert starts == [0] * 3 + [10_000_000] * 3 + [20_000_000]


def test_power_and_tenants_count_by_share() -> None:
    problem = problem_of([(0.25, 0.0, 0.0, 100.0), (0.5, 0.0, 0.0, 100.0)], [2])
    run = played(problem)
    node: Node = problem.cluster.nodes[0]
    idle_w = problem.cluster.accelerators["A"].idle_w
    draw_w = node.overhead_w + 2 * idle_w + 0.75 * (WATTS - idle_w)
    assert run.energy_j == pytest.approx(100 * draw_w)
    assert tenant_use(problem, run)[0].accelerator_s == pytest.approx(75.0)
    assert metrics_of(problem, run).utilisation == pytest.approx(75 / 200)


def test_a_power_cap_holds_back_a_share() -> None:
    problem = problem_of([(0.5, 0.0, 0.0, 100.0), (0.5, 0.0, 0.0, 100.0)], [1])
    idle_w = problem.cluster.accelerators["A"].idle_w
    cap_w = problem.cluster.nodes[0].overhead_w + idle_w + 0.7 * (WATTS - idle_w)
    site = replace(problem.cluster.sites[0], power_cap_w=cap_w)
    run = played(replace(problem, cluster=replace(problem.cluster, sites=(site,))))
    assert run.finished_us == {0: 100_000_000, 1: 200_000_000}
    assert seconds(run, Cause.POWER_CAP) == pytest.approx(50.0)


def test_an_accelerator_fails_with_all_that_share_it() -> None:
    model = FailureModel(accelerator_mtbf_s=60.0, accelerator_repair_s=20.0)
    problem = problem_of([(0.3, 0.0, 0.0, 100.0)] * 3, [1])
    problem = replace(problem, cluster=replace(problem.cluster, failures=model))
    run = played(problem, seed=2, horizon_s=2000.0)
    fell = sorted(d.start_us for d in run.downs)
    assert len(fell) >= 3
    for at_us in fell[:3]:
        assert sorted(a.job for a in run.allocations if a.end_us == at_us) == [0, 1, 2]
        assert sorted(c.job for c in run.crashes if c.at_us == at_us) == [0, 1, 2]


def test_who_names_a_node_alone_meets_other_sharers_there() -> None:
    class CountsWhole:
        def decide(self, view: View) -> None:
            for job in list(view.waiting):
                view.start(job, 0, Placement((1,), (1,)))

    run = played(problem_of([(0.4, 0.0, 0.0, 10.0)] * 2, [1, 1]), CountsWhole())
    assert where(run) == {0: (1, 0), 1: (1, 0)}
    assert all(isinstance(a.placement, SharePlacement) for a in run.allocations)
    assert run.allocations[0].placement.share_milli == 400


def test_a_preempted_sharer_leaves_the_others_running() -> None:
    asks = [(0.5, 0.0, 0.0, 100.0), (0.3, 0.0, 0.0, 100.0), (0.4, 0.0, 10.0, 20.0)]
    run = played(problem_of(asks, [1]), "srtf")
    assert run.finished_us[2] == 30_000_000
    held = [(a.job, a.start_us // 10**6, a.end_us // 10**6) for a in run.allocations]
    stopped = next(job for job, _, end in held if end == 10)
    kept = 1 - stopped
    assert [h for h in held if h[0] == kept] == [(kept, 0, 100)]


def test_remainders_close_to_the_microsecond() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        n = int(rng.integers(1, 30))
        asks = [
            (float(s) / 1000, 0.0, float(r), float(w))
            for s, r, w in zip(
                rng.integers(1, 1000, n),
                np.sort(rng.uniform(0, 3, n).round(6)),
                rng.uniform(1e-5, 2, n).round(6),
                strict=True,
            )
        ]
        run = played(problem_of(asks, [2, 1]))
        assert run.ledger.total_us() == 3 * run.horizon_us
