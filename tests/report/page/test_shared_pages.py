"""What a page draws of a run with sharers sums to the run's own figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from random_shares import random_shares

from scheduler.core.errors import InputError
from scheduler.core.ledger import IDLE_CAUSES
from scheduler.core.problem import Problem
from scheduler.core.run import Run
from scheduler.core.units import US_PER_S
from scheduler.execute.schedules.plan import plan_of
from scheduler.report.page.bins import Bins, bins_for
from scheduler.report.page.blocks import largest_blocks
from scheduler.report.page.books import ledger_over_time
from scheduler.report.page.details import balances, bars
from scheduler.report.page.history import history_of
from scheduler.report.page.power import energy_over_time
from scheduler.simulate import simulate


def shared_run(seed: int) -> tuple[Problem, Run]:
    problem = random_shares(np.random.default_rng([seed, 5]), "limits")
    run = simulate(problem, ("fifo", "best_fit", "srtf")[seed % 3], seed=seed, horizon_s=900.0)
    assert any(a.placement.device >= 0 for a in run.allocations) or seed
    return problem, run


@pytest.mark.parametrize("seed", range(10))
def test_hours_blocks_and_energy_sum_to_the_run(seed: int) -> None:
    problem, run = shared_run(seed)
    history = history_of(problem, run)
    by_pool = ledger_over_time(history, Bins(max(1, run.horizon_us // 7), run.horizon_us))
    assert balances(by_pool, run) < 1e-6
    bins = bins_for(run.horizon_us)
    blocks = largest_blocks(history, bins, ledger_over_time(history, bins), most=10**9)
    idle_s = run.ledger.of(IDLE_CAUSES) / US_PER_S
    pools = len(problem.pools)
    assert math.fsum(b.idle_s for b in blocks) == pytest.approx(idle_s, abs=1e-5 * pools)
    kwh, usd, _ = energy_over_time(history, bins).sum(axis=(1, 2))
    assert kwh * 3.6e6 == pytest.approx(run.energy_j, rel=1e-9)
    assert usd == pytest.approx(run.cost_usd, rel=1e-9)


def test_bars_show_the_part_that_is_held() -> None:
    problem, run = shared_run(1)
    shares = {c.share_milli / 1000 for c in problem.workload.classes if c.share_milli < 1000}
    drawn = bars(history_of(problem, run), run, 1000)
    assert shares & {-count for count in drawn["counts"]}


def test_commands_that_read_runs_take_shares(call, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run, page = tmp_path / "run.json", tmp_path / "page.html"
    inputs = ("gavel-36", "shared-notebooks")
    code, _, err = call("run", *inputs, "--policy", "best_fit", "--horizon", "2 h", "-o", run)
    assert code == 0, err
    for words in (("verify", *inputs, run), ("explain", *inputs, run)):
        code, _, err = call(*words)
        assert code == 0, err
    code, _, err = call("report", *inputs, run, "-o", page)
    assert code == 0, err
    assert page.stat().st_size > 10_000
    code, _, err = call("solve", *inputs, "--time-limit", "1 s")
    assert code == 2
    assert "shares" in err


def test_a_run_with_shares_is_not_played_as_whole_gangs() -> None:
    problem, run = shared_run(0)
    with pytest.raises(InputError, match="shares accelerators"):
        plan_of(problem, run, 1.0)
