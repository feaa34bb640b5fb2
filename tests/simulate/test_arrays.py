"""Arrays of which at most so many jobs run at once."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_terms import RandomMover, random_terms
from test_terms_by_hand import ends_s, one_of, play, starts_s

import scheduler
from scheduler.core.errors import InputError
from scheduler.core.ledger import Cause
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.io import load_workload, parse_workload
from scheduler.io.results import run_to_json
from scheduler.policies import make
from scheduler.simulate import Engine, simulate
from scheduler.verify import verify_run

WORKLOAD = """\
schema: workload/1
title: Two arrays and a job
classes:
  - {name: one, run_time: {}, gang: 1, restart: 0 s}
jobs:
  - {id: late, class: one, run_time: 1 h, count: 3, at_once: 2, release: 5 h}
  - {id: wide, class: one, run_time: 1 h, count: 4, at_once: 1, release: 1 h, every: 2 h}
  - {id: free, class: one, run_time: 1 h, count: 2}
"""


def with_arrays(problem: Problem, index: list[int], most: tuple[int, ...]) -> Problem:
    jobs = replace(problem.workload.jobs, array_index=np.array(index), array_most=most)
    return replace(problem, workload=replace(problem.workload, jobs=jobs))


def random_arrays(seed: int) -> Problem:
    """Draw a problem with any terms, most of its jobs in one of two arrays."""
    rng = np.random.default_rng([seed, 91])
    problem = random_terms(rng)
    n = len(problem.workload.jobs)
    return with_arrays(
        problem, rng.integers(-1, 2, n).tolist(), tuple(rng.integers(1, 4, 2).tolist())
    )


def test_two_of_five_run_at_once_and_the_rest_of_the_capacity_is_booked() -> None:
    problem = with_arrays(one_of([[("A", 4)]], [(0.0, 10.0)] * 5), [0] * 5, (2,))
    run = play(problem)
    assert ends_s(run) == {0: 10.0, 1: 10.0, 2: 20.0, 3: 20.0, 4: 30.0}
    booked = run.ledger.by_cause()
    assert booked[Cause.INCOMPATIBLE.label] == 2 * 20, "2 of 4, while some are held back"
    assert booked[Cause.NO_DEMAND.label] == 3 * 10
    assert booked[Cause.PRODUCTIVE.label] == 5 * 10


def test_an_array_at_its_limit_blocks_nobody_behind_it() -> None:
    """Under strict order too: what has no turn is not in the queue."""
    jobs = [(0.0, 10.0), (0.0, 10.0), (1.0, 10.0)]
    problem = with_arrays(one_of([[("A", 2)]], jobs), [0, 0, -1], (1,))
    assert starts_s(play(problem, "fifo")) == {0: 0.0, 2: 1.0, 1: 10.0}


def test_a_turn_goes_to_the_first_that_is_ready() -> None:
    """Job 1 needs job 2, which is outside; job 3 goes before it."""
    jobs = [(0.0, 10.0), (0.0, 10.0), (0.0, 15.0), (4.0, 10.0)]
    problem = with_arrays(one_of([[("A", 4)]], jobs), [0, 0, -1, 0], (1,))
    columns = replace(problem.workload.jobs, after=((), (2,), (), ()))
    problem = replace(problem, workload=replace(problem.workload, jobs=columns))
    assert starts_s(play(problem)) == {0: 0.0, 2: 0.0, 3: 10.0, 1: 20.0}


def test_a_killed_job_gives_its_turn_back_and_what_needs_it_takes_none() -> None:
    jobs = [(0.0, 100.0), (0.0, 10.0), (0.0, 10.0)]
    problem = with_arrays(one_of([[("A", 4)]], jobs), [0, 0, 0], (1,))
    columns = replace(
        problem.workload.jobs, after=((), (0,), ()), limit_s=np.array([20.0, np.nan, np.nan])
    )
    problem = replace(problem, workload=replace(problem.workload, jobs=columns))
    run = play(problem)
    assert starts_s(run) == {0: 0.0, 2: 20.0}
    assert dict(run.cancelled) == {1: "needs job0, which reached its time limit"}


def test_what_is_held_back_at_the_end_still_waits() -> None:
    problem = with_arrays(one_of([[("A", 4)]], [(0.0, 10.0)] * 5), [0] * 5, (1,))
    run = play(problem, horizon_s=15.0)
    assert run.running == (1,)
    assert run.waiting == (2, 3, 4)


@pytest.mark.parametrize(
    "policy", ["mover", "best_fit", "easy_backfill", "srtf", "sjf+conservative", "optimizer"]
)
def test_any_policy_keeps_to_the_limits_under_all_other_terms(policy: str) -> None:
    """The verifier rebuilds turns and ledger by its own code, whatever else is drawn."""
    limited = 0
    for seed in range(12 if policy == "optimizer" else 60):
        problem = random_arrays(seed)
        rng = np.random.default_rng(seed)
        who = RandomMover(rng) if policy == "mover" else policy
        run = simulate(problem, who, seed=seed, noise_sigma=0.2, horizon_s=300.0)
        assert verify_run(problem, run) == [], f"seed {seed}"
        limited += most_at_once(problem, run) == max(problem.workload.jobs.array_most)
    assert limited


def most_at_once(problem: Problem, run: Run) -> int:
    """Count by brute force: at each start, who of the array holds accelerators."""
    index = problem.workload.jobs.array_index
    most = 0
    for a in run.allocations:
        beside = {
            b.job for b in run.allocations
            if b.start_us <= a.start_us < b.end_us and index[a.job] == index[b.job] >= 0
        }  # fmt: skip
        if index[a.job] >= 0:
            assert len(beside) <= problem.workload.jobs.array_most[index[a.job]]
            most = max(most, len(beside))
    return most


def test_without_limits_that_bind_nothing_changes() -> None:
    for seed in range(30):
        problem = random_terms(np.random.default_rng([seed, 92]))
        n = len(problem.workload.jobs)
        loose = with_arrays(problem, [0] * n, (n,))
        runs = [simulate(p, "best_fit", seed=seed, horizon_s=300.0) for p in (problem, loose)]
        first, second = (json.dumps(run_to_json(run)) for run in runs)
        assert first == second, f"seed {seed}"


def test_a_run_with_arrays_is_saved_and_resumed() -> None:
    def engine(problem: Problem, seed: int) -> Engine:
        return Engine(
            problem, make("srtf"), policy_name="srtf", seed=seed, information="exact",
            noise_sigma=0.2, horizon_s=300.0, account="run",
        )  # fmt: skip

    for seed in range(20):
        problem = random_arrays(seed)
        whole = json.dumps(run_to_json(engine(problem, seed).run()))
        half = engine(problem, seed)
        half.play(int(np.random.default_rng(seed).integers(0, 200_000_000)))
        saved = json.loads(json.dumps(half.save()))
        again = Engine.restore(problem, saved, make("srtf")).run()
        assert json.dumps(run_to_json(again)) == whole, f"seed {seed}"


def test_a_limit_one_below_what_ran_is_a_violation() -> None:
    rng = np.random.default_rng(zlib.crc32(b"arrays"))
    done = 0
    for seed in range(60):
        problem = random_terms(np.random.default_rng([seed, 93]))
        n = len(problem.workload.jobs)
        run = simulate(problem, RandomMover(rng), seed=seed, horizon_s=300.0)
        most = most_at_once(with_arrays(problem, [0] * n, (n,)), run)
        if most < 2:
            continue
        done += 1
        assert not codes(with_arrays(problem, [0] * n, (most,)), run) & {"array"}
        assert "array" in codes(with_arrays(problem, [0] * n, (most - 1,)), run)
    assert done > 20


def test_held_back_time_booked_as_no_demand_is_a_violation() -> None:
    problem = with_arrays(one_of([[("A", 4)]], [(0.0, 10.0)] * 5), [0] * 5, (2,))
    run = play(problem)
    amount = run.ledger.amount_us.copy()
    amount[0, Cause.INCOMPATIBLE] -= 7
    amount[0, Cause.NO_DEMAND] += 7
    wrong = replace(run, ledger=replace(run.ledger, amount_us=amount))
    assert codes(problem, wrong) >= {"ledger_incompatible", "ledger_no_demand"}


def codes(problem: Problem, run: Run) -> set[str]:
    return {violation.code for violation in verify_run(problem, run)}


def test_a_file_says_how_many_run_at_once() -> None:
    jobs = parse_workload(WORKLOAD).jobs
    assert jobs.array_most == (2, 1)
    arrays = dict(zip(jobs.ids, jobs.array_index.tolist(), strict=True))
    assert arrays == {
        "free-1": -1, "free-2": -1, "late-1": 0, "late-2": 0, "late-3": 0,
        "wide-1": 1, "wide-2": 1, "wide-3": 1, "wide-4": 1,
    }  # fmt: skip
    alone = WORKLOAD.replace("count: 2}", "at_once: 2}")
    with pytest.raises(InputError, match="at_once is for an array of jobs"):
        parse_workload(alone)
    with pytest.raises(InputError, match="at_once"):
        parse_workload(WORKLOAD.replace("at_once: 2", "at_once: 0"))


def test_an_offline_schedule_refuses_limits_that_bind(
    call: Callable[..., tuple[int, str, str]], small_files: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "arrays.yaml"
    path.write_text(WORKLOAD)
    code, _, said = call("solve", small_files[0], path)
    assert code == 2
    assert "arrays: jobs.at_once: has arrays of which only some may run at once" in said
    path.write_text(
        WORKLOAD.replace("at_once: 2", "at_once: 3").replace("at_once: 1", "at_once: 9")
    )
    assert call("solve", small_files[0], path, "--time-limit", "1 s")[0] == 0


def test_the_path_from_file_to_run(small_files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "arrays.yaml"
    path.write_text(WORKLOAD)
    problem = scheduler.load(small_files[0], path)
    run = scheduler.simulate(problem, "easy_backfill")
    assert verify_run(problem, run) == []
    ids = problem.workload.jobs.ids
    starts_h = {ids[a.job]: a.start_us / US_PER_S / 3600 for a in run.allocations}
    assert {k: v for k, v in starts_h.items() if k.startswith("late")} == {
        "late-1": 5.0, "late-2": 5.0, "late-3": 6.0,
    }  # fmt: skip
    assert jobs_are_taken(problem)


def jobs_are_taken(problem: Problem) -> bool:
    """A subset of the jobs keeps its arrays."""
    jobs = problem.workload.jobs
    some = jobs.take(np.array([2, 4, 6]))
    return some.array_index.tolist() == jobs.array_index[[2, 4, 6]].tolist()


def test_a_table_of_jobs_may_hold_arrays(tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    head = "id,gang,run_time_s,array,at_once,after\n"
    rows = "a,1,10,x,2,\nb,1,10,,,x\nc,1,10,x,,\nd,1,10,x,2,\ne,1,10,y,,\n"
    table.write_text(head + rows)
    jobs = load_workload(table).jobs
    assert jobs.array_most == (2,)
    assert jobs.array_index.tolist() == [0, -1, 0, 0, -1]
    assert jobs.after[1] == (0, 2, 3)
    lines = '{"id": "a", "gang": 1, "run_time_s": 10, "array": "x", "at_once": 1}\n'
    (tmp_path / "jobs.jsonl").write_text(lines)
    assert load_workload(tmp_path / "jobs.jsonl").jobs.array_most == (1,)
    table.write_text(head + "a,1,10,x,2,\nb,1,10,x,3,\nc,1,10,,4,\nd,1,10,x,0.5,\n")
    with pytest.raises(InputError) as found:
        load_workload(table)
    text = str(found.value)
    assert "array 'x' has another limit, got '3'; allowed: 2, as in an earlier row" in text
    assert "at_once: the row is of no array, got '4'; allowed: array: a name" in text
    assert "'0.5'" in text
