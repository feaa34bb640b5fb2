"""The optimizer under quotas and the like: it preempts, stays legal, leaves no trace of trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_problems import fleet, workload
from random_terms import TERMS, random_terms

from scheduler.core.metrics import metrics_of
from scheduler.core.problem import Group, Mode, Problem
from scheduler.core.workload import JobClass, RunTimePhysics, Tenancy
from scheduler.policies import optimizer
from scheduler.policies.optimizer import Optimizer
from scheduler.policies.view import View
from scheduler.simulate import simulate
from scheduler.verify import verify_run


def shared_node(work: list[float], release_s: list[float], tenants: list[int]) -> Problem:
    """One node of four accelerators, gangs of two, two tenants that may hold two each."""
    cluster, names, domains, pools = fleet([[("A", 4)]], site_of_pod=[0])
    kind = JobClass("pair", RunTimePhysics(), (2,), restart_s=5.0)
    mode = Mode((Group(0, 2, 2),), 0, 1.0, 1.0, 100.0)
    jobs = workload((kind,), [0] * len(work), release_s, work, (), tenants)
    rules = (Tenancy("t0", total=2), Tenancy("t1", total=2))
    return Problem(
        cluster,
        replace(jobs, tenancies=rules),
        types=names,
        levels=("node", "pod", "site", "fleet"),
        domains=domains,
        pools=pools,
        modes=((mode,),),
    )


class Watched(Optimizer):
    """Holds what the rules say before each trial against what they say after it."""

    def __init__(self) -> None:
        super().__init__()
        self.trials = 0

    def decide(self, view: View) -> None:
        for job, running in view.running.items():
            before = self._answers(view)
            with view.without([job]):
                then = view.occupancy.copy()
                then.give(running.placement)
                view.place_job(job, running.mode, occupancy=then)
            assert self._answers(view) == before
            self.trials += 1
        super().decide(view)

    @staticmethod
    def _answers(view: View) -> list[object]:
        jobs = [*view.waiting, *view.running]
        return [view.place_job(j, m) for j in jobs for m in range(len(view.modes(j)))]


def test_trials_leave_the_rules_as_they_were() -> None:
    trials = 0
    for seed in range(60):
        problem = random_terms(np.random.default_rng([seed, 3]), TERMS[seed % len(TERMS)])
        watched = Watched()
        simulate(problem, watched, seed=seed, horizon_s=300.0)
        trials += watched.trials
    assert trials > 100


def test_a_short_job_takes_the_quota_of_a_long_one() -> None:
    problem = shared_node([9000.0, 5000.0, 100.0], [0.0, 0.0, 100.0], [1, 0, 0])
    run = simulate(problem, "optimizer")
    assert verify_run(problem, run) == []
    assert metrics_of(problem, run).preemptions == 1
    assert run.finished_us[2] < run.finished_us[1] < run.finished_us[0]


def test_nobody_is_stopped_whose_going_makes_no_room() -> None:
    # The other tenant's gang is worth least, but what it holds is not for the one that waits.
    problem = shared_node([9000.0, 50.0, 100.0], [0.0, 0.0, 10.0], [1, 0, 0])
    run = simulate(problem, "optimizer")
    assert verify_run(problem, run) == []
    assert metrics_of(problem, run).preemptions == 0


@pytest.mark.parametrize("information", ["exact", "estimates", "none"])
def test_it_is_ahead_of_backfilling_where_placement_is_restricted(information: str) -> None:
    ratios = []
    for seed in range(40):
        problem = random_terms(np.random.default_rng([seed, 11]), TERMS[seed % len(TERMS)])
        found = []
        for policy in ("easy_backfill", "optimizer"):
            run = simulate(problem, policy, seed=seed, information=information, horizon_s=4000.0)
            assert verify_run(problem, run) == []
            found.append((len(run.finished_us), metrics_of(problem, run).mean_jct_s))
        if found[0][0] == found[1][0] > 0:
            ratios.append(found[1][1] / found[0][1])
    assert len(ratios) > 20
    assert float(np.mean(np.log(ratios))) <= 0.0


def test_large_fleets_are_decided_by_counts(
    small_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = metrics_of(small_problem, simulate(small_problem, "optimizer"))
    monkeypatch.setattr(optimizer, "LARGE_FLEET", 1)
    run = simulate(small_problem, "optimizer")
    assert verify_run(small_problem, run) == []
    assert run.solver["exact_rounds"] == 0
    assert metrics_of(small_problem, run).mean_jct_s <= 1.05 * usual.mean_jct_s
