"""Which bound stands beside a replay: proved for its own work, the same on every executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.bounds import lower_bounds
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.execute import bounding, replay
from scheduler.execute.bounding import Bounding, bounds_of
from scheduler.report import run_object, summarise
from scheduler.report.tables import policy_tables
from scheduler.simulate import simulate

SEEDS = (0, 1)


def played(problem: Problem, executor: str, bound: Bounding, policies: tuple[str, ...] = ("fifo",)):
    return replay(
        problem, policies, SEEDS, executor=executor, noise_sigma=0.2, bound=bound, keep_runs=True
    )


def run_with(problem: Problem, work: Sequence[float], finished: Sequence[int]) -> Run:
    """A run in which these jobs finished, with this work; of the rest no bound knows."""
    run = simulate(problem, "fifo")
    ends = {j: run.finished_us[j] for j in finished}
    return replace(run, actual_work=tuple(work), finished_us=ends)


def test_the_plan_is_below_the_run_and_not_below_the_quick_bound(small_problem: Problem) -> None:
    for result in played(small_problem, "local", "plan", ("fifo", "srtf")):
        assert result.run is not None
        done = sorted(result.run.finished_us)
        quick = lower_bounds(small_problem, result.run.actual_work, done)
        assert quick.mean_jct_s <= result.bounds.mean_jct_s <= result.metrics.mean_jct_s
        assert result.bounds.makespan_s == quick.makespan_s


def test_executors_prove_the_same(small_problem: Problem) -> None:
    here, there = (
        [repr(r.bounds) for r in played(small_problem, executor, "auto")]
        for executor in ("local", "processes")
    )
    assert here == there


def test_what_was_proved_before_does_not_change_a_bound(small_problem: Problem) -> None:
    work = small_problem.workload.jobs.work
    everyone = list(range(len(work)))
    first = bounds_of(small_problem, run_with(small_problem, work, everyone), "plan")
    bounds_of(small_problem, run_with(small_problem, work * 1.5, everyone), "plan")
    assert bounds_of(small_problem, run_with(small_problem, work, everyone), "plan") is first
    bounding._latest.clear()
    assert bounds_of(small_problem, run_with(small_problem, work, everyone), "plan") == first


def test_policies_of_a_replay_share_the_proof(
    small_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved = []
    planned = bounding._planned
    monkeypatch.setattr(bounding, "_planned", lambda *a: proved.append(a) or planned(*a))
    bounding._latest.clear()
    played(small_problem, "local", "plan", ("fifo", "srtf", "best_fit"))
    assert len(proved) == len(SEEDS)


def test_auto_plans_small_problems_only(
    small_problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = small_problem.workload.jobs.work
    everyone = list(range(len(work)))
    assert bounds_of(small_problem, run_with(small_problem, work, everyone), "auto") == bounds_of(
        small_problem, run_with(small_problem, work, everyone), "plan"
    )
    monkeypatch.setattr(bounding, "MOST_JOBS_BY_TYPES", 1)
    quick = lower_bounds(small_problem, work, everyone)
    assert bounds_of(small_problem, run_with(small_problem, work, everyone), "auto") == quick
    assert bounds_of(small_problem, run_with(small_problem, work, everyone), "quick") == quick


def test_some_finished_jobs_are_bound_alone(small_problem: Problem) -> None:
    work = np.asarray(small_problem.workload.jobs.work)
    few = [0, 1]
    quick = lower_bounds(small_problem, work, few)
    assert bounds_of(small_problem, run_with(small_problem, work, few), "auto") == quick
    assert (
        bounds_of(small_problem, run_with(small_problem, work, few), "plan").mean_jct_s
        >= quick.mean_jct_s
    )
    assert bounds_of(small_problem, run_with(small_problem, work, []), "plan").jobs == 0


def test_the_result_says_which_bound_it_is(small_problem: Problem) -> None:
    for bound, proofs in (("none", {"none"}), ("quick", {"area"}), ("plan", {"area", "plan"})):
        (summary,) = summarise(played(small_problem, "local", bound))
        found = run_object(summary, {})
        assert set(found["bound_proof"].split("/")) <= proofs
        heads = [str(c.header) for t in policy_tables([summary], 200) for c in t.columns]
        if bound == "none":
            assert found["bound"] is None
            assert found["gap"] is None
            assert not any("bound" in head for head in heads)
        else:
            assert found["bound"] > 0
            assert any(f"{summary.bound_proof} bound" in head for head in heads)
