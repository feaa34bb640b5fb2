"""Replays drawn together: means, intervals, paired differences, and the JSON objects."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.bounds import Bounds
from scheduler.core.ledger import Cause, Ledger
from scheduler.core.metrics import FIGURES, Metrics
from scheduler.core.run import Violation
from scheduler.execute import Cell, ReplayResult
from scheduler.io import canonical_json
from scheduler.report import compare_object, run_object, summarise

METRICS = Metrics(**dict.fromkeys(FIGURES, 0))


def result(policy: str, seed: int, jct_s: float, busy: int = 60) -> ReplayResult:
    """Two pools of one type each, 100 accelerator-seconds in all, `busy` of them productive."""
    amount = np.zeros((2, len(Cause)), np.int64)
    amount[0, Cause.PRODUCTIVE] = busy * 1_000_000
    amount[0, Cause.POLICY] = (80 - busy) * 1_000_000
    amount[1, Cause.NO_DEMAND] = 20 * 1_000_000
    ledger = Ledger(amount, ("A100", "T4"), ("west", "west"))
    metrics = replace(
        METRICS,
        mean_jct_s=jct_s,
        finished=3,
        idle_fraction=1 - busy / 100,
        waste_fraction=1 - busy / 100,
        slo_attainment=math.nan,
    )
    bounds = Bounds(mean_jct_s=jct_s / 2, makespan_s=1.0, jobs=3)
    return ReplayResult(
        Cell(policy, seed), "exact", 1_000_000, 3_000_000, metrics, ledger, bounds, ()
    )


def test_means_and_student_interval() -> None:
    """Of 8, 10, 12: mean 10, s = 2, t(0.975, 2) = 4.3027, half width 4.9683."""
    (summary,) = summarise([result("fifo", s, v) for s, v in enumerate((8.0, 10.0, 12.0))])
    figure = summary.figures["mean_jct_s"]
    assert figure.mean == 10
    assert (figure.low, figure.high) == pytest.approx((10 - 4.9683, 10 + 4.9683), abs=1e-3)
    assert summary.gap() == pytest.approx(1.0)
    assert (summary.horizon_s, summary.end_s) == (1, 3)
    assert summary.accelerator_s == 100


def test_ledger_means_balance() -> None:
    (summary,) = summarise([result("fifo", 0, 1.0, busy=60), result("fifo", 1, 1.0, busy=40)])
    assert summary.ledger["productive"] == 50
    assert sum(summary.ledger.values()) == summary.accelerator_s
    assert summary.share("policy") == pytest.approx(0.3)
    assert summary.by_type["T4"]["no_demand"] == 20


def test_differences_are_paired_by_seed() -> None:
    """A constant difference is certain however much the seeds themselves differ."""
    base = [1.0, 50.0, 900.0]
    results = [result("fifo", s, v) for s, v in enumerate(base)]
    results += [result("srtf", s, v - 0.5) for s, v in enumerate(base)]
    first, second = summarise(results)
    assert first.differences is None
    assert second.differences is not None
    change = second.differences["mean_jct_s"]
    assert (change.mean, change.low, change.high) == pytest.approx((-0.5, -0.5, -0.5))
    against = compare_object([first, second], {})["results"][1]["against"]
    assert against["mean_jct_s"]["significant"] is True
    assert against["policy"] == "fifo"


def test_a_single_replay_has_no_interval() -> None:
    summaries = summarise([result("fifo", 7, 1.0), result("srtf", 7, 2.0)])
    data = [run_object(s, {}) for s in summaries]
    assert data[0]["intervals"]["mean_jct_s"] is None
    assert data[1]["against"]["mean_jct_s"] == {
        "difference": 1.0,
        "interval": None,
        "significant": False,
        "p_value": None,
    }
    assert data[0]["seed"] == 7


def test_a_figure_without_data_is_null_and_the_object_is_json() -> None:
    (summary,) = summarise([result("fifo", 0, math.nan)])
    data = run_object(summary, {"problem": "abc"})
    assert data["mean_jct_s"] is None
    assert data["gap"] is None
    assert data["slo_attainment"] is None
    assert data["inputs"] == {"problem": "abc"}
    canonical_json(data)  # refuses NaN and infinity


def test_violations_are_counted_and_told() -> None:
    broken = replace(result("fifo", 4, 1.0), violations=(Violation("capacity", "9 of 8 held"),))
    (summary,) = summarise([result("fifo", 3, 1.0), broken])
    data = run_object(summary, {})
    assert data["violations"] == 1
    assert data["violation_messages"] == ["fifo, seed 4: capacity: 9 of 8 held"]


def test_job_counts_are_whole_where_every_replay_agrees() -> None:
    (summary,) = summarise([result("fifo", 0, 1.0), result("fifo", 1, 1.0)])
    jobs = run_object(summary, {})["jobs"]
    assert jobs == {"finished": 3, "running": 0, "waiting": 0, "rejected": 0}
    assert all(isinstance(n, int) for n in jobs.values())
