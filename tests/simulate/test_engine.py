"""What must hold of any run, of any policy, at any information level."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from random_problems import fleet, random_problem, workload

from scheduler.core.cluster import FailureModel, Outage, Site
from scheduler.core.ledger import Cause
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.units import US_PER_S
from scheduler.core.workload import JobClass, RunTimePhysics, Service
from scheduler.policies import INFORMATION_LEVELS, names
from scheduler.simulate import simulate
from scheduler.verify import recompute_idle, verify_run

POLICIES = ["fifo", "easy_backfill", "srtf", "best_fit", "optimizer"]


def one_pod(
    nodes: int,
    size: int,
    classes: tuple[JobClass, ...],
    counts: list[int],
    jobs: list[tuple[int, float, float]],
    **more: object,
) -> Problem:
    """One type, one pod; class c needs `counts[c]` accelerators in a node, rate 1."""
    cluster, names_, domains, pools = fleet([[("A", size)] * nodes], **more)  # type: ignore[arg-type]
    class_of = [c for c, _, _ in jobs]
    load = workload(classes, class_of, [r for _, r, _ in jobs], [w for _, _, w in jobs])
    modes = tuple((Mode((Group(0, k, k),), 0, 1.0, 1.0, 400.0 * k),) for k in counts)
    levels = ("node", "pod", "site", "fleet")
    return Problem(cluster, load, names_, levels, domains, pools, modes)


def rigid(name: str, restart_s: float = 0.0, **more: object) -> JobClass:
    return JobClass(name, RunTimePhysics(), (1,), restart_s=restart_s, **more)  # type: ignore[arg-type]


def ends_s(run: object) -> dict[int, float]:
    return {j: e / US_PER_S for j, e in run.finished_us.items()}  # type: ignore[attr-defined]


def test_every_policy_is_tested() -> None:
    assert set(POLICIES) <= set(names())


@pytest.mark.parametrize("policy", POLICIES)
def test_random_runs_are_verified_and_balance(policy: str) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        problem = random_problem(rng)
        if rng.random() < 0.3:
            failing = dataclasses.replace(
                problem.cluster, failures=FailureModel(node_mtbf_s=150.0, repair_s=20.0)
            )
            problem = dataclasses.replace(problem, cluster=failing)
        information = INFORMATION_LEVELS[seed % 3]
        horizon_s = float(rng.choice([100.0, 3000.0]))
        run = simulate(
            problem,
            policy,
            seed=seed,
            information=information,
            noise_sigma=0.2 * (seed % 2),
            horizon_s=None if (arrivals := seed % 5 == 0) else horizon_s,
            account="arrivals" if arrivals else "run",
        )
        assert verify_run(problem, run) == [], f"seed {seed}"
        assert run.ledger.total_us() == sum(problem.capacity()) * run.ledger_end_us
        assert arrivals or run.ledger_end_us == run.horizon_us
        idle = recompute_idle(problem, run)
        booked = run.ledger.amount_us[:, int(Cause.POWER_CAP) :]
        assert np.array_equal(np.asarray(idle)[:, int(Cause.POWER_CAP) :], booked), f"seed {seed}"


@pytest.mark.parametrize("policy", POLICIES)
def test_same_seed_same_run_and_other_seed_other_noise(policy: str) -> None:
    problem = random_problem(np.random.default_rng(12))
    runs = [simulate(problem, policy, seed=s, noise_sigma=0.3) for s in (1, 1, 2)]
    assert dataclasses.replace(runs[0], ledger=runs[1].ledger) == runs[1]
    assert np.array_equal(runs[0].ledger.amount_us, runs[1].ledger.amount_us)
    assert runs[0].actual_work != runs[2].actual_work


@pytest.mark.parametrize("policy", POLICIES)
def test_one_job_alone_takes_its_restart_and_its_work(policy: str) -> None:
    problem = one_pod(1, 4, (rigid("a", 30.0),), [2], [(0, 10.0, 100.0)])
    run = simulate(problem, policy)
    assert ends_s(run) == {0: 140.0}
    causes = run.ledger.by_cause()
    assert causes["reconfiguration"] == 60.0
    assert causes["productive"] == 200.0
    assert causes["no_demand"] == 4 * 140.0 - 260.0


def test_fifo_blocks_backfill_passes_and_idle_says_so() -> None:
    classes = (rigid("wide"), rigid("narrow"))
    # job 0 holds 3 of 4 until 100; job 1 wants 4; job 2 wants 1 for 50 s.
    jobs = [(2, 0.0, 100.0), (0, 1.0, 10.0), (1, 2.0, 50.0)]
    problem = one_pod(1, 4, (*classes, rigid("three")), [4, 1, 3], jobs)
    fifo = simulate(problem, "fifo")
    assert ends_s(fifo) == {0: 100.0, 1: 110.0, 2: 160.0}
    assert fifo.ledger.by_cause()["policy"] == pytest.approx(98.0)
    easy = simulate(problem, "easy_backfill")
    assert ends_s(easy) == {0: 100.0, 1: 110.0, 2: 52.0}
    assert easy.ledger.by_cause()["policy"] == 0
    assert easy.ledger.by_cause()["gang_wait"] == pytest.approx(1.0 + 48.0)


def test_backfill_never_delays_the_head() -> None:
    # the narrow job would end after the head's reservation and hold what the head needs
    jobs = [(2, 0.0, 100.0), (0, 1.0, 10.0), (1, 2.0, 500.0)]
    classes = (rigid("wide"), rigid("narrow"), rigid("three"))
    run = simulate(one_pod(1, 4, classes, [4, 1, 3], jobs), "easy_backfill")
    assert ends_s(run) == {0: 100.0, 1: 110.0, 2: 610.0}


def test_srtf_preempts_the_longest_and_pays_the_restart() -> None:
    problem = one_pod(1, 1, (rigid("a", 5.0),), [1], [(0, 0.0, 1000.0), (0, 100.0, 10.0)])
    run = simulate(problem, "srtf")
    # 5 + 95 done by 100; the short one takes 5 + 10; then 5 + 905 are left
    assert ends_s(run) == {1: 115.0, 0: 1025.0}
    assert run.ledger.by_cause()["reconfiguration"] == 15.0


def test_mean_jct_of_srtf_is_optimal_on_one_machine() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        n = 6
        jobs = sorted((float(r), float(w)) for r, w in rng.integers(1, 30, (n, 2)))
        problem = one_pod(1, 1, (rigid("a"),), [1], [(0, r, w) for r, w in jobs])
        mean = np.mean(list(ends_s(simulate(problem, "srtf")).values()))
        assert mean == pytest.approx(_srpt_mean_end(jobs))
        optimizer = np.mean(list(ends_s(simulate(problem, "optimizer")).values()))
        assert optimizer >= mean - 1e-9


def _srpt_mean_end(jobs: list[tuple[float, float]]) -> float:
    left = [w for _, w in jobs]
    ends = [0.0] * len(jobs)
    now = 0.0
    while any(left):
        ready = [i for i, (r, _) in enumerate(jobs) if r <= now and left[i] > 0]
        future = [r for r, _ in jobs if r > now]
        if not ready:
            now = min(future)
            continue
        job = min(ready, key=lambda i: (left[i], i))
        step = min([left[job], *[r - now for r in future]])
        now += step
        left[job] -= step
        ends[job] = now
    return float(np.mean(ends))


def test_a_failure_loses_what_came_after_the_checkpoint() -> None:
    classes = (rigid("a", 10.0, checkpoint_s=60.0),)
    problem = one_pod(1, 2, classes, [2], [(0, 0.0, 500.0)], outages=(Outage("n0", 200.0, 260.0),))
    run = simulate(problem, "fifo")
    # 190 s of work at 200, 180 of it safe; restart at 260
    assert run.allocations[0].lost_work == pytest.approx(10.0)
    assert ends_s(run) == {0: 260.0 + 10.0 + 320.0}
    causes = run.ledger.by_cause()
    assert causes["lost"] == pytest.approx(20.0)
    assert causes["down"] == pytest.approx(120.0)


def test_the_power_cap_holds_back_and_is_named() -> None:
    site = Site("s0", power_cap_w=300.0 + 2 * 40.0 + (400.0 - 40.0) + 1.0)
    jobs = [(0, 0.0, 50.0), (0, 0.0, 50.0)]
    problem = one_pod(1, 2, (rigid("a"),), [1], jobs, sites=(site,))
    run = simulate(problem, "fifo")
    assert ends_s(run) == {0: 50.0, 1: 100.0}
    assert run.ledger.by_cause()["power_cap"] == pytest.approx(50.0)


def test_a_job_that_fits_nowhere_is_rejected_with_the_reason() -> None:
    problem = one_pod(2, 4, (rigid("a"), rigid("b")), [8, 1], [(0, 0.0, 5.0), (1, 0.0, 5.0)])
    run = simulate(problem, "fifo")
    assert dict(run.rejected) == {0: "no mode fits the empty fleet under its power caps"}
    assert ends_s(run) == {1: 5.0}


def test_a_service_is_served_and_its_headroom_booked() -> None:
    service = Service(
        "chat", RunTimePhysics(), (1,),  # type: ignore[arg-type]
        np.array([0.0, 100.0]), np.array([10.0, 2.0]), load_s=10.0, end_s=200.0, arrivals="steady",
    )  # fmt: skip
    problem = one_pod(1, 4, (rigid("a"),), [1], [(0, 0.0, 300.0)])
    problem = dataclasses.replace(
        problem,
        workload=dataclasses.replace(problem.workload, services=(service,)),
        service_modes=((Mode((Group(0, 1, 1),), 0, 5.5, 5.5, 400.0),),),
    )
    run = simulate(problem, "fifo")  # 10 % headroom over the peak of 10: two replicas of 5.5
    assert run.demanded == (pytest.approx(1200.0),)
    assert run.served == (pytest.approx(1200.0 - 100.0),)  # nothing while they load
    causes = run.ledger.by_cause()
    used_s = 2 * (90 * 10 / 11 + 100 * 2 / 11)
    assert causes["headroom"] == pytest.approx(2 * 190 - used_s, abs=1e-3)
    assert causes["productive"] == pytest.approx(300.0 + used_s, abs=1e-3)
