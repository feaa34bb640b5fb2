"""Quotas, reservations, outages, dates, services: rows of the plan against exhaustive search."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from test_plan_bound import CASES

from scheduler.core.bounds import AS_MUCH_SERVED, EVERY_SCHEDULE, lower_bounds
from scheduler.core.cluster import Outage, Reservation
from scheduler.core.problem import Problem
from scheduler.core.workload import RunTimePhysics, Service, Tenancy
from scheduler.execute.bounding import bounds_of
from scheduler.simulate import simulate
from scheduler.solver.plan import Dates, Requests, plan_all, plan_bound, plan_jobs, priced_bound
from scheduler.solver.plan.limits import least_ratio
from scheduler.solver.plan.resources import fleet_of
from scheduler.solver.plan.rows import ALL_TYPES, QuotaRow, label_rows, quota_rows

EFFORT = {"buckets": 16, "rounds": 12}


@dataclass(frozen=True)
class Case:
    """A problem, and what its exhaustive search needs: supplies by second, uses by job and mode."""

    problem: Problem
    supply: tuple[tuple[int, ...], ...]
    use: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def jobs(self):
        return self.problem.workload.jobs


def span(rng: np.random.Generator) -> tuple[float, float]:
    start = int(rng.integers(0, 5))
    return float(start), float(start + rng.integers(1, 6))


def draw(rng: np.random.Generator) -> Case:
    """A small case with two tenants, quotas, an outage and a reservation."""
    capacity, kinds, jobs = CASES.random_case(rng)
    problem = CASES.problem_of(capacity, kinds, jobs)
    n, types = len(jobs), len(capacity)
    tenant = rng.integers(0, 2, n)
    tenancies = []
    for name in ("a", "b"):
        if rng.random() < 0.7:
            quota = {t: int(rng.integers(1, 3)) for t in problem.types if rng.random() < 0.5}
            total = int(rng.integers(1, 4)) if rng.random() < 0.5 else None
            borrow = None if rng.random() < 0.3 else int(rng.integers(0, 2))
            tenancies.append(Tenancy(name, 1.0, quota, total, borrow))
    outages = (Outage("n0", *span(rng)),) if rng.random() < 0.4 else ()
    window = span(rng)
    friend = bool(rng.random() < 0.5)
    kept = (Reservation("r", ("n0",), *window, ("a",) if friend else (), ("j0",)),)
    reservations = kept if rng.random() < 0.5 else ()
    columns = replace(problem.workload.jobs, tenant_index=tenant)
    workload = replace(
        problem.workload, jobs=columns, tenants=("a", "b"), tenancies=tuple(tenancies)
    )
    cluster = replace(problem.cluster, outages=outages, reservations=reservations)
    problem = replace(problem, cluster=cluster, workload=workload)

    sums: dict[str, int] = {}
    for rule in tenancies:
        every = dict(rule.quota) | ({"": rule.total} if rule.total is not None else {})
        for kind, count in every.items():
            sums[kind] = sums.get(kind, 0) + count
    limits = []
    for rule in tenancies:
        every = dict(rule.quota) | ({"": rule.total} if rule.total is not None else {})
        for kind, count in every.items():
            most = sums[kind] if rule.borrow is None else min(count + rule.borrow, sums[kind])
            limits.append((rule.tenant, kind, most))

    supply = []
    for now in range(80):
        up = list(capacity)
        if any(o.start_s <= now < o.end_s for o in outages):
            up[0] = 0
        outside = 0 if any(r.start_s <= now < r.end_s for r in reservations) else up[0]
        supply.append((*up, *(most for _, _, most in limits), outside))
    use = []
    for j, job in enumerate(jobs):
        outsider = bool(reservations) and j != 0 and not (friend and tenant[j] == 0)
        rows = []
        for counts, _ in kinds[job.kind].modes:
            of_tenant = [
                (sum(counts) if kind == "" else counts[problem.types.index(kind)])
                * (name == ("a", "b")[tenant[j]])
                for name, kind, _ in limits
            ]
            rows.append((*counts, *of_tenant, counts[0] if outsider else 0))
        use.append(tuple(rows))
    assert types == len(problem.types)
    return Case(problem, tuple(supply), tuple(use))


def least(case: Case, cost: Callable[[int, float], float], combine: Callable) -> float:
    """The least combined cost of all ends, by exhaustive search over whole seconds.

    A change of mode, or a pause, costs the restart again. A job may end within a second.
    """
    problem, jobs = case.problem, case.jobs
    kinds = jobs.class_index.tolist()
    release = [int(t) for t in jobs.release_s]
    restart = [int(problem.workload.classes[k].restart_s) for k in kinds]
    rate = [[m.rate for m in problem.modes[k]] for k in kinds]
    options = [[None, *range(len(rate[j]))] for j in range(len(kinds))]
    choices = list(itertools.product(*options))
    needs = [
        [sum(case.use[j][m][r] for j, m in enumerate(c) if m is not None) for c in choices]
        for r in range(len(case.supply[0]))
    ]

    @functools.cache
    def best(now: int, state: tuple) -> float:
        if all(s is None for s in state):
            return 0.0
        if now >= len(case.supply):
            return float("inf")
        found = float("inf")
        for i, choice in enumerate(choices):
            if any(needs[r][i] > room for r, room in enumerate(case.supply[now])):
                continue
            if any(
                m is not None and (s is None or now < release[j])
                for j, (m, s) in enumerate(zip(choice, state, strict=True))
            ):
                continue
            after, paid = [], []
            for j, (m, s) in enumerate(zip(choice, state, strict=True)):
                if s is None or m is None:
                    after.append(s if s is None else (s[0], None, 0))
                    continue
                left, held, warm = s
                warm = restart[j] if held != m else warm
                if warm:
                    after.append((left, m, warm - 1))
                elif left <= rate[j][m] + 1e-9:
                    after.append(None)
                    paid.append(cost(j, now + left / rate[j][m]))
                else:
                    after.append((round(left - rate[j][m], 9), m, 0))
            found = min(found, combine([*paid, best(now + 1, tuple(after))]))
        return found

    return best(0, tuple((float(w), None, 0) for w in jobs.work))


def drawn(first: int, count: int) -> list[tuple[int, Case]]:
    """The first cases from a seed on that any schedule completes."""
    found: list[tuple[int, Case]] = []
    seed = first
    while len(found) < count:
        seed += 1
        case = draw(np.random.default_rng(seed))
        if len(case.jobs) <= 2 and np.isfinite(least(case, lambda _, end: end, sum)):
            found.append((seed, case))
    return found


def test_rows_are_below_the_optimum_and_near_it() -> None:
    tightness, lifted = [], 0
    for seed, case in drawn(0, 16):
        release_s = case.jobs.release_s
        best = least(case, lambda _, end: end, sum) / len(release_s) - release_s.mean()
        bound = plan_bound(case.problem, **EFFORT)
        assert bound.mean_jct_s <= best + 1e-9, seed
        bare = replace(
            case.problem,
            workload=replace(case.problem.workload, tenancies=()),
            cluster=replace(case.problem.cluster, reservations=()),
        )
        lifted += bound.mean_jct_s > 1.02 * plan_bound(bare, **EFFORT).mean_jct_s
        tightness.append(bound.mean_jct_s / best)
    assert np.mean(tightness) > 0.85
    assert lifted >= 2


def test_tardiness_is_below_the_optimum() -> None:
    tightness = []
    for seed, case in drawn(1000, 14):
        rng = np.random.default_rng(seed)
        n = len(case.jobs)
        due_s, weight = rng.integers(1, 7, n).astype(float), rng.uniform(0.2, 3.0, n)

        def late(j: int, end: float, due_s=due_s, weight=weight) -> float:
            return float(weight[j]) * max(0.0, end - float(due_s[j]))

        best = least(case, late, sum)
        dates = Dates(weight, due_s)
        plan = plan_jobs(case.problem, np.arange(n), case.jobs.work, dates, **EFFORT)
        assert plan.value is not None
        assert float(plan.value) <= best + 1e-9, seed
        tightness.append((float(plan.value) + 1e-3) / (best + 1e-3))
    assert np.mean(tightness) > 0.7


def test_least_ratios_are_below_the_optimum() -> None:
    tightness = []
    for seed, case in drawn(2000, 12):
        unit_s = np.random.default_rng(seed).uniform(0.5, 3.0, len(case.jobs))
        release_s = case.jobs.release_s

        def ratio(j: int, end: float, unit_s=unit_s, release_s=release_s) -> float:
            return (end - float(release_s[j])) / float(unit_s[j])

        best = least(case, ratio, max)
        every = np.arange(len(unit_s))
        found = least_ratio(case.problem, every, release_s, unit_s, 0.0, best, halvings=9)
        assert found <= best + 1e-9, seed
        tightness.append(found / best)
    assert np.mean(tightness) > 0.8


def test_limits_that_hold_lift_the_bound_and_others_cannot_be_kept() -> None:
    # One accelerator: the long job first, or it is late; the short one waits for it.
    kinds = [CASES.Kind((((1,), 1.0),))]
    problem = CASES.problem_of((1,), kinds, [CASES.Job(0, 0, 1.0), CASES.Job(0, 0, 4.0)])
    every, work = np.arange(2), problem.workload.jobs.work
    more = {"buckets": 24, "rounds": 60}
    free = plan_jobs(problem, every, work, Dates(np.ones(2)), **more)
    limits = Dates(np.ones(2), None, np.array([np.inf, 4.0]))
    bound = plan_jobs(problem, every, work, limits, **more)
    assert free.value is not None
    assert bound.value is not None
    assert 5.7 < float(free.value) <= 6.0
    assert 7.5 < float(bound.value) <= 9.0
    never = Dates(np.ones(2), None, np.array([np.inf, 3.9]))
    assert plan_jobs(problem, every, work, never, **EFFORT).value is None


def twelve(capacity: tuple[int, ...] = (4,)) -> Problem:
    kinds = [
        CASES.Kind(
            tuple(
                (tuple(int(t == k) for t in range(len(capacity))), 1.0)
                for k in range(len(capacity))
            )
        )
    ]
    return CASES.problem_of(capacity, kinds, [CASES.Job(0, 0, 1.0)] * 12)


def with_tenants(problem: Problem, tenant: Sequence[int], *rules: Tenancy) -> Problem:
    jobs = replace(problem.workload.jobs, tenant_index=np.array(tenant))
    workload = replace(problem.workload, jobs=jobs, tenants=("a", "b"), tenancies=rules)
    return replace(problem, workload=workload)


def test_a_quota_is_a_row_where_it_is_less_than_the_fleet() -> None:
    problem = with_tenants(twelve(), [0] * 12, Tenancy("a", 1.0, {"t0": 2}))
    assert quota_rows(problem) == (QuotaRow(0, 0, 2),)
    bound = plan_bound(problem, buckets=24, rounds=40).mean_jct_s  # two at once: six rounds
    assert 3.2 < bound <= 3.5
    lent = with_tenants(twelve(), [0] * 12, Tenancy("a", total=1, borrow=1), Tenancy("b", total=5))
    assert quota_rows(lent) == (QuotaRow(0, ALL_TYPES, 2),)
    assert 3.2 < plan_bound(lent, buckets=24, rounds=40).mean_jct_s <= 3.5
    alone = with_tenants(twelve(), [0] * 12, Tenancy("a", total=1, borrow=9), Tenancy("b", total=1))
    assert quota_rows(alone) == (QuotaRow(0, ALL_TYPES, 2),)  # no more than both quotas together
    roomy = with_tenants(twelve(), [0] * 12, Tenancy("a", 1.0, {"T0": 4, "T9": 1}))
    assert quota_rows(roomy) == ()
    idle = with_tenants(twelve(), [1] * 12, Tenancy("a", 1.0, {"T0": 1}))
    assert quota_rows(idle) == ()  # nothing of hers is there to be limited


def test_reserved_nodes_are_closed_to_preemptible_jobs_of_others() -> None:
    problem = twelve((2, 2))
    free = plan_bound(problem, buckets=24, rounds=40).mean_jct_s
    kept = Reservation("r", ("n0",), 0.0, 100.0, tenants=("b",))

    def reserved(problem: Problem) -> Problem:
        return replace(problem, cluster=replace(problem.cluster, reservations=(kept,)))

    others = reserved(with_tenants(problem, [0] * 12))
    assert 3.1 < plan_bound(others, buckets=24, rounds=40).mean_jct_s <= 3.5
    hers = reserved(with_tenants(problem, [1] * 12))
    assert plan_bound(hers, buckets=24, rounds=40).mean_jct_s == pytest.approx(free, rel=0.02)
    classes = tuple(replace(c, preemptible=False) for c in others.workload.classes)
    staying = replace(others, workload=replace(others.workload, classes=classes))
    assert plan_bound(staying, buckets=24, rounds=40).mean_jct_s == pytest.approx(free, rel=0.02)


def test_jobs_are_confined_to_nodes_with_their_labels() -> None:
    problem = twelve((2, 2))
    pods = tuple(
        replace(
            pod,
            nodes=tuple(replace(n, labels=(("region", "ab"[i]),)) for i, n in enumerate(pod.nodes)),
        )
        for pod in problem.cluster.pods
    )
    classes = tuple(replace(c, labels=(("region", "a"),)) for c in problem.workload.classes)
    asked = replace(
        problem,
        cluster=replace(problem.cluster, pods=pods),
        workload=replace(problem.workload, classes=classes),
    )
    rows = label_rows(asked)
    assert [(row.type_index, sorted(row.nodes)) for row in rows] == [(1, [])]
    assert 3.0 < plan_bound(asked, buckets=24, rounds=40).mean_jct_s <= 3.5  # two at once
    assert label_rows(problem) == ()


def serving(problem: Problem, demand_per_s: float) -> Problem:
    times_s = np.array([0.0])
    chat = Service(
        "chat", RunTimePhysics(), (1,), times_s, np.array([demand_per_s]), end_s=100.0, load_s=0.0,
        arrivals="steady",
    )  # fmt: skip
    replica = replace(problem.modes[0][0], rate=10.0)
    workload = replace(problem.workload, services=(chat,))
    return replace(problem, workload=workload, service_modes=((replica,),))


def test_what_a_run_served_it_took_from_the_jobs() -> None:
    problem = serving(twelve(), 20.0)
    more = {"buckets": 24, "rounds": 40}
    plans = [plan_all(problem, **more), plan_all(problem, **more, serving=True)]
    every = priced_bound(problem, plans)
    assert every.mean_jct_s <= 2.0  # four at once
    assert every.holds_for == EVERY_SCHEDULE
    # all served: two accelerators are left, six rounds of two
    full = priced_bound(problem, plans, asked=Requests([2000.0], [2000.0], 100.0))
    assert 3.0 < full.mean_jct_s <= 3.5
    assert full.holds_for == AS_MUCH_SERVED
    # 40 requests unserved leave four more accelerator-seconds: 4 by 1, 4 by 2, 2 by 3, 2 by 4
    most = priced_bound(problem, plans, asked=Requests([1960.0], [2000.0], 100.0))
    assert every.mean_jct_s < most.mean_jct_s <= (4 * 1 + 4 * 2 + 2 * 3 + 2 * 4) / 12
    none = priced_bound(problem, plans, asked=Requests([0.0], [2000.0], 100.0))
    assert none.mean_jct_s == pytest.approx(every.mean_jct_s)
    assert none.holds_for == EVERY_SCHEDULE


def test_the_bound_beside_a_run_says_what_it_holds_for() -> None:
    problem = serving(twelve(), 10.0)
    run = simulate(problem, "fifo")
    assert run.served[0] > 0.9 * run.demanded[0]
    bound = bounds_of(problem, run, "plan")
    done_s = np.array(list(run.finished_us.values())) / 1e6
    assert lower_bounds(problem).mean_jct_s < bound.mean_jct_s <= done_s.mean() + 2e-6
    assert (bound.proof, bound.holds_for) == ("plan", AS_MUCH_SERVED)
    assert bounds_of(problem, run, "quick").holds_for == EVERY_SCHEDULE


def test_jobs_that_wait_for_others_are_ready_when_those_can_end() -> None:
    kinds = [CASES.Kind((((1,), 1.0),), restart=1)]
    jobs = [CASES.Job(0, 0, float(w)) for w in (2, 3, 4)]
    problem = CASES.problem_of((9,), kinds, jobs)
    columns = replace(problem.workload.jobs, after=((), (0,), (0, 1)))
    chained = replace(problem, workload=replace(problem.workload, jobs=columns))
    # ends at 3, then 3 + 1 + 3, then 7 + 1 + 4
    bound = plan_bound(chained, **EFFORT).mean_jct_s
    assert bound == pytest.approx((3 + 7 + 12) / 3, rel=1e-6)


def test_a_share_of_an_accelerator_uses_its_part() -> None:
    problem = twelve()
    modes = tuple(tuple(replace(m, share_milli=300) for m in some) for some in problem.modes)
    shared = replace(problem, modes=modes)
    assert fleet_of(shared).tables[0].counts.tolist() == [[0.3]]
    # twelve thirds and a bit fit on four accelerators at once
    assert plan_bound(shared, buckets=24, rounds=40).mean_jct_s <= 1.0
    assert lower_bounds(shared).mean_jct_s <= 1.0
