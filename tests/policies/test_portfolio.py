"""Rehearsals are what then happens; the optimizer's floor holds where it is promised."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from random_problems import random_problem

from scheduler.core.problem import Problem
from scheduler.core.random import stream
from scheduler.core.units import US_PER_S
from scheduler.generate import generate
from scheduler.io import load_cluster
from scheduler.io.results import run_to_json
from scheduler.physics.problem import build_problem
from scheduler.policies import Policy, View, portfolio
from scheduler.policies.optimizer import Optimizer
from scheduler.policies.portfolio import MEMBERS, OWN, PROMISED, Portfolio
from scheduler.policies.rehearsal import Rehearsal, Rehearsed, present_of
from scheduler.policies.view import Information
from scheduler.simulate import Engine, simulate
from scheduler.verify import verify_run


def all_at_once(seed: int, jobs: int = 40) -> Problem:
    """Return a contended problem whose jobs are all there at the start."""
    rng = stream(seed, "portfolio test")
    fleet = ("gavel-36", "sia-64")[seed % 2]
    workload = generate(
        ("llm-lab", "helios-like")[int(rng.integers(2))],
        seed=seed,
        days=0.5,
        mean_demand=50.0,
        max_gang=8,
        max_run_time_s=20_000.0,
    )
    columns = workload.jobs
    kept = rng.permutation(len(columns))[:jobs]
    cut = replace(
        columns,
        ids=tuple(f"j{i}" for i in range(len(kept))),
        release_s=np.zeros(len(kept)),
        **{
            name: getattr(columns, name)[kept]
            for name in ("class_index", "work", "estimate_s", "weight", "tenant_index")
        },
        deadline_s=np.full(len(kept), np.nan),
        priority=np.zeros(len(kept), dtype=np.int64),
        limit_s=np.full(len(kept), np.nan),
        after=(),
        array_index=np.zeros(0, dtype=np.int64),
    )
    return build_problem(load_cluster(fleet), replace(workload, jobs=cut))


def engine_of(problem: Problem, policy: Policy, information: Information = "exact") -> Engine:
    return Engine(
        problem, policy, policy_name="p", seed=0, information=information, noise_sigma=0.0,
        horizon_s=None, account="run",
    )  # fmt: skip


def total_s(problem: Problem, policy: Policy) -> float:
    """Return the weighted sum of completion times."""
    engine = engine_of(problem, policy)
    run = engine.run()
    weight = problem.workload.jobs.weight
    return math.fsum(weight[j] * us / US_PER_S for j, us in run.finished_us.items())


class Rehearsing:
    """Rehearses a policy at every arrival, then lets it decide."""

    def __init__(self, name: str) -> None:
        self._policy = MEMBERS[name]() if name != OWN else Optimizer(has_floor=False)
        self._name = name
        self.found: list[tuple[float, Rehearsed]] = []

    def decide(self, view: View) -> None:
        if not self.found:
            fresh = MEMBERS[self._name]() if self._name != OWN else Optimizer(has_floor=False)
            rehearsal = Rehearsal(view.problem, view.occupancy)
            played = rehearsal.play(fresh, present_of(view), most_decisions=100_000)
            self.found.append((view.now_s, played))
        self._policy.decide(view)


@pytest.mark.parametrize("name", [OWN, *MEMBERS])
def test_a_rehearsal_is_what_then_happens(name: str) -> None:
    for seed in range(6):
        problem = all_at_once(seed)
        policy = Rehearsing(name)
        reached = total_s(problem, policy)
        ((_, played),) = policy.found
        assert played.unfinished == 0
        assert played.there_s == pytest.approx(reached, rel=1e-9), f"seed {seed}"


def test_jobs_known_from_the_start_end_no_later_than_under_any_member() -> None:
    acted = set()
    for seed in range(10):
        problem = all_at_once(seed, 12 + 6 * seed)
        policy = Optimizer()
        ours = total_s(problem, policy)
        assert policy._floor is not None
        acted.add(policy._floor.acting)
        for name in portfolio.AT_LEVEL["exact"]:
            theirs = total_s(problem, MEMBERS[name]())
            assert ours * (1 - PROMISED) <= theirs * (1 + 1e-9), f"seed {seed}, {name}"
    assert OWN in acted


class Clumsy(Optimizer):
    """Starts one job at a time, whatever is free."""

    def __init__(self) -> None:
        super().__init__(has_floor=False)

    def decide(self, view: View) -> None:
        if not view.running and view.waiting:
            job = max(view.waiting, key=lambda j: (view.remaining_s(j), j))
            found = view.find(job)
            if found is not None:
                view.start(job, *found)


class Floored:
    """A bad rule with a floor."""

    def __init__(self) -> None:
        self.floor = Portfolio(lambda known: Clumsy())
        self._own = Clumsy()

    def decide(self, view: View) -> None:
        if view.waiting or view.running:
            self.floor.check(view)
            if not self.floor.act(view):
                self._own.decide(view)


@pytest.mark.parametrize("information", ["exact", "estimates", "none"])
def test_a_rule_that_is_worse_is_overruled_while_jobs_come(information: Information) -> None:
    workload = generate("helios-like", seed=3, days=0.2, mean_demand=60.0, max_gang=8)
    problem = build_problem(load_cluster("gavel-36"), workload)
    policy = Floored()
    run = engine_of(problem, policy, information).run()
    assert not verify_run(problem, run)
    assert policy.floor.switches > 0
    assert policy.floor.acting != OWN
    last_us = max(run.finished_us.values())
    assert last_us < max(simulate(problem, Clumsy()).finished_us.values())


def test_twins_come_as_often_as_jobs_came() -> None:
    problem = all_at_once(1, 30)
    found: list[Rehearsed] = []

    class Once:
        def decide(self, view: View) -> None:
            if found:
                return
            rehearsal = Rehearsal(view.problem, view.occupancy)
            alone = present_of(view)
            twins = tuple((view.now_us + 10**12, j, work) for j, (work, _) in alone.work.items())
            for present in (alone, replace(alone, coming=twins)):
                found.append(rehearsal.play(MEMBERS["srtf"](), present, most_decisions=10**6))

    engine = engine_of(problem, Once())
    engine.play(1)
    # once all jobs have ended, their twins come and do the same again
    assert found[1].unfinished == 0
    assert found[1].there_s == pytest.approx(2 * found[0].there_s, rel=1e-9)


def test_a_rehearsal_given_up_counts_as_unfinished() -> None:
    problem = all_at_once(2)
    found: list[Rehearsed] = []

    class Once:
        def decide(self, view: View) -> None:
            if not found:
                rehearsal, present = Rehearsal(view.problem, view.occupancy), present_of(view)
                for most, most_s in ((3, math.inf), (10**6, 1.0), (10**6, math.inf)):
                    played = rehearsal.play(
                        MEMBERS["sjf"](), present, most_decisions=most, most_s=most_s
                    )
                    found.append(played)

    engine_of(problem, Once()).play(1)
    short, cheap, whole = found
    assert short.unfinished
    assert cheap.unfinished
    assert not whole.unfinished
    assert whole.rank < cheap.rank


@pytest.mark.parametrize("information", ["exact", "none"])
def test_a_run_saved_while_a_baseline_acts_goes_on_the_same(information: Information) -> None:
    def bytes_of(engine: Engine) -> str:
        return json.dumps(run_to_json(engine.run()), sort_keys=True)

    for seed in range(5):
        problem = random_problem(np.random.default_rng([seed, 3]))
        whole = bytes_of(engine_of(problem, Floored(), information))
        for at_s in (20, 90):
            engine = engine_of(problem, Floored(), information)
            engine.play(at_s * US_PER_S)
            saved = json.loads(json.dumps(engine.save()))
            again = Engine.restore(problem, saved, Floored())
            assert bytes_of(again) == whole, f"seed {seed}"
