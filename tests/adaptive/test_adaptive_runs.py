"""Runs of adaptive jobs: every rule holds, books balance, damage is seen, bounds are below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_adaptive import GROUPS, random_problem

from scheduler.core.adaptive import AdaptiveProblem, AdaptiveRun, Application
from scheduler.core.errors import InfeasibleError, InputError, PolicyError
from scheduler.core.ledger import IDLE_CAUSES, Cause
from scheduler.physics.adaptive_tables import Tables
from scheduler.policies.adaptive import POLICIES, make_adaptive
from scheduler.policies.adaptive.view import AdaptiveView
from scheduler.simulate.adaptive.books import adaptive_ledger
from scheduler.simulate.adaptive.engine import simulate_adaptive
from scheduler.simulate.adaptive.placing import place
from scheduler.solver.adaptive.prices import PriceSearch, priced_plan
from scheduler.solver.adaptive_bound import adaptive_bounds
from scheduler.verify.adaptive import verify_adaptive

SETTINGS = [
    *[(name, "none", "known", "mean_jct") for name in POLICIES],
    ("sia", "none", "learned", "mean_jct"),
    ("optimizer", "exact", "known", "mean_jct"),
    ("optimizer", "exact", "learned", "mean_jct"),
    ("optimizer", "estimates", "known", "mean_jct"),
    ("optimizer", "estimates", "learned", "mean_jct"),
    ("optimizer", "none", "learned", "mean_jct"),
    ("optimizer", "exact", "known", "makespan"),
]


def played(
    problem: AdaptiveProblem,
    name: str,
    information: str = "none",
    rates: str = "known",
    objective: str = "mean_jct",
) -> tuple[AdaptiveRun, bool]:
    tables = Tables(problem)
    policy, agents = make_adaptive(
        name, tables, information=information, rates=rates, objective=objective
    )
    run = simulate_adaptive(problem, policy, agents, information=information, rates=rates)
    return run, policy.rigid


@pytest.mark.parametrize("setting", SETTINGS, ids="-".join)
@pytest.mark.parametrize("seed", range(3))
def test_every_rule_holds_and_the_books_balance(
    setting: tuple[str, str, str, str], seed: int
) -> None:
    problem = random_problem(seed)
    run, rigid = played(problem, *setting)
    assert verify_adaptive(problem, run, rigid=rigid) == []
    ledger = adaptive_ledger(problem, run, rigid=rigid)
    capacity = sum(g.accelerators for g in GROUPS)
    assert ledger.total_us() == capacity * run.horizon_s * 1_000_000
    assert (ledger.amount_us >= 0).all()
    held = sum(s.accelerators * (s.end_s - s.idle_s - s.start_s) for s in run.stints)
    assert ledger.total_us() - ledger.of(IDLE_CAUSES) == held * 1_000_000
    restarts = sum(s.accelerators * s.restart_s for s in run.stints)
    assert ledger.of([Cause.RECONFIGURATION]) == restarts * 1_000_000


def test_the_same_inputs_give_the_same_run() -> None:
    problem = random_problem(5)
    for name in ("gavel_max_min", "sia", "optimizer"):
        assert played(problem, name) == played(problem, name)


@pytest.mark.parametrize("seed", range(6))
def test_no_run_is_better_than_the_bounds(seed: int) -> None:
    problem = random_problem(seed, jobs=14)
    tables = Tables(problem)
    bounds = adaptive_bounds(tables, priced_plan(tables, 12))
    alone = adaptive_bounds(tables)
    assert bounds.mean_jct_h >= alone.mean_jct_h
    for name, information, objective in (
        ("sia", "none", "mean_jct"),
        ("optimizer", "exact", "mean_jct"),
        ("optimizer", "none", "mean_jct"),
        ("optimizer", "exact", "makespan"),
    ):
        run, _ = played(problem, name, information, "known", objective)
        jct = [end - job.release_s for end, job in zip(run.finished_s, problem.jobs, strict=True)]
        assert np.mean(jct) / 3600 >= bounds.mean_jct_h * (1 - 1e-9)
        assert run.horizon_s / 3600 >= bounds.makespan_h * (1 - 1e-9)


def test_a_crowd_lifts_the_bound_above_jobs_alone() -> None:
    problem = random_problem(1, jobs=4)
    crowd = replace(
        problem,
        jobs=tuple(
            replace(problem.jobs[0], id=f"job-{i}", release_s=0.0, application=1) for i in range(40)
        ),
    )
    tables = Tables(crowd)
    alone = adaptive_bounds(tables).mean_jct_h
    assert adaptive_bounds(tables, priced_plan(tables, 25)).mean_jct_h > 1.3 * alone


@pytest.mark.parametrize("seed", range(3))
def test_no_schedule_goes_beyond_the_last_round_when_played_to_the_second(seed: int) -> None:
    problem = random_problem(seed, jobs=4)
    first = replace(problem.jobs[0], release_s=0.0, application=seed)
    jobs = tuple(replace(first, id=f"job-{i}") for i in range(60))
    search = PriceSearch(Tables(replace(problem, jobs=jobs)))
    search.descend(12)
    search.refine()
    assert all(last <= search.rounds for _, path in search.paths for _, _, last in path.stays)


def one_epoch(restart_s: int) -> AdaptiveProblem:
    """Return one job whose every figure can be worked out by hand."""
    problem = random_problem(0, jobs=1)
    old: Application = problem.applications[problem.jobs[0].application]
    plain = replace(
        old,
        epoch_ends=np.array([1000.0]),
        grad_sqr=np.full((1, 5), 1.0),
        grad_var=np.full((1, 5), 1e-12),  # no noise: larger batches gain nothing
        slowdown=1.0,
        restart_s=restart_s,
    )
    return replace(
        problem,
        applications=(plain,),
        jobs=(replace(problem.jobs[0], application=0, release_s=30.0, batch=32, accelerators=1),),
    )


def test_a_lone_rigid_job_takes_wait_restart_and_its_iterations() -> None:
    problem = one_epoch(restart_s=100)
    run, _ = played(problem, "gavel_max_sum")
    rows = problem.applications[0].steps["new"].placements[(1,)]
    step_s = float(np.interp(32, rows[:, 0], rows[:, 1]))
    assert run.finished_s == (360 + 100 + round(1000 * step_s),)
    assert run.restarts == (1,)


DAMAGES = {
    "work": lambda run: replace(run, finished_s=(run.finished_s[0] + 1, *run.finished_s[1:])),
    "restarts": lambda run: replace(run, restarts=(run.restarts[0] + 1, *run.restarts[1:])),
    "restart": lambda run: changed(run, 0, restart_s=run.stints[0].restart_s + 1),
    "gang": lambda run: changed(run, 0, shape=(3,), nodes=(0,)),
    "nodes": lambda run: changed(run, 0, nodes=(99,) * len(run.stints[0].nodes)),
    "rounds": lambda run: changed(run, 0, start_s=run.stints[0].start_s + 1),
    "release": lambda run: changed(run, len(run.stints) - 1, start_s=0),
    "sync": lambda run: changed(run, 0, sync_s=run.stints[0].sync_s + 1),
    "overlap": lambda run: replace(run, stints=(run.stints[0], *run.stints)),
}


def changed(run: AdaptiveRun, i: int, **fields: object) -> AdaptiveRun:
    stints = list(run.stints)
    stints[i] = replace(stints[i], **fields)
    return replace(run, stints=tuple(stints))


@pytest.mark.parametrize("code", DAMAGES)
def test_the_verifier_sees_damage(code: str) -> None:
    problem = random_problem(2)
    run, _ = played(problem, "sia")
    found = {v.code for v in verify_adaptive(problem, DAMAGES[code](run))}
    assert code in found


def test_the_verifier_sees_a_node_held_twice() -> None:
    problem = random_problem(2)
    run, _ = played(problem, "optimizer", "exact")
    crowded = replace(
        run,
        stints=tuple(replace(s, nodes=tuple(range(len(s.nodes)))) for s in run.stints),
    )
    found = {v.code for v in verify_adaptive(problem, crowded)}
    assert "capacity" in found


def test_elastic_gangs_always_fit_and_keep_their_shape_when_others_move() -> None:
    problem = random_problem(0)
    rng = np.random.default_rng(3)
    held: dict[int, tuple[int, tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for _ in range(200):
        wanted, free = {}, [g.accelerators for g in GROUPS]
        for job in range(8):
            g = int(rng.integers(2))
            sizes = [1, 2, 4, 8] if g == 0 else [1, 2, 4, 8, 16]
            count = int(rng.choice(sizes))
            if count <= free[g]:
                free[g] -= count
                wanted[job] = (g, count)
        places = place(problem, wanted, held, packed=True)
        for job, (g, count) in wanted.items():
            shape, _ = places[job]
            per_node = GROUPS[g].per_node
            whole = (per_node,) * (count // per_node)
            assert shape == (whole if count >= per_node else (count,))
        held = {job: (g, places[job]) for job, (g, _) in wanted.items()}


def test_asking_for_more_than_there_is_is_the_policy_s_fault() -> None:
    class Greedy:
        name, round_s, rigid = "greedy", 60, False

        def decide(self, view: AdaptiveView) -> dict[int, tuple[int, int]]:
            return {s.job: (0, 8) for s in view.jobs}

    problem = random_problem(1)
    _, agents = make_adaptive("sia", Tables(problem))
    with pytest.raises(PolicyError, match="accelerators of old"):
        simulate_adaptive(problem, Greedy(), agents)


def test_unknown_names_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        make_adaptive("siaa", Tables(random_problem(0)), information="some", rates="guessed")
    assert len(caught.value.faults) == 3
    assert "did you mean 'sia'" in str(caught.value)


def test_a_rigid_gang_that_fits_nowhere_is_infeasible() -> None:
    problem = random_problem(1)
    wide = replace(problem, jobs=(replace(problem.jobs[0], accelerators=17), *problem.jobs[1:]))
    with pytest.raises(InfeasibleError, match="larger than any group of 16"):
        played(wide, "gavel_max_sum")
