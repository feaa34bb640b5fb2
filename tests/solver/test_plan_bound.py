"""The plan's bound is below every schedule, at least the combinatorial one, and exact in parts."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bound_trials import hold_many_below

from scheduler.core.bounds import lower_bounds
from scheduler.core.cluster import FailureModel, Outage
from scheduler.core.workload import RunTimePhysics, Service
from scheduler.solver.plan import Dates, plan_all, plan_bound, plan_jobs, priced_bound
from scheduler.solver.plan.groups import coarser, cut_time, group_jobs
from scheduler.solver.plan.proof import proved_value
from scheduler.solver.plan.resources import fleet_of, requests
from scheduler.solver.plan.rows import usable_power_rows
from scheduler.solver.plan.schedules import cheapest_schedules

TESTS = Path(__file__).resolve().parents[1]


def exhaustive() -> ModuleType:
    """The small cases and the exhaustive search that the combinatorial bounds are held to."""
    where = importlib.util.spec_from_file_location("cases", TESTS / "core" / "test_bounds.py")
    assert where is not None
    assert where.loader is not None
    module = importlib.util.module_from_spec(where)
    import sys

    sys.modules["cases"] = module
    where.loader.exec_module(module)
    return module


CASES = exhaustive()


def test_below_what_policies_reach() -> None:
    seen, wrong = hold_many_below(0, 30, buckets=10, rounds=4)
    assert wrong == []
    assert seen["runs"] == 30
    assert all(seen[term] for term in ("quota", "reservation", "drain", "services", "power cap"))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(1, 5))
def test_below_what_policies_reach_on_many(block: int) -> None:
    seen, wrong = hold_many_below(100_000 * block, 80, buckets=6, rounds=3)
    assert wrong == []
    assert seen["runs"] == 80


def below_the_optimum(rng: np.random.Generator, count: int) -> list[float]:
    tightness = []
    for _ in range(count):
        capacity, kinds, jobs = CASES.random_case(rng)
        total, _ = CASES.best_schedules(capacity, kinds, jobs)
        problem = CASES.problem_of(capacity, kinds, jobs)
        mean = total / len(jobs) - sum(j.release for j in jobs) / len(jobs)
        bound = plan_bound(problem, buckets=16, rounds=12).mean_jct_s
        assert bound <= mean + 1e-9
        tightness.append(bound / mean)
    return tightness


def test_below_the_optimum_of_small_cases_and_near_it() -> None:
    assert np.mean(below_the_optimum(np.random.default_rng(3), 6)) > 0.8


def list_schedule(rng: np.random.Generator, problem, step_s: float) -> float:
    """Mean completion of a random preemptive schedule on whole steps, restarts paid."""
    jobs, modes = problem.workload.jobs, problem.modes
    n = len(jobs)
    left = jobs.work.copy()
    done_s = np.full(n, -1.0)
    held: list[int] = [-1] * n
    warming = np.zeros(n)
    now = 0.0
    while (done_s < 0).any():
        room = np.array(problem.capacity())
        for j in rng.permutation(n).tolist():
            if done_s[j] >= 0 or jobs.release_s[j] > now:
                continue
            if rng.random() < 0.8 and held[j] >= 0:
                choices = [held[j]]
            else:
                choices = rng.permutation(len(modes[jobs.class_index[j]])).tolist()
            kind = problem.workload.classes[jobs.class_index[j]]
            for m in choices:
                use = np.zeros(len(room), dtype=np.int64)
                for group in modes[jobs.class_index[j]][m].groups:
                    use[group.type_index] += group.count
                if np.all(use <= room):
                    room -= use
                    if held[j] != m:
                        warming[j] = kind.restart_s
                    held[j] = m
                    warm = min(step_s, warming[j])
                    warming[j] -= warm
                    rate = modes[jobs.class_index[j]][m].rate
                    if left[j] <= rate * (step_s - warm):
                        done_s[j] = now + warm + left[j] / rate
                    left[j] -= rate * (step_s - warm)
                    break
            else:
                held[j] = -1
        now += step_s
    return float((done_s - jobs.release_s).mean())


def below_random_schedules(rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        capacity, kinds, jobs = CASES.random_case(rng)
        problem = CASES.problem_of(capacity, kinds, jobs)
        bound = plan_bound(problem, buckets=int(rng.integers(2, 9)), rounds=int(rng.integers(1, 4)))
        for _ in range(2):
            assert bound.mean_jct_s <= list_schedule(rng, problem, 1.0) + 1e-9


def test_below_random_schedules() -> None:
    below_random_schedules(np.random.default_rng(4), 60)


@pytest.mark.slow
def test_below_many_random_schedules() -> None:
    below_random_schedules(np.random.default_rng(5), 1650)


def planned(rng: np.random.Generator, dates: bool = False):
    capacity, kinds, jobs = CASES.random_case(rng)
    problem = CASES.problem_of(capacity, kinds, jobs)
    n = len(jobs)
    weight = rng.uniform(0.2, 3.0, n)
    fleet = fleet_of(problem)
    due_s = rng.choice([0.0, 5.0, 12.0], n) * dates
    limit_s = np.where(rng.random(n) < 0.3 * dates, rng.uniform(6.0, 40.0, n), np.inf)
    counting = Dates(weight, due_s, limit_s)
    groups = group_jobs(fleet, np.arange(n), problem.workload.jobs.work, counting)
    cut = cut_time(fleet, groups, float(rng.uniform(5, 60)), int(rng.integers(2, 12)))
    prices = rng.exponential(1.0, cut.supply.shape) * rng.choice([0.0, 0.1, 1.0, 5.0])
    return problem, groups, fleet.tables, cut, prices


def test_whole_numbers_prove_what_floating_point_says_and_never_more() -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        _, groups, tables, cut, prices = planned(rng)
        found = cheapest_schedules(groups, tables, cut, prices)
        loose = float((groups.count * found.cost).sum() - (prices * cut.supply).sum())
        proved = proved_value(groups, tables, cut, prices)
        assert isinstance(proved, Fraction)
        assert float(proved) <= loose + 1e-9 * max(1.0, abs(loose))
        assert float(proved) == pytest.approx(loose, rel=1e-6, abs=1e-4)


def test_the_cheapest_schedule_is_cheapest_and_a_schedule() -> None:
    from ortools.linear_solver import pywraplp

    rng = np.random.default_rng(7)
    for _ in range(25):
        _, groups, tables, cut, prices = planned(rng)
        found = cheapest_schedules(groups, tables, cut, prices)
        for g in range(len(groups)):
            table = tables[int(groups.kind[g])]
            best = np.inf
            for end in range(len(cut) + 1):  # one LP per bucket that it may complete in
                solver = pywraplp.Solver.CreateSolver("GLOP")
                work, price = [], []
                begin = np.maximum(cut.edges_s, groups.ready_s[g])
                for b in range(end + 1):
                    is_last = b == end
                    length = 1e9 if b == len(cut) else max(0.0, cut.edges_s[b + 1] - begin[b])
                    each = [solver.NumVar(0, length, "") for _ in table.rates]
                    solver.Add(sum(each) <= length)
                    for x, rate, counts in zip(each, table.rates, table.counts, strict=True):
                        per_s = float(counts @ prices[:, b]) if b < len(cut) else 0.0
                        work.append(float(rate) * x)
                        price.append((per_s + (groups.weight[g] if is_last else 0.0)) * x)
                solver.Add(sum(work) == float(groups.work[g]))
                solver.Minimize(sum(price))
                if solver.Solve() == pywraplp.Solver.OPTIMAL:
                    cost = groups.weight[g] * begin[end] + solver.Objective().Value()
                    best = min(best, cost)
            assert found.cost[g] == pytest.approx(best, rel=1e-6)
        assert np.all(found.usage >= -1e-9)


def test_prices_below_nothing_prove_nothing() -> None:
    _, groups, tables, cut, prices = planned(np.random.default_rng(8))
    with pytest.raises(ValueError, match="not negative"):
        proved_value(groups, tables, cut, prices - 100.0)


def test_a_roomy_fleet_leaves_each_job_alone() -> None:
    kinds = [CASES.Kind((((2,), 0.5), ((1,), 0.3)), restart=3)]
    jobs = [CASES.Job(0, r, w) for r, w in ((0, 5.0), (1, 2.0), (9, 1.0))]
    bound = plan_bound(CASES.problem_of((100,), kinds, jobs))
    assert bound.mean_jct_s == pytest.approx(3 + (10 + 4 + 2) / 3, abs=1e-5)


def test_one_accelerator_is_nearly_solved() -> None:
    # Shortest first: ends at 1, 3, 6, 10, 15.
    kinds = [CASES.Kind((((1,), 1.0),))]
    jobs = [CASES.Job(0, 0, float(w)) for w in (1, 2, 3, 4, 5)]
    bound = plan_bound(CASES.problem_of((1,), kinds, jobs), buckets=60, rounds=60)
    assert 0.97 * 7 < bound.mean_jct_s <= 7


def test_two_types_tell_what_one_machine_cannot() -> None:
    # Each class runs on its own type only; the short ones of one do not help the other.
    kinds = [CASES.Kind((((1, 0), 1.0),)), CASES.Kind((((0, 1), 1.0),))]
    jobs = [CASES.Job(0, 0, 1.0)] * 10 + [CASES.Job(1, 0, 10.0)] * 3
    problem = CASES.problem_of((1, 1), kinds, jobs)
    optimum = (55 + 60) / 13
    bound = plan_bound(problem, buckets=40, rounds=40)
    assert lower_bounds(problem).mean_jct_s < 0.9 * optimum
    assert 0.95 * optimum < bound.mean_jct_s <= optimum


def test_equal_jobs_are_one_group() -> None:
    kinds = [CASES.Kind((((1,), 1.0),))]
    problem = CASES.problem_of((4,), kinds, [CASES.Job(0, 0, 1.0)] * 40)
    groups = group_jobs(
        fleet_of(problem), np.arange(40), problem.workload.jobs.work, Dates(np.ones(40))
    )
    assert len(groups) == 1
    assert groups.count.tolist() == [40]
    assert 5.3 < plan_bound(problem).mean_jct_s <= 5.5


def test_coarser_groups_bound_from_below() -> None:
    rng = np.random.default_rng(10)
    for _ in range(10):
        capacity, kinds, _ = CASES.random_case(rng)
        jobs = [
            CASES.Job(
                int(rng.integers(len(kinds))), int(rng.integers(20)), float(rng.uniform(1, 9))
            )
            for _ in range(40)
        ]
        problem = CASES.problem_of(capacity, kinds, sorted(jobs, key=lambda j: j.release))
        work = problem.workload.jobs.work
        fleet = fleet_of(problem)
        fine = group_jobs(fleet, np.arange(40), work, Dates(np.ones(40)))
        rough = coarser(fine, 15)
        assert len(rough) < len(fine)
        assert rough.count.sum() == fine.count.sum() == 40
        assert rough.ready_s.max() <= fine.ready_s.max()
        cut = cut_time(fleet, fine, 60.0, 8)
        prices = rng.exponential(1.0, cut.supply.shape)
        exact = [proved_value(some, fleet.tables, cut, prices) for some in (rough, fine)]
        assert exact[0] <= exact[1]


def test_prices_of_a_plan_prove_nearly_as_much_of_other_work() -> None:
    rng = np.random.default_rng(21)
    kinds = [CASES.Kind((((2, 0), 1.0), ((0, 1), 0.4))), CASES.Kind((((1, 1), 2.0),))]
    jobs = [
        CASES.Job(int(rng.integers(2)), float(rng.integers(40)), float(rng.integers(1, 30)))
        for _ in range(60)
    ]
    problem = CASES.problem_of((3, 2), kinds, sorted(jobs, key=lambda j: j.release))
    plan = plan_all(problem)
    work = problem.workload.jobs.work * rng.lognormal(0.0, 0.1, 60)
    anew = plan_bound(problem, work)
    reused = priced_bound(problem, plan, work)
    assert anew.proof == reused.proof == "plan"
    assert reused.mean_jct_s > 0.98 * anew.mean_jct_s
    some = list(range(0, 60, 2))  # the prices are too high for half the jobs, and still prove
    assert lower_bounds(problem, work, some).mean_jct_s <= (
        priced_bound(problem, plan, work, some).mean_jct_s
    )
    assert priced_bound(problem, plan, work, []).jobs == 0


def test_a_coarse_plan_first_loses_nothing() -> None:
    rng = np.random.default_rng(22)
    capacity, kinds, _ = CASES.random_case(rng)
    jobs = [
        CASES.Job(int(rng.integers(len(kinds))), float(rng.integers(60)), float(rng.uniform(1, 9)))
        for _ in range(80)
    ]
    problem = CASES.problem_of(capacity, kinds, sorted(jobs, key=lambda j: j.release))
    staged = plan_bound(problem, buckets=40, rounds=40)
    direct = plan_bound(problem, buckets=31, rounds=60)
    assert staged.mean_jct_s > 0.99 * direct.mean_jct_s


def test_a_plan_starts_from_the_last_one() -> None:
    rng = np.random.default_rng(9)
    kinds = [CASES.Kind((((2, 0), 1.0), ((0, 1), 0.4))), CASES.Kind((((1, 1), 2.0),))]
    jobs = [CASES.Job(int(rng.integers(2)), 0, float(rng.integers(1, 30))) for _ in range(40)]
    problem = CASES.problem_of((3, 2), kinds, jobs)
    each = np.arange(40), problem.workload.jobs.work, Dates(np.ones(40))
    cold = plan_jobs(problem, *each)
    warm = plan_jobs(problem, *each, start=cold)
    assert warm.rounds <= cold.rounds
    assert float(warm.value) >= 0.995 * float(cold.value)
    assert float(cold.value) <= cold.lp_value + 1e-6
    again = plan_jobs(problem, *each)
    assert again.prices.tobytes() == cold.prices.tobytes()
    assert again.value == cold.value


def with_cap(problem, cap_w: float):
    site = replace(problem.cluster.sites[0], power_cap_w=cap_w)
    return replace(problem, cluster=replace(problem.cluster, sites=(site,)))


def test_a_power_cap_lifts_the_bound() -> None:
    # Twelve unit jobs on four accelerators: three rounds of four. Each adds 99 W to idle.
    kinds = [CASES.Kind((((1,), 1.0),))]
    problem = CASES.problem_of((4,), kinds, [CASES.Job(0, 0, 1.0)] * 12)
    modes = tuple(tuple(replace(mode, power_w=100.0) for mode in some) for some in problem.modes)
    problem = replace(problem, modes=modes)
    free = plan_bound(problem, buckets=24, rounds=40).mean_jct_s
    assert 1.9 < free <= 2.0
    idle_w = 4.0 + problem.cluster.nodes[0].overhead_w
    halved = with_cap(problem, idle_w + 2 * 99.0)  # two at once: six rounds
    assert 3.2 < plan_bound(halved, buckets=24, rounds=40).mean_jct_s <= 3.5
    assert plan_bound(with_cap(problem, 1e6), buckets=24, rounds=40).mean_jct_s <= 2.0


def test_no_power_row_where_it_would_not_hold() -> None:
    kinds = [CASES.Kind((((1,), 1.0),))]
    problem = with_cap(CASES.problem_of((4,), kinds, [CASES.Job(0, 0, 1.0)]), 500.0)
    assert len(usable_power_rows(problem)) == 1
    failing = replace(problem.cluster, failures=FailureModel(node_mtbf_s=1e6))
    assert usable_power_rows(replace(problem, cluster=failing)) == ()
    relieved = tuple(tuple(replace(m, power_w=0.0) for m in some) for some in problem.modes)
    assert usable_power_rows(replace(problem, modes=relieved)) == ()


def test_declared_outages_lift_the_bound() -> None:
    kinds = [CASES.Kind((((1, 0), 1.0), ((0, 1), 1.0)))]
    problem = CASES.problem_of((2, 2), kinds, [CASES.Job(0, 0, 1.0)] * 16)
    free = plan_bound(problem, buckets=24, rounds=40).mean_jct_s
    assert free <= 2.5
    outages = (Outage("n0", 0.0, 50.0), Outage("n0", 20.0, 60.0))
    down = replace(problem, cluster=replace(problem.cluster, outages=outages))
    assert 4.2 < plan_bound(down, buckets=24, rounds=40).mean_jct_s <= 4.5
    drain = (Outage("n0", 0.0, 50.0, "drain"),)
    drained = replace(problem, cluster=replace(problem.cluster, outages=drain))
    # nothing starts there any more; the plan knows that no job runs on for longer than 1 s
    assert 3.0 < plan_bound(drained, buckets=24, rounds=40).mean_jct_s <= 4.5


def test_services_served_in_full_leave_less_to_the_jobs() -> None:
    kinds = [CASES.Kind((((1,), 1.0),))]
    problem = CASES.problem_of((4,), kinds, [CASES.Job(0, 0, 1.0)] * 12)
    times_s, demand = np.array([0.0, 3.0]), np.array([10.0, 20.0])
    chat = Service("chat", RunTimePhysics(), (1,), times_s, demand, end_s=100.0)
    replica = replace(problem.modes[0][0], rate=10.0)
    workload = replace(problem.workload, services=(chat,))
    asked = replace(problem, workload=workload, service_modes=((replica,),))
    # One accelerator serves until 3, two from then on: 9 jobs end by 3, 11 by 4, 12 by 5.
    mean_s = (3 * (1 + 2 + 3) + 2 * 4 + 5) / 12
    bound = plan_bound(asked, buckets=40, rounds=40, serving=True).mean_jct_s
    assert 0.93 * mean_s < bound <= mean_s
    assert plan_bound(asked, buckets=40, rounds=40).mean_jct_s <= 2.0
    assert requests(asked, chat, np.array([0.0, 3.0, 5.0, 100.0, 200.0])).tolist() == [
        *(30.0, 40.0, 1900.0, 0.0)
    ]
